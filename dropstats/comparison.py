"""Comparison of a tally with a law: grouped counts, and residuals in standard errors.

Standard errors are those that the law predicts, so that under the law residuals are near standard normal.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import pdtrc

from dropstats import _validate, tallies
from dropstats.laws import Law
from dropstats.tallies import Tally

# More cells than this are not told apart at the width of a page; adjacent counts then form one cell.
_MOST_CELLS = 240
# Trials whose number has a smaller probability than this are shown, however few were expected.
_FORBIDDEN = 1e-9


def check(law: Law, tally: Tally) -> None:
    """Raise where a tally cannot be one of the law's masks."""
    if not isinstance(tally, Tally):
        got = f"{_validate.show(tally)} of type {type(tally).__name__}"
        raise TypeError(f"tally must be a Tally, from simulate(law, trials) or tally(masks); got {got}")
    if not hasattr(law, "dropped"):
        raise TypeError(f"law must be a law, such as Layer(n, p); got {law!r} of type {type(law).__name__}")
    if tally.n != law.n:
        raise ValueError(f"tally must hold masks of the law's {law.n} neurons; got masks of {tally.n}")
    if tally.trials == 0:
        raise ValueError("tally must hold at least one mask; got none")


def window(law: Law, tally: Tally | None, smallest: float) -> tuple[int, int]:
    """Return the counts between which the law lies, but for `smallest` a side, and the tally wholly."""
    low, high = int(law.dropped.ppf(smallest)), int(law.dropped.isf(smallest))
    if tally is not None:
        seen = np.flatnonzero(tally.histogram)
        low, high = min(low, int(seen[0])), max(high, int(seen[-1]))
    # a count to either side, so that a law of one count is seen to be one
    return max(low - 1, 0), min(high + 1, law.n)


