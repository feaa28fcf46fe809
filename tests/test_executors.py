"""Any executor: the same tally bit for bit, few blocks in flight, clear errors, nothing left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import dropstats as ds
from dropstats import simulation

psutil = pytest.importorskip("psutil", reason="of dropstats[test], by way of distributed")

LAW = ds.Network(ds.Layer(300, 0.1), ds.Layer(70, np.linspace(0, 1, 70)), ds.Layer(100, 0.5))
TRIALS = 20_000


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(simulation, "_BLOCK_NEURONS", 2**19)  # 19 blocks of 1024 masks of LAW
    monkeypatch.setattr(simulation, "_BLOCKS", 2**63)


def reference(law=LAW, trials=TRIALS, **options):
    return ds.simulate(law, trials, rng=5, **options)


def processes(workers):
    # not fork: the test process has threads, and forking one that has may lock up
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed", reason="of dropstats[dask]")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


class Sampled:
    """What the laws below have in common: a fair law that samples by itself."""

    def __init__(self, n, *paths):
        self.n, self.paths = n, paths

    def sample(self, size, rng):
        return rng.random((size, self.n)) < 0.5


class Killing(Sampled):
    """Kills the process it is sampled in, the first time (where `paths` are given, for a path not there yet)."""

    def sample(self, size, rng):
        if not self.paths or not Path(self.paths[0]).exists():
            if self.paths:
                Path(self.paths[0]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sample(size, rng)


class Failing(Sampled):
    def sample(self, size, rng):
        if rng.bit_generator.seed_seq.spawn_key[-1] == 3:
            raise ZeroDivisionError("no fourth block")
        return super().sample(size, rng)


class Shuffled(ThreadPoolExecutor):
    """Finishes its work in another order than it was given."""

    def submit(self, function, *arguments):
        delay = hash(str(arguments[3])) % 7 / 500
        return super().submit(lambda: (time.sleep(delay), function(*arguments))[1])


# --- the same tally -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_threads(workers):
    with ThreadPoolExecutor(workers) as executor:
        assert reference(executor=executor) == reference()


def test_any_order_of_completion():
    precise = ds.precise_to(0.06)
    with Shuffled(4) as executor:
        assert reference(executor=executor) == reference()
        stopped = reference(executor=executor, until=precise)
    assert stopped == reference(until=precise)
    assert stopped.trials < TRIALS


@pytest.mark.parametrize("workers", [1, 2])
def test_processes(workers):
    precise = ds.precise_to(0.06)
    with processes(workers) as executor:
        assert reference(executor=executor) == reference()
        assert reference(executor=executor, until=precise) == reference(until=precise)


def test_loky():
    loky = pytest.importorskip("loky", reason="of dropstats[test]")
    executor = loky.get_reusable_executor(2)
    try:
        assert reference(executor=executor) == reference()
    finally:
        executor.shutdown(wait=True)


def test_dask(cluster):
    precise = ds.precise_to(0.06)
    executor = cluster.get_executor()
    assert reference(executor=executor) == reference()
    assert reference(executor=executor, until=precise) == reference(until=precise)


# --- back-pressure --------------------------------------------------------------------------------------------------


class Counting(ThreadPoolExecutor):
    def __init__(self, workers):
        super().__init__(workers)
        self.in_flight = self.most = self.submitted = 0
        self.lock = threading.Lock()

    def submit(self, function, *arguments):
        with self.lock:
            self.submitted += 1
            self.in_flight += 1
            self.most = max(self.most, self.in_flight)
        future = super().submit(function, *arguments)
        future.add_done_callback(self._done)
        return future

    def _done(self, future):
        with self.lock:
            self.in_flight -= 1


@pytest.mark.parametrize("workers", [1, 3])
def test_few_blocks_are_in_flight(workers):
    with Counting(workers) as executor:
        assert reference(executor=executor) == reference()
    assert executor.submitted == 20  # blocks
    assert workers <= executor.most <= 3 * workers


def test_a_run_of_1e12_trials_makes_no_list_of_blocks():
    """It is stopped after three blocks; what was submitted is a few blocks a worker, in flight or held in turn."""
    with Counting(2) as executor:
        tally = ds.simulate(ds.Layer(64, 0.5), 10**12, rng=1, executor=executor, until=lambda t: t.trials > 20_000)
    assert executor.submitted <= 3 + 5 * (3 * 2)
    assert tally.trials == 3 * 2**13


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_killed_worker_of_a_process_pool_ends_the_run_and_leaves_nothing():
    before = set(multiprocessing.active_children())  # the Dask cluster's, if another test has started it
    with processes(2) as executor, pytest.raises(BrokenExecutor, match=r"a worker process died .* block \d of 7"):
        ds.simulate(Killing(300), TRIALS // 2, rng=5, executor=executor)
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.filterwarnings("ignore")  # of the cluster, about the worker it lost
def test_a_killed_worker_of_a_dask_cluster_changes_nothing(cluster, tmp_path):
    law = Killing(300, str(tmp_path / "killed"))
    tally = ds.simulate(law, 5000, rng=5, executor=cluster.get_executor())
    assert (tmp_path / "killed").exists()
    assert tally == ds.simulate(Sampled(300), 5000, rng=5)


def test_a_failing_block_is_named_and_its_error_raised(cluster):
    with processes(1) as pool, ThreadPoolExecutor(1) as threads:
        for executor in (threads, pool, cluster.get_executor()):
            with pytest.raises(ZeroDivisionError, match="no fourth block") as caught:
                ds.simulate(Failing(512), 10_000, rng=1, executor=executor)
            assert caught.value.__notes__ == ["in block 3 of 10 of simulate, trials 3072 to 4095"]


def test_a_law_that_cannot_be_pickled():
    class Local(Sampled):
        pass

    with processes(1) as executor:
        with pytest.raises(TypeError, match=r"law must be picklable to be sent to another process; got .*Local"):
            ds.simulate(Local(8), 100, rng=1, executor=executor)
        # and the executor works on
        assert ds.simulate(Sampled(8), 100, rng=1, executor=executor).trials == 100


def test_an_executor_that_is_shut_down():
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match=r"executor must accept work; got .*ThreadPoolExecutor.*shutdown"):
        reference(executor=executor)


def test_executors_that_are_none(cluster):
    with pytest.raises(TypeError, match=r"executor must be client.get_executor\(\); got the Dask client itself"):
        reference(executor=cluster)

    class Odd:
        def submit(self, function, *arguments):
            return function(*arguments)

    with pytest.raises(TypeError, match=r"executor.submit must return a concurrent.futures.Future; got Tally"):
        reference(executor=Odd())


def test_an_executor_that_cancels():
    class Cancelling(ThreadPoolExecutor):
        def submit(self, function, *arguments):
            future = Future()
            future.cancel()
            return future

    with Cancelling(1) as executor, pytest.raises(RuntimeError, match=r"the executor cancelled its work in block 0"):
        reference(executor=executor)


# --- Ctrl-C ---------------------------------------------------------------------------------------------------------

INTERRUPTED = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
import dropstats as ds
from test_executors import Sampled

def ready(blocks, **options):
    for index, block in enumerate(blocks):
        if index == 2:
            print("ready", flush=True)
        yield block

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    make = {{
        "serial": lambda: None,
        "threads": lambda: ThreadPoolExecutor(2),
        "processes": lambda: ProcessPoolExecutor(2, mp_context=spawn),
    }}["{kind}"]
    executor = make()
    try:
        ds.simulate({law}, rng=0, executor=executor, progress=ready)
    except KeyboardInterrupt:
        if executor:
            executor.shutdown()
        sys.exit(77)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are of POSIX")
@pytest.mark.parametrize(
    ("kind", "law", "whole_group"),
    [
        ("serial", "ds.Layer(1024, 0.1), 10**11", True),
        ("threads", "Sampled(256), 10**8", True),
        ("processes", "ds.Layer(1024, 0.1), 10**11", True),  # as from a terminal
        ("processes", "Sampled(256), 10**8", False),  # as by kill -INT, of the parent alone
    ],
)
def test_ctrl_c_ends_everything(kind, law, whole_group, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(INTERRUPTED.format(kind=kind, law=law)))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
        # a suite that runs in the background ignores the signal, and its children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            children = psutil.Process(process.pid).children(recursive=True)
            begin = time.monotonic()
            (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
            code = process.wait(timeout=60)
            elapsed = time.monotonic() - begin
        finally:
            process.kill()  # or leaving the block would wait for ever
    assert code == 77
    # one or two seconds on an idle machine; a test machine may be busy
    assert elapsed < 5
    _, alive = psutil.wait_procs(children, timeout=3)
    assert alive == []
