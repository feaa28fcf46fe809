"""Simulation in bounded memory, on any executor, with reproducible results.

A run is cut into blocks that depend only on the numbers of neurons and of trials. Each block has its own random
generator, seeded by the block's number, and returns integers that are summed. The result therefore does not depend on
the executor, the number of workers or the order in which they finish.
"""

import os
import pickle
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Future
from contextlib import closing, contextmanager
from dataclasses import dataclass
from math import sqrt
from numbers import Real
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropstats import _progress, _validate, tallies
from dropstats.laws import Law
from dropstats.laws.independent import drop_counts
from dropstats.laws.network import drawn_in_turn
from dropstats.tallies import Tally

# A block takes 5 ms at p = 0.5, 16 ms at any p, and four times that in runs of more than 10^11 neurons: long against
# the 0.2 ms that a process pool and the 1 to 2 ms that Dask needs for a task, short against the patience of who
# presses Ctrl-C, also where a law samples at 5 ns a neuron (0.3 and 1.3 s).
_BLOCK_NEURONS = 2**26
_LARGEST_BLOCK_NEURONS = 2**28
_BLOCKS = 2**10  # what a run is cut into between these bounds
# Masks of a block at least, so that a block's work outweighs its result of 16 bytes a neuron,
_FEWEST_MASKS = 2**6
_MOST_MASKS = 2**20  # and at most, for their counts are held: 8 MiB.
# Neurons that a law without packed words samples at a time: 4 MiB of bool, and a few times that inside the law.
_SAMPLED_NEURONS = 2**22
# Blocks in flight for each worker: one at work, two on their way.
_IN_FLIGHT = 3


def simulate(
    law: Law,
    trials: int,
    rng: _validate.RNG = None,
    *,
    executor: Any = None,
    progress: Any = None,
    until: Callable[[Tally], bool] | None = None,
) -> Tally:
    """Return the tally of simulated masks.

    Parameters
    ----------
    law : Law
        A law such as `Layer`, or any object with ``n`` and ``sample(size, rng)``.
    trials : int
        Number of masks, 1 to 2^63 - 1; with `until`, the largest number of masks.
    rng : None, int, SeedSequence or Generator
        Source of randomness. The same seed gives the same tally, bit for bit, on every executor. A Generator is
        advanced by 128 bits.
    executor : concurrent.futures.Executor, optional
        Where the work runs: threads, processes, loky, ``dask.distributed.Client.get_executor()``,
        ``mpi4py.futures.MPIPoolExecutor``, or any object with ``submit``. By default the work runs in this process,
        on one core. The executor is not shut down.
    progress : bool or callable, optional
        True shows a progress bar; a callable such as ``tqdm.notebook.tqdm`` wraps the iterable of blocks.
    until : callable, optional
        Called with the tally so far after each block, in the order of the blocks; the run stops when it returns True.
        See `precise_to`.

    Returns
    -------
    Tally
        The sums over all masks; for a `Network` the tallies of its parts are in ``layers``.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or the law cannot be sent to another process.
    MemoryError
        If the tally does not fit in this machine's memory.
    RuntimeError, concurrent.futures.BrokenExecutor
        If the executor is shut down, or a worker process died. (Dask repeats the lost blocks on another worker.)
    Exception
        Whatever the law raises, with a note that names the block.

    Examples
    --------
    >>> from dropstats import Layer
    >>> tally = simulate(Layer(1024, 0.5), trials=10_000, rng=0)
    >>> tally.trials, abs(tally.mean - 512) < 5 * 16 / 10_000**0.5
    (10000, True)

    Run until the standard error of the mean is at most 0.1 neurons:

    >>> tally = simulate(Layer(1024, 0.5), 10**9, rng=0, until=precise_to(0.1))
    >>> tally.trials < 10**6, tally.standard_error("mean") <= 0.1
    (True, True)
    """
    trials = _validate.trials(trials)
    _check(law, executor, progress, until)
    run = _Run(law, trials, _block_trials(law.n, trials), _validate.seed_sequence(rng), [])
    total = tallies.empty(law)
    results = run.serially() if executor is None else run.on(executor, ordered=until is not None)
    with closing(results):
        for tally in _progress.shown(results, run.blocks, "simulating", "block", progress):
            total += tally
            if until is not None and until(total):
                break
    return total