def cells(law: Law, low: int, high: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return edges and probabilities of the cells edges[i] <= count < edges[i + 1] of low..high."""
    width = math.ceil((high - low + 1) / _MOST_CELLS)
    edges = np.append(np.arange(low, high + 1, width), high + 1)
    if width == 1:
        return edges, law.dropped.pmf(edges[:-1])
    left = int(np.count_nonzero(edges[1:] - 1 < law.dropped.mean()))
    below, above = law.dropped.cdf(edges[: left + 1] - 1), law.dropped.sf(edges[left:] - 1)
    return edges, np.append(np.diff(below), -np.diff(above))


def trial_cells(law: Law, tally: Tally) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return edges, probabilities and numbers of trials of the cells of a tally laid over its law."""
    # beyond, less than a tenth of a trial is expected on either side
    low, high = window(law, tally, min(0.1 / tally.trials, 1e-3))
    edges, probability = cells(law, low, high)
    return edges, probability, np.add.reduceat(tally.histogram[low : high + 1], edges[:-1] - low)


def _pool(expected: NDArray[np.float64], seen: NDArray[np.int64], fewest: float) -> NDArray[np.intp]:
    """Return bounds of groups of cells that are large enough to be judged, from both tails inwards."""
    size = expected.size
    middle = int(np.searchsorted(np.cumsum(expected), expected.sum() / 2))
    left = _closed_groups(expected[:middle], seen[:middle], fewest)
    right = [size - end for end in _closed_groups(expected[:middle:-1], seen[:middle:-1], fewest)]
    inner = slice(left[-1] if left else 0, right[-1] if right else size)
    if expected[inner].sum() < fewest:  # what is left in the middle joins a neighbour
        (left or right or [0]).pop()
    return np.unique([0, *left, *right, size])


def _closed_groups(expected: NDArray[np.float64], seen: NDArray[np.int64], fewest: float) -> list[int]:
    """Return the ends of the groups that close, from the first cell on."""
    ends, mean, count = [], 0.0, 0
    for index, (more, trials) in enumerate(zip(expected.tolist(), seen.tolist(), strict=True)):
        mean, count = mean + more, count + trials
        if mean >= fewest or (count > 0 and pdtrc(count - 1, mean) < _FORBIDDEN):
            ends.append(index + 1)
            mean, count = 0.0, 0
    return ends


class Groups(NamedTuple):
    """A tally beside its law in groups of adjacent counts; see `groups`.

    Attributes
    ----------
    counts, densities : ndarray
        Where each group lies: the mean of its counts under the law; the mean probability of a count of it.
    probabilities, frequencies : ndarray
        Of falling into each group: by the law, and by the trials.
    trials : int
        Number of trials.
    """

    counts: NDArray[np.float64]
    densities: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    frequencies: NDArray[np.float64]
    trials: int

    @property
    def standard_errors(self) -> NDArray[np.float64]:
        """Standard error of each frequency by the law, sqrt(P (1 - P) / trials)."""
        return np.sqrt(self.probabilities * np.maximum(1 - self.probabilities, 0) / self.trials)

    @property
    def residuals(self) -> NDArray[np.float64]:
        """How far the frequencies lie from the law in standard errors; infinitely far where P is 0 or 1."""
        apart = self.frequencies - self.probabilities
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(apart == 0, 0.0, apart / self.standard_errors)

    @property
    def shares(self) -> NDArray[np.float64]:
        """What turns the probability of each group into that of one count: densities / probabilities."""
        possible = self.probabilities > 0
        return np.divide(self.densities, self.probabilities, out=np.ones(possible.shape), where=possible)


def groups(law: Law, tally: Tally, fewest: float = 10) -> Groups:
    """Return a tally beside its law in groups of adjacent counts that are large enough to be judged.

    Counts are grouped from both tails inwards until each group has `fewest` expected trials: below about 10 a frequency
    is too skew to be compared with the normal distribution. Trials that the law practically forbids stand alone.

    Examples
    --------
    >>> import dropstats as ds
    >>> seen = groups(ds.Layer(2, 0.5), ds.tally([[0, 0]] * 30 + [[0, 1]] * 40 + [[1, 1]] * 30))
    >>> seen.counts, seen.residuals.round(2)
    (array([0., 1., 2.]), array([ 1.15, -2.  ,  1.15]))
    """
    check(law, tally)
    edges, probability, seen = trial_cells(law, tally)
    ends = _pool(probability * tally.trials, seen, fewest)
    bounds, sizes = ends[:-1], np.diff(ends)
    inside, trials = np.add.reduceat(probability, bounds), np.add.reduceat(seen, bounds)
    # counts weigh by the law; where it forbids a whole group, by the trials; where there are none, alike
    lawful, seen_at_all = np.repeat(inside > 0, sizes), np.repeat(trials > 0, sizes)
    weights = np.where(lawful, probability, np.where(seen_at_all, seen, 1))

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.add.reduceat(weights * values, bounds) / np.add.reduceat(weights, bounds)

    whole = inside.copy()
    whole[0] += law.dropped.cdf(edges[0] - 1)
    whole[-1] += law.dropped.sf(edges[-1] - 1)
    return Groups(
        counts=mean((edges[:-1] + edges[1:] - 1) / 2),
        densities=mean(probability / np.diff(edges)),
        probabilities=whole,
        frequencies=trials / tally.trials,
        trials=tally.trials,
    )


def moment_residuals(law: Law, tally: Tally) -> list[float]:
    """Return how far the moments of a tally lie from those of the law, in standard errors.

    Mean, variance, skewness and excess kurtosis of the number of dropped neurons, in this order. The standard
    errors are those of the law by the delta method; NaN where it gives none, as for a law without variance.
    """
    check(law, tally)
    low, high = window(law, None, 1e-30)
    counts = np.arange(low, high + 1)
    exact = [float(value) for value in law.dropped.stats("mvsk")]
    mean, variance = exact[:2]
    if not variance:
        return [math.nan] * 4
    scaled = (counts - mean) / math.sqrt(variance)
    weights = law.dropped.pmf(counts)
    standardised = [float(np.sum(weights * scaled**order)) for order in range(9)]
    residuals = []
    for name, value, scale in zip(tallies.MOMENTS, exact, (math.sqrt(variance), variance, 1, 1), strict=True):
        error = tallies.moment_standard_error(name, variance, standardised, tally.trials)
        # of a fair neuron the variance has no error of first order; what is left is rounding
        negligible = error * math.sqrt(tally.trials) < 1e-6 * scale
        residuals.append(math.nan if negligible else (getattr(tally, name) - value) / error)
    return residuals
