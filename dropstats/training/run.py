"""A training run: exact statistics of the masks of a law over a number of steps."""

import math
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from dropstats import _numerics, _progress, _validate, counts
from dropstats._numerics import log1mexp
from dropstats.laws import Law
from dropstats.laws.foreign import independent_law
from dropstats.training import subnetworks
from dropstats.training.longest_run import LongestRun
from dropstats.training.rate_counts import RateCounts
from dropstats.training.times import MANY_RATES, WaitingTime

Array = NDArray[np.float64]


class Similarity(NamedTuple):
    """Mean and standard deviation of the Jaccard similarity of two masks."""

    mean: float
    std: float


@dataclass(frozen=True)
class TrainingRun:
    """Independent masks of one law over the steps of a training run, one mask per step.

    All results are exact, for any law of independent neurons, from p = 1e-12 to 1 - 1e-12. The time depends on the
    number of different rates and hardly on n.

    Parameters
    ----------
    law : Law
        A law of independent neurons, such as `Neuron`, `Layer` or `Network`.
    steps : int
        Number of steps, at least 1.
    progress : bool or callable, optional
        True shows a progress bar of what takes more than a second: sums over a million different rates, or over many
        classes of masks. A callable such as ``tqdm.notebook.tqdm`` wraps what is gone through.

    Examples
    --------
    >>> from dropstats import Layer
    >>> run = TrainingRun(Layer(1024, 0.5), steps=10_000)
    >>> round(run.steps_until_all("dropped").mean(), 4)
    11.3335
    >>> round(run.longest_run().mean(), 4), round(run.longest_run_of_any().mean(), 4)
    (12.6206, 22.6174)
    >>> run.any_repeat < 1e-299
    True
    """

    law: Law
    steps: int
    progress: Any = field(default=None, compare=False, repr=False)

    def __init__(self, law: Law, steps: int, progress: Any = None) -> None:
        _progress.check(progress)
        object.__setattr__(self, "progress", progress)
        object.__setattr__(self, "law", independent_law(law, "TrainingRun"))
        object.__setattr__(self, "steps", _validate.integer(steps, "steps", minimum=1, maximum=_validate.MAX_NEURONS))

    @cached_property
    def _rates(self) -> RateCounts:
        return RateCounts(*self.law._rate_counts())

    def _rate(self, neuron: int | None) -> float:
        """Drop probability of one neuron, or of any where all are equal."""
        if not len(self._rates):
            raise ValueError("the law has no neurons")
        if neuron is None:
            if (rates := len(self._rates)) > 1:
                raise ValueError(f"neuron= must say which one: the law's neurons have {rates} different rates")
            return float(self._rates.p[0])
        return float(self.law.rates[_validate.integer(neuron, "neuron", minimum=0, maximum=self.law.n - 1)])

    # --- never dropped, never kept -------------------------------------------------------------------------------

    @property
    def prob_never_dropped(self) -> Array:
        """Probability that a neuron is never dropped in T steps, q^T; read-only, of shape (n,)."""
        return self._powers(dropped=False)

    @property
    def prob_never_kept(self) -> Array:
        """Probability that a neuron is never kept in T steps, p^T; read-only, of shape (n,)."""
        return self._powers(dropped=True)

    def _powers(self, *, dropped: bool) -> Array:
        rates = self.law.rates
        one = rates[:1] if rates.strides == (0,) else rates
        with np.errstate(divide="ignore", under="ignore"):
            powers = np.exp(self.steps * (np.log(one) if dropped else np.log1p(-one)))
        return np.broadcast_to(powers, rates.shape)

    @cached_property
    def never_dropped(self) -> counts.Count:
        """Number of neurons that are never dropped, as a frozen scipy distribution.

        Examples
        --------
        >>> from dropstats import Layer
        >>> run = TrainingRun(Layer(1024, 0.5), steps=10)
        >>> run.never_dropped.mean(), run.never_kept.mean()
        (np.float64(1.0), np.float64(1.0))
        """
        return self._never(dropped=False)

    @cached_property
    def never_kept(self) -> counts.Count:
        """Number of neurons that are never kept, as a frozen scipy distribution."""
        return self._never(dropped=True)

    def _log_always(self, *, dropped: bool) -> Array:
        """Log-probability of a neuron of each rate to be always dropped, or always kept."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.steps * (np.log(self._rates.p) if dropped else np.log1p(-self._rates.p)))

    def _never(self, *, dropped: bool) -> counts.Count:
        with np.errstate(under="ignore"):
            return counts.of_groups(np.exp(self._log_always(dropped=dropped)), self._rates.number)

    @property
    def any_never_dropped(self) -> float:
        """Probability that at least one neuron is never dropped, 1 - prod (1 - q^T)."""
        return self._any_never(dropped=False)

    @property
    def any_never_kept(self) -> float:
        """Probability that at least one neuron is never kept, 1 - prod (1 - p^T)."""
        return self._any_never(dropped=True)

    def _any_never(self, *, dropped: bool) -> float:
        none = self._rates.number @ log1mexp(self._log_always(dropped=dropped))
        return 0.0 - math.expm1(float(none))  # 0.0, not -0.0, where nothing is left

    def steps_until_all(self, what: Literal["dropped", "kept", "both"] = "dropped") -> WaitingTime:
        """Return the distribution of the first step by which every neuron has been dropped (or kept, or both).

        This is a coupon collector's waiting time, with mean sum_t 1 - prod_i (1 - q_i^t); it does not depend on
        `steps`.

        Parameters
        ----------
        what : {'dropped', 'kept', 'both'}
            What must have happened to every neuron; 'dropped' by default.

        Returns
        -------
        WaitingTime
            With scipy's method names: mean, std, cdf, sf, pmf, ppf, median, interval. The mean is infinite if some
            neuron can never be dropped (or kept).

        Examples
        --------
        >>> from dropstats import Layer
        >>> wait = TrainingRun(Layer(1024, 0.1), 1).steps_until_all("dropped")
        >>> round(wait.mean(), 4), wait.interval(0.95)
        (71.7713, (54.0, 101.0))
        """
        if what not in ("dropped", "kept", "both"):
            raise ValueError(f"what must be 'dropped', 'kept' or 'both'; got {what!r}")
        return WaitingTime(self._rates, what, self.progress)

    # --- runs ----------------------------------------------------------------------------------------------------

    def longest_run(self, neuron: int | None = None) -> LongestRun:
        """Return the distribution of the longest run of consecutive steps in which a neuron is dropped.

        Parameters
        ----------
        neuron : int, optional
            Index of the neuron; needed only if rates differ.

        Examples
        --------
        >>> from dropstats import Layer
        >>> run = TrainingRun(Layer(1, 0.5), 1_000_000).longest_run()
        >>> round(run.sf(19), 6)        # of a run of 20 or more
        0.379254
        """
        rate = RateCounts(np.array([self._rate(neuron)]), np.array([1]))
        return LongestRun(rate, self.steps, self.progress)

    def longest_run_of_any(self) -> LongestRun:
        """Return the distribution of the longest run of consecutive drops among all neurons.

        Examples
        --------
        >>> from dropstats import Layer
        >>> round(TrainingRun(Layer(1024, 0.5), 10_000).longest_run_of_any().mean(), 4)
        22.6174
        """
        return LongestRun(self._rates, self.steps, self.progress)

    # --- subnetworks ---------------------------------------------------------------------------------------------

    @property
    def expected_distinct(self) -> float:
        """Expected number of different masks, sum over masks of 1 - (1 - P(mask))^T.

        With many different rates it is available only if repeated masks are rare (T max P < 1e-3).
        """
        with _progress.asked(self.progress):
            return subnetworks.expected_distinct(self._rates, self.steps)

    @property
    def prob_equal_pair(self) -> float:
        """Probability that the masks of two given steps are equal, prod (p^2 + q^2)."""
        return math.exp(subnetworks.log_power_sum(self._rates, 2))

    @property
    def expected_equal_pairs(self) -> float:
        """Expected number of pairs of steps with equal masks, C(T, 2) prod (p^2 + q^2)."""
        return self.steps * (self.steps - 1) / 2 * self.prob_equal_pair

    @property
    def any_repeat(self) -> float:
        """Exact probability that some mask occurs at least twice; see `prob_all_distinct`."""
        with _progress.asked(self.progress):
            return subnetworks.any_repeat(self._rates, self.steps)

    @property
    def prob_all_distinct(self) -> float:
        """Exact probability that all masks differ, T! [x^T] prod over masks of (1 + P(mask) x).

        The usual approximation exp(-C(T,2) prod (p^2 + q^2)) is wrong by large factors if p is far from 1/2, because
        masks are then far from equally probable.

        Examples
        --------
        >>> from dropstats import Layer
        >>> run = TrainingRun(Layer(64, 0.1), 748)
        >>> round(run.prob_all_distinct, 6), round(float(np.exp(-run.expected_equal_pairs)), 6)
        (0.499381, 0.426696)
        """
        with _progress.asked(self.progress):
            return math.exp(subnetworks.log_all_distinct(self._rates, self.steps))

    @property
    def steps_until_every_subnetwork(self) -> float:
        """Expected number of steps until every mask that can occur has occurred; infinite above 1e304.

        For p = 1/2 it is N H_N with N = 2^n masks.
        """
        with _progress.asked(self.progress):
            return subnetworks.steps_until_every(self._rates)

    # --- two masks -----------------------------------------------------------------------------------------------

    @cached_property
    def hamming(self) -> counts.Count:
        """Distribution of the Hamming distance of two masks, Bin(n, 2pq) for equal rates.

        Examples
        --------
        >>> from dropstats import Layer
        >>> TrainingRun(Layer(100, 0.5), steps=2).hamming.mean()
        np.float64(50.0)
        """
        p = self._rates.p
        return counts.of_groups(2 * p * (1 - p), self._rates.number)

    @cached_property
    def jaccard_kept(self) -> Similarity:
        """Jaccard similarity of the sets of neurons that two masks keep (intersection over union, if not empty).

        Its mean is q/(1+p) for equal rates.

        Examples
        --------
        >>> from dropstats import Layer
        >>> round(TrainingRun(Layer(100, 0.5), steps=2).jaccard_kept.mean, 6)
        0.333333
        """
        return self._jaccard(1 - self._rates.p)

    @cached_property
    def jaccard_dropped(self) -> Similarity:
        """Jaccard similarity of the sets of neurons that two masks drop; its mean is p/(2-p) for equal rates."""
        return self._jaccard(self._rates.p)

    def _jaccard(self, r: Array) -> Similarity:
        """Mean and standard deviation of I/U for the intersection and the union of two random sets, given U > 0.

        With u_i = 1 - (1 - r_i)^2 and g_i = 1 - u_i (1 - s), prod g_i is the generating function of U, and
        1/(1 + V) = int_0^1 s^V ds, 1/(1 + V)^2 = int_0^1 -log(s) s^V ds, which turn both moments into one integral.
        """
        r, m = r[r > 0], self._rates.number[r > 0]
        if not r.size:
            return Similarity(math.nan, math.nan)
        if r.min() == 1:  # the same neurons every time
            return Similarity(1.0, 0.0)
        with np.errstate(divide="ignore"):
            some = -math.expm1(float(np.sum(2 * m * np.log1p(-r))))
        y, s, weights, minus_log_s = _unit_nodes(float(np.sum(m * r * (2 - r))))
        r, m = _as_nodes(r, m)
        size = max(1, 2**18 // y.size)
        blocks = [(r[i : i + size, None], m[i : i + size]) for i in range(0, r.size, size)]  # of bounded memory
        log_generating, hits = np.zeros(y.size), np.zeros(y.size)
        shown = partial(_progress.shown, blocks, len(blocks), unit="block", progress=self.progress, delay=1)
        for rate, number in shown(what="similarity, mean"):
            either = rate * (2 - rate)
            g = (1 - rate) ** 2 + either * s
            log_generating += number @ np.where(y <= 0.5, np.log1p(-either * np.minimum(y, 0.5)), np.log(g))
            hits += number @ (rate**2 / g)
        with np.errstate(under="ignore"):
            generating = np.exp(log_generating)
        mean = float(np.sum(weights * generating * hits)) / some
        # of I - mean U, whose terms have these means and second moments, so that no digits cancel
        first, squares, second = np.zeros(y.size), np.zeros(y.size), np.zeros(y.size)
        for rate, number in shown(what="similarity, variance"):
            either, both = rate * (2 - rate), rate**2
            g = (1 - rate) ** 2 + either * s
            of_one = (both - mean * either) / g
            first += number @ of_one
            squares += number @ of_one**2
            second += number @ ((both * (1 - mean) ** 2 + (either - both) * mean**2) / g)
        inner = second + s * (first**2 - squares)
        variance = float(np.sum(weights * minus_log_s * generating * inner)) / some
        return Similarity(mean, math.sqrt(max(variance, 0.0)))

    # --- weights -------------------------------------------------------------------------------------------------

    def weight_updates(
        self, following: Law, neuron: int | None = None, following_neuron: int | None = None
    ) -> counts.Count:
        """Return the distribution of the number of steps in which a weight to the following layer gets a gradient.

        A weight gets a gradient if both its neurons are kept. The result is Bin(T, q q'), a frozen scipy distribution.

        Parameters
        ----------
        following : Law
            Law of the following layer.
        neuron, following_neuron : int, optional
            Indices of the two neurons of the weight; needed only if rates differ.

        Examples
        --------
        >>> from dropstats import Layer
        >>> updates = TrainingRun(Layer(784, 0.2), 20).weight_updates(Layer(1024, 0.5))
        >>> round(float(updates.mean()), 6), round(float(updates.pmf(0)), 8)
        (8.0, 3.656e-05)
        """
        p, other = self._rate(neuron), TrainingRun(following, self.steps)._rate(following_neuron)
        both = (1 - p) * (1 - other)
        if both <= 0.5:
            return counts.of_rates([(both, self.steps)])
        # the chance to be missed, p + p' - p p', keeps the digits that 1 - q q' would lose
        return counts.of_rates([(p + other * (1 - p), self.steps)]).mirror()


def _as_nodes(r: Array, number: Array) -> tuple[Array, Array]:
    """Return nodes and weights for sums over many rates; few rates as they are.

    The summands are functions of the log odds whose nearest singularities, the zeros of (1 - r)^2 + r (2 - r) s, are
    pi / 2 or more away from the real axis: on a width of 1/2 the nodes err by 12^-16 of them.
    """
    if r.size <= MANY_RATES or r.max() == 1:
        return r, number
    order = np.argsort(r)
    odds = np.log(r[order]) - np.log1p(-r[order])
    if 16 * (odds[-1] - odds[0]) / 0.5 > r.size / 4:
        return r, number
    odds, number = counts.nodes(odds, number[order], 0.5)
    return expit(odds), number


def _unit_nodes(union: float) -> tuple[Array, Array, Array, Array]:
    """Nodes y = 1 - s, s, weights and -log s for int_0^1 ds of what is near exp(-union y) or smaller."""
    # by y near 0, where the generating function of many neurons lives, by s near 0 for the logarithm; a panel that
    # begins at 0 is narrower than anything that varies, panels of ratio sqrt(e) are exact to 1e-15
    start = 1e-2 / (1 + union)
    first, w_first = _numerics.panels(np.array([0.0, start]))
    near, w_near = _numerics.logarithmic(start, 0.5, 0.5)
    far, w_far = _numerics.logarithmic(1e-20, 0.5, 0.5)
    y = np.concatenate([first, near, 1 - far])
    s = np.concatenate([1 - first, 1 - near, far])
    weights = np.concatenate([w_first, w_near, w_far])
    minus_log_s = np.concatenate([-np.log1p(-first), -np.log1p(-near), -np.log(far)])
    matters = y * union <= 60  # the rest is below exp(-60), as 1 - u y <= exp(-u y)
    return y[matters], s[matters], weights[matters], minus_log_s[matters]