def precise_to(
    target: float, moment: str = "mean", *, dropped: Any = None, kept: Any = None
) -> Callable[[Tally], bool]:
    """Return a stopping rule for ``simulate(until=)``: stop when the standard error of an estimate is at most `target`.

    Parameters
    ----------
    target : float
        Largest standard error, above 0.
    moment : {'mean', 'variance', 'skewness', 'kurtosis'}
        Moment of the number of dropped neurons that is estimated; see `Tally.standard_error`.
    dropped, kept : int or (low, high), optional
        Estimate the probability of this count, or closed interval of counts, instead of a moment. Its standard error
        adds two successes and two failures (Agresti and Coull 1998, doi:10.1080/00031305.1998.10480550), so that it
        is not 0 for an event that has not occurred yet.

    Returns
    -------
    callable
        Takes a tally, returns a bool.

    Raises
    ------
    TypeError, ValueError
        If the target is not above 0, or both `dropped` and `kept` are given.

    Notes
    -----
    Stopping by what has been observed makes the estimate slightly biased, by less than the order of its standard error.

    Examples
    --------
    >>> from dropstats import Layer, simulate
    >>> tally = simulate(Layer(64, 0.1), 10**9, rng=0, until=precise_to(1e-3, dropped=(10, None)))
    >>> tally.trials < 10**7
    True
    """
    if not (isinstance(target, Real) and 0 < target < float("inf")):
        raise ValueError(f"target must be a standard error above 0; got {target!r}")
    _validate.choice(moment, "moment", tallies.MOMENTS)
    if dropped is not None and kept is not None:
        raise TypeError("precise_to takes dropped= or kept=, not both")
    if dropped is None and kept is None:
        return lambda tally: tally.standard_error(moment) <= target
    name, interval = ("kept", kept) if dropped is None else ("dropped", dropped)
    low, high = _validate.closed_interval(interval, name)
    inside = slice(max(low or 0, 0), None if high is None else max(high + 1, 0))

    def precise(tally: Tally) -> bool:
        histogram = tally.histogram[::-1] if name == "kept" else tally.histogram
        trials = tally.trials + 4
        estimate = (int(histogram[inside].sum()) + 2) / trials
        return sqrt(estimate * (1 - estimate) / trials) <= target

    return precise


def _check(law: Any, executor: Any, progress: Any, until: Any) -> None:
    if not hasattr(law, "n") or not hasattr(law, "sample"):
        raise TypeError(f"law must be a law such as Layer(n, p); got {law!r} of type {type(law).__name__}")
    if hasattr(executor, "get_executor"):
        raise TypeError("executor must be client.get_executor(); got the Dask client itself")
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise TypeError(
            "executor must have a submit method, like those of concurrent.futures; "
            f"got {executor!r} of type {type(executor).__name__}"
        )
    _progress.check(progress)
    if until is not None and not callable(until):
        raise TypeError(f"until must be a function of the tally, such as precise_to(0.1); got {until!r}")


