"""Tally: the sums over masks that a comparison with a law needs."""

from dataclasses import dataclass
from operator import add
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate
from dropstats.laws import Law
from dropstats.laws.foreign import parts_of

# Names of the moments that a tally estimates, in the order of scipy's 'mvsk'.
MOMENTS = ("mean", "variance", "skewness", "kurtosis")


@dataclass(frozen=True, eq=False)
class Tally:
    """Sums over masks; tallies of the same neurons are added with ``+``.

    Attributes
    ----------
    trials : int
        Number of masks.
    drops : ndarray of int64, shape (n,)
        How often each neuron was dropped.
    histogram : ndarray of int64, shape (n + 1,)
        How many masks dropped 0, 1, ..., n neurons.
    layers : tuple of Tally
        For masks of a network, the tally of each of its parts; otherwise empty.

    Examples
    --------
    >>> both = tally([[1, 0, 0], [1, 1, 0]]) + tally([[1, 1, 1]])
    >>> both.trials, both.drops.tolist(), both.histogram.tolist()
    (3, [0, 1, 2], [1, 1, 1, 0])
    >>> both.mean
    1.0
    """

    trials: int
    drops: NDArray[np.int64]
    histogram: NDArray[np.int64]
    layers: tuple["Tally", ...] = ()

    def __post_init__(self) -> None:
        for array in (self.drops, self.histogram):
            array.flags.writeable = False

    @property
    def n(self) -> int:
        """Number of neurons in a mask."""
        return int(self.drops.shape[0])

    def __add__(self, other: Self) -> "Tally":
        if not isinstance(other, Tally):
            return NotImplemented
        if other.n != self.n or len(other.layers) != len(self.layers):
            raise ValueError(
                f"tallies must be of masks of one kind; got {self.n} neurons in {len(self.layers) or 1} parts "
                f"and {other.n} in {len(other.layers) or 1}"
            )
        return Tally(
            self.trials + other.trials,
            self.drops + other.drops,
            self.histogram + other.histogram,
            tuple(map(add, self.layers, other.layers)),
        )

    def __radd__(self, other: object) -> "Tally":
        """Begin a sum: ``sum(tallies)`` starts from 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tally):
            return NotImplemented
        return (
            self.trials == other.trials
            and np.array_equal(self.drops, other.drops)
            and np.array_equal(self.histogram, other.histogram)
            and self.layers == other.layers
        )

    def __repr__(self) -> str:
        return f"Tally(trials={self.trials}, n={self.n}, mean={self.mean:.6g}, variance={self.variance:.6g})"

    def _repr_html_(self) -> str:
        from dropstats.rendering import cards

        seen = np.flatnonzero(self.histogram)
        error = self.standard_error() if self.trials > 1 else float("nan")
        facts = [("masks", f"{self.trials:,} of {self.n:,} neurons")]
        if self.trials:
            more = "" if np.isnan(error) else f", standard error {error:.2g}"
            facts += [
                ("dropped in a mask", f"{self.mean:,.6g} on average{more}"),
                ("standard deviation", "" if self.trials == 1 else f"{self.variance**0.5:,.4g}"),
                ("lowest and highest", f"{seen[0]:,} and {seen[-1]:,}"),
                ("parts", f"{len(self.layers)}" if self.layers else ""),
            ]
        return cards.card("Tally", facts, cards.of_counts(self.histogram), "How many neurons the masks drop")

    def _central_moment(self, order: int) -> float:
        """Return the average of (count - mean)^order over the trials."""
        seen = np.flatnonzero(self.histogram)
        weights = self.histogram[seen] / self.trials
        return float(np.sum(weights * (seen - self.mean) ** order))

    @property
    def mean(self) -> float:
        """Mean number of dropped neurons."""
        seen = np.flatnonzero(self.histogram)
        # in Python integers: the sum of counts can pass 2^63
        total = sum(map(int.__mul__, seen.tolist(), self.histogram[seen].tolist()))
        return total / self.trials

    @property
    def variance(self) -> float:
        """Unbiased sample variance of the number of dropped neurons; NaN for a single trial."""
        return self._central_moment(2) * self.trials / (self.trials - 1) if self.trials > 1 else float("nan")

    @property
    def skewness(self) -> float:
        """Skewness of the number of dropped neurons; NaN if the variance is 0."""
        variance = self._central_moment(2)
        return self._central_moment(3) / variance**1.5 if variance else float("nan")

    @property
    def kurtosis(self) -> float:
        """Excess kurtosis of the number of dropped neurons; NaN if the variance is 0."""
        variance = self._central_moment(2)
        return self._central_moment(4) / variance**2 - 3 if variance else float("nan")

    def standard_error(self, moment: str = "mean") -> float:
        """Return the standard error of an estimated moment of the number of dropped neurons, by the delta method.

        Parameters
        ----------
        moment : {'mean', 'variance', 'skewness', 'kurtosis'}
            'mean' by default.

        Returns
        -------
        float
            Standard error, of order trials**-0.5; NaN if the variance is 0.

        References
        ----------
        A. Stuart, J. K. Ord (1994). Kendall's Advanced Theory of Statistics, 6th ed., vol. 1, section 10.

        Examples
        --------
        >>> round(tally([[1, 0], [0, 0], [1, 1], [1, 0]]).standard_error(), 6)
        0.353553
        """
        _validate.choice(moment, "moment", MOMENTS)
        variance = self._central_moment(2)
        if not variance:
            return float("nan")
        standardised = [self._central_moment(order) / variance ** (order / 2) for order in range(9)]
        return moment_standard_error(moment, variance, standardised, self.trials)

    @property
    def rates(self) -> NDArray[np.float64]:
        """Observed drop rate of each neuron, of shape (n,)."""
        return self.drops / self.trials

    def rate_intervals(self, confidence: float = 0.99) -> NDArray[np.float64]:
        """Return exact (Clopper-Pearson) confidence intervals of the neurons' drop rates.

        Each interval covers its rate with at least the stated probability; the intervals are not simultaneous.

        Parameters
        ----------
        confidence : float
            Coverage of each interval, in [0, 1); 0.99 by default.

        Returns
        -------
        ndarray, shape (n, 2)
            Lower and upper ends.

        Raises
        ------
        ValueError
            If `confidence` is not in [0, 1).

        References
        ----------
        C. J. Clopper, E. S. Pearson (1934). The use of confidence or fiducial limits illustrated in the case of the
        binomial. Biometrika 26, 404-413. doi:10.1093/biomet/26.4.404

        Examples
        --------
        >>> tally([[1], [0]] * 5).rate_intervals(0.95).round(4)
        array([[0.1871, 0.8129]])
        """
        from dropstats.counts import binomial_interval

        tail = (1 - _validate.probability(confidence, "confidence")) / 2
        if tail == 0:
            raise ValueError("confidence must be below 1; got 1.0")
        dropped = self.drops.astype(np.float64)
        return np.stack(binomial_interval(dropped, self.trials - dropped, tail), axis=1)


def moment_standard_error(moment: str, variance: float, standardised: list[float], trials: int) -> float:
    """Return the standard error over `trials` of an estimated moment.

    `standardised[r]` is the r-th central moment divided by variance**(r / 2), r = 0..8; of a law, or of a tally.
    """
    a3, a4, a5, a6, a8 = standardised[3], standardised[4], standardised[5], standardised[6], standardised[8]
    squared = {
        "mean": variance,
        "variance": variance**2 * (a4 - 1),
        "skewness": a6 - 6 * a4 + 9 - 3 * a3 * a5 + a3**2 * (35 + 9 * a4) / 4,
        "kurtosis": a8 - 4 * a4 * a6 + 4 * a4**3 - a4**2 + 16 * a3**2 * (a4 + 1) - 8 * a3 * a5,
    }
    return float(np.sqrt(max(squared[moment], 0.0) / trials))


def empty(law: Law) -> Tally:
    """Return the tally of no masks of `law`, the zero of ``+``."""
    parts = tuple(map(empty, parts_of(law)))
    _validate.memory(16 * law.n, f"a tally of {law.n} neurons")
    return Tally(0, np.zeros(law.n, np.int64), np.zeros(law.n + 1, np.int64), parts)


def tally(masks: Any, law: Law | None = None) -> Tally:
    """Return the tally of masks or of a recording.

    Parameters
    ----------
    masks : Recording, or array_like of shape (trials, n) or (n,)
        Masks of booleans or of 0 and 1 (1 = kept, 0 = dropped), or a single mask. A recording is summed without
        unpacking it, in bounded memory.
    law : Network, optional
        The network that the masks belong to; its parts are then tallied as well.

    Returns
    -------
    Tally

    Raises
    ------
    ValueError
        If a mask holds values other than 0 and 1 or has the wrong number of neurons, or if a recording has neurons
        of which it is not known whether they were dropped.

    Examples
    --------
    >>> tally([[1, 0, 0], [1, 1, 0]]).histogram.tolist()
    [0, 1, 1, 0]
    """
    if law is not None and not hasattr(law, "n"):
        raise TypeError(f"law must be a law such as Layer(n, p); got {law!r} of type {type(law).__name__}")
    recorded = hasattr(masks, "mask_drops")  # a Recording, which knows tallies, not they it
    given: Any = masks if recorded else _boolean_masks(masks)
    shape = (given.trials, given.n) if recorded else given.shape
    if law is not None and shape[1] != law.n:
        raise ValueError(f"masks must have the law's {law.n} neurons; got shape {shape}")
    if recorded and given.judged < given.trials * given.n:
        raise ValueError(
            f"a tally needs masks whose neurons are all known; got {given.trials * given.n - given.judged:,} of "
            f"{given.trials * given.n:,} of which it is not known whether they were dropped (inputs of 0 or NaN)"
        )
    return _recorded(given, law) if recorded else _tally(given, law)


def _boolean_masks(masks: Any) -> NDArray[np.bool_]:
    try:
        array = np.asarray(masks)
    except ValueError as error:  # ragged nested sequences
        raise ValueError("masks must have shape (trials, n) or (n,); got rows of different lengths") from error
    if array.ndim not in (1, 2):
        raise ValueError(f"masks must have shape (trials, n) or (n,); got shape {array.shape}")
    if array.dtype.kind not in "bfiu":
        raise TypeError(f"masks must be booleans or 0 and 1; got dtype {array.dtype}")
    array = np.atleast_2d(array)
    if array.shape[0] == 0:
        raise ValueError(f"masks must hold at least one mask; got shape {array.shape}")
    if array.dtype.kind != "b":
        kept = array != 0
        if not np.array_equal(array, kept):
            where = tuple(map(int, np.argwhere(array != kept)[0]))
            raise ValueError(f"masks must hold 0 (dropped) and 1 (kept) only; got {array[where]!r} at index {where}")
        array = kept
    return array


def _parts(law: Law | None) -> list[tuple[Law, slice]]:
    """Return the parts of a network with the neurons of each; nothing for another law."""
    laws = parts_of(law)
    ends = np.cumsum([part.n for part in laws], dtype=int).tolist()
    return [(part, slice(end - part.n, end)) for part, end in zip(laws, ends, strict=True)]


def _tally(kept: NDArray[np.bool_], law: Law | None) -> Tally:
    trials, n = kept.shape
    parts = tuple(_tally(kept[:, columns], part) for part, columns in _parts(law))
    counts = n - np.count_nonzero(kept, axis=1)
    return _summed(trials, trials - np.count_nonzero(kept, axis=0), counts, parts)


def _recorded(recording: Any, law: Law | None) -> Tally:
    parts = tuple(_recorded(recording.neurons(columns), part) for part, columns in _parts(law))
    return _summed(recording.trials, recording.neuron_drops(), recording.mask_drops(), parts)


def _summed(trials: int, drops: NDArray[Any], counts: NDArray[Any], parts: tuple[Tally, ...]) -> Tally:
    histogram = np.bincount(counts, minlength=drops.shape[0] + 1)
    return Tally(trials, drops.astype(np.int64), histogram.astype(np.int64), parts)
