"""Monitor: anytime-valid evidence against a law of dropout masks."""

import math
from functools import reduce
from os import PathLike
from typing import Any, Self

import numpy as np

from dropstats import _validate
from dropstats.laws.foreign import is_law
from dropstats.monitoring import evidence, files, summary
from dropstats.monitoring.checks import POSTPONED, Certain, Dispersion, Duplicates, Positions
from dropstats.monitoring.null import Null
from dropstats.monitoring.selections import REMEMBERED, STREAMS, Block, Selections, Stream
from dropstats.monitoring.summary import SHARES, Alarm, Part
from dropstats.monitoring.words import Words, count, masks
from dropstats.rendering import text

# Neurons, and masks, that are gone through at once; of more neurons than are looked at mask by mask, one mask.
_BLOCK, _ROWS = 2**18, 64
# Looks kept for the picture are 10% of the steps apart, 200 of them in 10^9 steps, for each takes a millisecond.
_SPACING = 1.1
# Version of the layout that `Monitor.to_dict` returns.
SCHEMA = 1
# Rounding of a bound of log e.
_SLACK = 1e-6


class Monitor:
    """Evidence against a law of dropout masks that stays valid when it is inspected after every mask of a training run.

    Each check is an e-process, a running product of fair bets against the law. If the masks follow the law, the
    weighted mean E of all checks ever reaches 1 / false_alarm with probability at most false_alarm (Ville, 1939),
    however long the run is and however often E is inspected.

    Parameters
    ----------
    law : Law or float or array_like
        Declared law: a `Layer`, `Channels` or a `Network` of these; or p itself.
    n : int, optional
        Number of neurons if p is given; by default that of the first mask.
    false_alarm : float
        Probability that a correct implementation ever raises the alarm, for all checks together; 0.001 by default.
    every : int
        Number of masks between two looks for an alarm; all masks are counted. 1 by default.

    Attributes
    ----------
    alarm : Alarm or None
        The first finding: step, check, message, evidence. It does not change afterwards.
    trials, dropped : int
        Number of masks counted in all streams, and of neurons (for channels: groups) dropped in them.
    history : list of (int, list of float)
        Points for the plot: number of masks, and natural log e-values of the checks and of all together.

    Raises
    ------
    TypeError, ValueError
        If the law is invalid, or its neurons depend on each other in another way than by groups.

    Notes
    -----
    The checks and their weights are: rate (0.4); lags of 1, 2, 4, ..., 64 calls (0.2); and, with 0.08 each, positions,
    neighbours at distances 1, 2, 4, ..., dispersion of the counts, duplicates of earlier masks, agreement of streams.
    For channels they are applied to groups. A group whose neurons differ, or a dropped neuron with p = 0, raises the
    alarm at once.

    Memory is bounded: 8 bytes per neuron for counts, the last 64 masks of each stream (of at most 2^22 neurons) and
    16,384 hashes of masks. For masks of more than 2^16 neurons each call updates only some of the lags and distances,
    in turn; for more than 2^14 neurons the positions are evaluated every 64 masks.

    Examples
    --------
    >>> import dropstats as ds
    >>> monitor = Monitor(0.1, n=1024)
    >>> monitor.update(ds.Layer(1024, 0.1).sample(500, rng=0))
    >>> monitor.alarm is None
    True
    >>> mask = ds.Layer(1024, 0.1).sample(1, rng=1)
    >>> for _ in range(3):
    ...     monitor.update(mask)
    >>> monitor.alarm.step, monitor.alarm.check
    (502, 'duplicates')
    """

    false_alarm: float
    every: int
    trials: int
    dropped: int

    def __init__(self, law: Any, n: Any = None, false_alarm: float = 1e-3, every: int = 1) -> None:
        self.false_alarm = _validate.open_probability(false_alarm, "false_alarm")
        self.every = _validate.integer(every, "every", minimum=1, maximum=_validate.MAX_TRIALS)
        self.alarm: Alarm | None = None
        self.trials = self.dropped = 0
        self.history: list[tuple[int, list[float]]] = []
        self._parts: tuple[Part, ...] = ()
        self._streams: dict[str, Stream] = {}
        self._null: Null | None = None
        if isinstance(law, Null):  # of a file
            self._begin(law)
        elif is_law(law):
            null = Null.of(law)
            if n is not None and _validate.neurons(n) != null.n:
                raise ValueError(f"n must be the law's number of neurons, {null.n}, or left out; got {n}")
            self._begin(null)
        elif isinstance(law, str) or (np.ndim(law) > 1):
            raise TypeError(f"law must be a law such as Layer(n, p), or p; got {_validate.show(law)}")
        elif n is not None or np.ndim(law) == 1:
            self._begin(Null.at(law, np.size(law) if n is None else n))
        else:
            self._p = _validate.probability(law)  # n will be that of the first mask

    def _begin(self, null: Null) -> None:
        self._null = null
        self._selections, self._positions = Selections(null), Positions(null)
        self._dispersion, self._duplicates, self._certain = Dispersion(null), Duplicates(null), Certain(null)
        self._checks = (self._selections, self._positions, self._dispersion, self._duplicates, self._certain)
        # glibc gives freed arrays of over 128 KiB back to the system, and faulting in the next takes as long as filling
        # it; once one of a few MiB has been freed, it keeps smaller ones.
        np.empty(2**24, np.uint8)
        self._most = max(1, min(_BLOCK // null.size, _ROWS)) if self._positions.each else 1

    # ---------------------------------------------------------------- masks

    def update(self, mask: Any, stream: Any = "") -> None:
        """Count one mask, or several.

        Parameters
        ----------
        mask : array of any library
            Booleans or 0 and 1 (1 = kept), of shape (n,) or (k, n). If n was given, uint8 of shape (ceil(n / 8),) or
            (k, ceil(n / 8)) is read as packed by ``np.packbits(mask, axis=-1)``.
        stream : str
            Name of the generator that drew the mask, if there are several (at most 64). The calls of each stream are
            numbered separately, and masks of the same call are compared if no stream is more than 64 calls behind.

        Raises
        ------
        TypeError, ValueError
            If the shape is wrong, or an entry is neither 0 nor 1; nothing is counted then.
        """
        if self._parts:
            raise ValueError("a sum of monitors takes no masks; update the monitors that it is made of")
        null = self._null or Null.at(self._p, _neurons_of(mask))
        packed = list(masks(mask, null.n, _ROWS))
        if self._null is None:
            self._begin(null)
        for part in packed:
            kept, torn = null.bits(part)
            events, start = null.events(kept), 0
            while start < len(events):
                stop = start + self._at_once(len(events) - start)
                here = {row - start: how for row, how in torn.items() if start <= row < stop}
                self._see(events[start:stop], self._stream("" if stream is None else str(stream)), here)
                start = stop

    def _stream(self, name: str) -> Stream:
        if name not in self._streams:
            if len(self._streams) == STREAMS:
                raise ValueError(f"a monitor takes at most {STREAMS} streams; got {name!r} in addition")
            self._streams[name] = Stream(name, REMEMBERED + self._most, self._selections.counts.words)
        return self._streams[name]

    def _at_once(self, left: int) -> int:
        """Return how many masks to go through at once: at most up to the next look that is kept."""
        following = max(self.trials + 1, math.ceil(self.history[-1][0] * _SPACING)) if self.history else 1
        return max(1, min(left, self._most, following - self.trials))

    def _see(self, events: Words, stream: Stream, torn: dict[int, str]) -> None:
        assert self._null is not None
        happened = count(events)
        dropped = self._null.dropped(events, happened)
        block = Block(events, stream, stream.calls, happened, dropped, self._streams, torn)
        stream.add(events)
        for check in self._checks:
            check.see(block)
        self.trials += events.shape[0]
        self.dropped += int(dropped.sum())
        if self.alarm is None:
            self._look(block)
        due = not self.history or self.trials >= self.history[-1][0] * _SPACING
        if due and (self._positions.each or self.trials % POSTPONED == 0):
            self._keep(self.trials, self._evidence())

    def _look(self, block: Block) -> None:
        """Raise the alarm after the first mask of a block at which the evidence suffices.

        What it costs to evaluate is spent only where bounds of the e-values would suffice.
        """
        first = self.trials - block.events.shape[0] + 1
        looks = np.arange(-first % self.every, block.events.shape[0], self.every)
        if not looks.size:
            return
        limit = -math.log(self.false_alarm) - _SLACK
        bound = reduce(np.logaddexp, (check.log_bounds(SHARES, limit) for check in self._checks))
        for row in looks[bound[looks] >= limit].tolist():
            found, step = self._evidence(row), block.first + row + 1
            finding = lambda name, row=row: self._finding(name, row)  # noqa: E731
            self.alarm = summary.judge(found, self.false_alarm, finding, step, block.stream.name)
            if self.alarm:
                self._keep(first + row, found)
                return

    def _keep(self, trials: int, found: dict[str, float]) -> None:
        """Keep a look for the picture."""
        self.history.append((trials, [*found.values(), summary.total(found)]))

    # ---------------------------------------------------------------- what was seen

    def _evidence(self, row: int = -1) -> dict[str, float]:
        if self._null is None:
            return dict.fromkeys(SHARES, 0.0)
        found = {name: log for check in self._checks for name, log in check.evidence(row).items()}
        return {name: found[name] for name in [*SHARES, *self._certain.names]}

    def _finding(self, name: str, row: int = -1) -> str:
        (check,) = (check for check in self._checks if name in check.names)
        return check.finding(name, row)

    @property
    def _seen(self) -> tuple[Part, ...]:
        """What each of the monitors has seen that this one is the sum of, or this one itself."""
        if self._parts:
            return self._parts
        found = self._evidence()
        findings = {name: self._finding(name) if self.trials else "nothing to compare" for name in found}
        calls = max((stream.calls for stream in self._streams.values()), default=0)
        return (Part(self.trials, self.dropped, calls, found, findings),)

    @property
    def evidence(self) -> dict[str, float]:
        """Natural log of the current e-value of each check; infinite after an impossible event."""
        if not self._parts:
            return self._evidence()
        return {name: evidence.mean(part.evidence[name] for part in self._parts) for name in self._parts[0].evidence}

    @property
    def log_e(self) -> float:
        """Natural log of the e-value of all checks together; the alarm is raised at -log(false_alarm)."""
        return summary.total(self.evidence)

    @property
    def n(self) -> int | None:
        """Number of neurons in a mask; None before the first mask if it was not given."""
        return self._null.n if self._null else None

    @property
    def rate(self) -> float:
        """Observed drop rate; NaN before the first mask."""
        return self.dropped / (self.trials * self._null.size) if self._null and self.trials else math.nan

    def rate_interval(self, false_alarm: float | None = None) -> tuple[float, float]:
        """Return a confidence sequence for the drop rate: an interval that is valid at all steps simultaneously.

        It contains all rates whose e-value is below 1 / false_alarm, so that the true rate is inside after every mask
        with probability 1 - false_alarm. If the declared rates differ, it is an interval for the mean rate, assuming
        that the odds of all neurons are wrong by the same factor.

        Parameters
        ----------
        false_alarm : float, optional
            Probability that the true rate is ever outside; by default that of the monitor.

        Returns
        -------
        (low, high) : tuple of float
            (0.0, 1.0) before the first mask.

        Examples
        --------
        >>> monitor = Monitor(0.1, n=1000)
        >>> monitor.update([0] * 130 + [1] * 870)
        >>> [round(end, 4) for end in monitor.rate_interval(0.05)]
        [0.095, 0.1707]
        """
        alpha = self.false_alarm if false_alarm is None else _validate.open_probability(false_alarm, "false_alarm")
        if not self.trials or self._null is None:
            return 0.0, 1.0
        counts = [(part.dropped, part.trials * self._null.size) for part in self._seen if part.trials]
        return self._null.rate_interval(counts, -math.log(alpha))

    def __add__(self, other: Any) -> "Monitor":
        """Return the mean evidence of two monitors of one law, or of the monitors that they are sums of."""
        if not isinstance(other, Monitor):
            return NotImplemented
        if self._null is None or other._null is None or self._null != other._null:
            laws = [monitor._null.law if monitor._null else "no mask yet" for monitor in (self, other)]
            raise ValueError(f"monitors must have one law to be added; got {laws[0]} and {laws[1]}")
        if self.false_alarm != other.false_alarm:
            raise ValueError(
                f"monitors must have one false_alarm to be added; got {self.false_alarm:g} and {other.false_alarm:g}"
            )
        added = Monitor.__new__(Monitor)
        added.__dict__.update(self.__dict__, _streams={}, history=[], alarm=None)
        added._sum(self._seen + other._seen)
        return added

    def _sum(self, parts: tuple[Part, ...]) -> None:
        """Become the sum of parts."""
        self._parts = parts
        self.trials, self.dropped = sum(part.trials for part in parts), sum(part.dropped for part in parts)
        strongest = lambda name: max(parts, key=lambda part: part.evidence[name]).findings[name]  # noqa: E731
        self.alarm = summary.judge(self.evidence, self.false_alarm, strongest, max(part.calls for part in parts))

    def __radd__(self, other: object) -> "Monitor":
        """Begin a sum: ``sum(monitors)`` starts from 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    # ---------------------------------------------------------------- shown and kept

    def to_dict(self) -> dict[str, Any]:
        """Return the state as a dictionary of plain values, in a versioned layout, with None in place of infinity."""
        seen, found = self._seen, self.evidence
        strongest = {name: max(seen, key=lambda part: part.evidence[name]).findings[name] for name in found}
        return {
            "schema": SCHEMA,
            "law": self._null.law if self._null else None,
            "n": self.n,
            "p": self._null.rate if self._null else self._p,
            "monitors": len(seen),
            "trials": self.trials,
            "rate": summary.plain(self.rate),
            "rate_interval": [summary.plain(end) for end in self.rate_interval()],
            "false_alarm": self.false_alarm,
            "evidence": {name: summary.plain(log) for name, log in found.items()},
            "findings": strongest,
            "log_e": summary.plain(summary.total(found)),
            "alarm": self.alarm.to_dict() if self.alarm else None,
        }

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, width: int = text.WIDTH) -> str:
        """Return the state as a table `width` characters wide."""
        return text.monitor(self.to_dict(), width)

    def __repr__(self) -> str:
        law = self._null.law if self._null else f"{self._p!r}, no mask yet"
        found = f"alarm at step {self.alarm.step}" if self.alarm else "no alarm"
        return f"<Monitor of {_validate.show(law)}: {self.trials} masks, {found}>"

    def plot(self, ax: Any = None) -> Any:
        """Return Axes with the log evidence of each check over the steps, and the alarm threshold.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw on; by default those of a new figure.

        Raises
        ------
        ValueError
            If no mask was counted yet, or this is a sum of monitors, which has no steps of its own.
        """
        if not self.history:
            raise ValueError(
                "nothing to draw: " + ("a sum has no steps; plot the monitors" if self._parts else "no mask")
            )
        from dropstats.rendering import figures

        now = self.evidence
        looks = [*self.history, (self.trials, [*now.values(), summary.total(now)])]
        steps, logs = np.array([step for step, _ in looks]), np.array([log for _, log in looks])
        return figures.evidence(self.to_dict(), {"steps": steps, "log_e": logs}, ax)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the monitor to an `.npz` file at exactly this path; `load` continues from there."""
        files.save(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Return the monitor stored in a file; nothing is unpickled.

        Raises
        ------
        OSError
            If there is no such file, or it cannot be read.
        ValueError
            If the file is not that of a monitor, or is truncated or damaged.
        """
        return files.load(cls, path)


def _neurons_of(mask: Any) -> int:
    """Return the number of neurons of the first mask, or masks."""
    shape = tuple(map(int, getattr(mask, "shape", np.shape(mask))))
    if not shape or not math.prod(shape):
        raise ValueError(f"masks must have shape (n,) or (k, n); got shape {shape}")
    return math.prod(shape[1:]) if len(shape) > 1 else shape[0]