def _block_trials(n: int, trials: int) -> int:
    """Return the number of masks in a block: of `n` and `trials` alone, for the tally depends on it."""
    padded = 64 * max(-(-n // 64), 1)
    neurons = min(max(padded * trials // _BLOCKS, _BLOCK_NEURONS), _LARGEST_BLOCK_NEURONS)
    return min(max(neurons // padded, _FEWEST_MASKS), _MOST_MASKS, trials)


@dataclass(frozen=True)
class _Run:
    """What a run does, and the blocks it is cut into."""

    law: Law
    trials: int
    block: int
    seed: np.random.SeedSequence
    stop: list[bool]  # no longer empty when the run has ended: threads see it, other processes have a copy

    @property
    def blocks(self) -> int:
        return -(-self.trials // self.block)

    def size(self, index: int) -> int:
        return min(self.block, self.trials - index * self.block)

    def arguments(self, index: int) -> tuple[Any, ...]:
        spawn_key = (*self.seed.spawn_key, index)
        seed = np.random.SeedSequence(self.seed.entropy, spawn_key=spawn_key, pool_size=self.seed.pool_size)
        return self.law, self.size(index), seed, self.stop

    def note(self, index: int) -> str:
        first = index * self.block
        return f"in block {index} of {self.blocks} of simulate, trials {first} to {first + self.size(index) - 1}"

    def serially(self) -> Generator[Tally, None, None]:
        for index in range(self.blocks):
            try:
                tally = _simulate_block(*self.arguments(index))
            except Exception as error:
                error.add_note(self.note(index))
                raise
            yield tally

    def on(self, executor: Any, ordered: bool) -> Generator[Tally, None, None]:
        """Yield blocks as they are finished, or in order; never more than a few a worker are in flight or held."""
        pending: dict[Future[Tally], int] = {}
        finished: SimpleQueue[Future[Tally]] = SimpleQueue()
        held: dict[int, Tally] = {}
        following, turn, in_flight, looked = 0, 0, 0, float("-inf")
        try:
            while following < self.blocks or pending:
                if time.monotonic() - looked > 1:  # a cluster may grow
                    in_flight, looked = _IN_FLIGHT * _workers(executor), time.monotonic()
                while following < self.blocks and len(pending) < in_flight and len(held) < 4 * in_flight:
                    future = self._submit(executor, following)
                    pending[future] = following
                    future.add_done_callback(finished.put)
                    following += 1
                future = finished.get()
                index = pending.pop(future)
                with self._explained(index):
                    held[index] = future.result()
                if not ordered:
                    turn = index
                while turn in held:
                    yield held.pop(turn)
                    turn += 1
        finally:
            self.stop.append(True)
            for future in pending:
                future.cancel()

    def _submit(self, executor: Any, index: int) -> "Future[Tally]":
        try:
            with self._explained(index):
                future: Future[Tally] = executor.submit(_simulate_block, *self.arguments(index))
        except BrokenExecutor:
            raise
        except RuntimeError as error:
            raise RuntimeError(f"executor must accept work; got {executor!r}: {error}") from error
        if not hasattr(future, "add_done_callback"):
            raise TypeError(f"executor.submit must return a concurrent.futures.Future; got {type(future).__name__}")
        return future

    @contextmanager
    def _explained(self, index: int) -> Iterator[None]:
        """Say of an error of the law, or of the executor, in which block it came."""
        try:
            yield
        except BrokenExecutor as error:
            raise BrokenExecutor(
                f"a worker process died (killed, or out of memory) {self.note(index)}; the same rng on a new executor "
                "gives the tally that was lost"
            ) from error
        except CancelledError as error:
            raise RuntimeError(f"the executor cancelled its work {self.note(index)}") from error
        except Exception as error:
            if isinstance(error, pickle.PicklingError) or (
                isinstance(error, TypeError | AttributeError) and ("pickle" in str(error) or "serialize" in str(error))
            ):
                what = f"law must be picklable to be sent to another process; got {self.law!r}: {error}"
                raise TypeError(what) from error
            error.add_note(self.note(index))
            raise


def _workers(executor: Any) -> int:
    # concurrent.futures and loky, then mpi4py, then Dask; none has a public name for all
    for name in ("_max_workers", "num_workers"):
        number: Any = getattr(executor, name, None)
        if isinstance(number, int) and number > 0:
            return int(number)
    client: Any = getattr(executor, "_client", None)
    if hasattr(client, "nthreads"):
        return max(int(sum(client.nthreads().values())), 1)
    return os.cpu_count() or 1


def _simulate_block(law: Law, size: int, seed: np.random.SeedSequence, stop: list[bool]) -> Tally:
    # SFC64 is the fastest of NumPy's generators, and a full-entropy seed puts each block on its own orbit
    return _drawn(law, size, np.random.Generator(np.random.SFC64(seed)), stop)[1]


def _drawn(
    law: Law, size: int, generator: np.random.Generator, stop: list[bool]
) -> tuple[NDArray[np.integer[Any]], Tally]:
    """Return how many neurons each mask dropped, and the tally of the law and its parts."""
    layers: tuple[Tally, ...] = ()
    if laws := drawn_in_turn(law):
        parts = [_drawn(part, size, generator, stop) for part in laws]
        counts = sum((part for part, _ in parts), np.zeros(size, np.intp))
        drops = np.concatenate([tally.drops for _, tally in parts])
        layers = tuple(tally for _, tally in parts)
    elif (drawn := drop_counts(law, size, generator)) is not None:
        counts, drops = drawn
    else:
        return _sampled(law, size, generator, stop)
    histogram = np.bincount(counts, minlength=law.n + 1).astype(np.int64, copy=False)
    return counts, Tally(size, drops, histogram, layers)


def _sampled(
    law: Law, size: int, generator: np.random.Generator, stop: list[bool]
) -> tuple[NDArray[np.integer[Any]], Tally]:
    counts, total = [], tallies.empty(law)
    step = max(_SAMPLED_NEURONS // max(law.n, 1), 1)
    for start in range(0, size, step):
        if stop:
            raise CancelledError
        some = min(step, size - start)
        masks = np.asarray(law.sample(some, generator))
        if masks.shape != (some, law.n) or masks.dtype != np.bool_:
            raise ValueError(
                f"{type(law).__name__}.sample({some}) must return booleans of shape ({some}, {law.n}); "
                f"got {masks.dtype} of shape {masks.shape}"
            )
        counts.append(law.n - np.count_nonzero(masks, axis=1))
        total += tallies._tally(masks, law)
    return np.concatenate(counts), total
