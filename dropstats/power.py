"""Power of the audit's rate test: neurons needed to detect a shift of p, and the smallest shift that N neurons detect.

The test counts the dropped among N independent neurons. It is exact and two-sided: it rejects when the binomial tail on
either side is at most half the significance level (here called false-alarm rate). Its power against a shift is the
probability that it rejects on the side of the shift. As a function of N it is a sawtooth, because the count is an
integer; the results here account for this exactly.

Source: M. R. Chernick, C. Y. Liu (2002). The saw-toothed behavior of power versus sample size and software solutions:
single binomial proportion using exact methods. The American Statistician 56, 149-155. doi:10.1198/000313002317572835
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.special import _ufuncs

from dropstats import _validate, counts

# The largest number of neurons: scipy's binomial quantiles, which give the critical counts, end just below 2^53.
_MAX_NEURONS = 2**52
# Sizes that are looked through at a time for the last one without the power.
_BLOCK = 2**12


def neurons_needed(p: float, shift: float, false_alarm: float = 0.01, power: float = 0.9) -> int:
    """Return how many neurons the rate test needs to detect a shift of p.

    It is the smallest N such that N and every larger number of neurons reach the power. The power is a sawtooth in N,
    so that some smaller numbers may reach it too.

    Parameters
    ----------
    p : float
        Declared probability that a neuron is dropped.
    shift : float
        Difference between the true probability, p + shift, and p; positive or negative, not 0.
    false_alarm : float
        Largest probability of an alarm when p is right (the significance level), in (0, 1); 0.01 by default.
    power : float
        Smallest probability of an alarm when the true probability is p + shift, in (0, 1); 0.9 by default.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If p + shift is not in [0, 1], or more than 2^52 neurons would be needed.

    Examples
    --------
    >>> neurons_needed(0.1, 0.1015625 - 0.1)
    553092
    >>> neurons_needed(0.5, -0.01, false_alarm=0.05, power=0.8)
    19765
    """
    p, other = _shifted(p, shift)
    tail, power = _errors(false_alarm, power)
    high = _surely_enough(p, other, tail, power)
    while high > 1:
        sizes = np.arange(max(1, high - _BLOCK), high)
        short = np.flatnonzero(_powers(sizes, p, other, tail) < power)
        if short.size:
            return int(sizes[short[-1]]) + 1
        high = int(sizes[0])
    return 1


def detectable_shift(p: float, neurons: int, false_alarm: float = 0.01, power: float = 0.9, sign: int = 1) -> float:
    """Return the smallest shift of p that the rate test detects with this many neurons.

    Parameters
    ----------
    p : float
        Declared probability that a neuron is dropped.
    neurons : int
        Number of independent neurons, counted over all masks.
    false_alarm, power : float
        As for `neurons_needed`.
    sign : {1, -1}
        Whether the true probability is larger (1, default) or smaller (-1) than p.

    Returns
    -------
    float
        The shift, with its sign; infinite if not even p + shift = 1 (or 0) would be detected.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> round(detectable_shift(0.1, 1_000_000), 8), round(detectable_shift(0.1, 1_000_000, sign=-1), 8)
    (0.00115985, -0.00115507)
    >>> detectable_shift(0.5, 5)
    inf
    """
    p = _validate.probability(p)
    n = _validate.integer(neurons, "neurons", minimum=1, maximum=_MAX_NEURONS)
    tail, power = _errors(false_alarm, power)
    if sign not in (1, -1):
        raise ValueError(f"sign must be 1 or -1; got {sign!r}")
    (critical,) = _critical(np.array([n]), p, tail, sign)
    if not 0 <= critical <= n:
        return sign * math.inf
    if sign > 0:
        other = float(special.betaincinv(critical, n - critical + 1, power))
    else:
        other = float(special.betainccinv(critical + 1, n - critical, power))
    return other - p


def _errors(false_alarm: Any, power: Any) -> tuple[float, float]:
    """Return the false-alarm rate of either side, and the power."""
    false_alarm = _validate.open_probability(false_alarm, "false_alarm")
    return false_alarm / 2, _validate.open_probability(power, "power")


def _shifted(p: Any, shift: Any) -> tuple[float, float]:
    p = _validate.probability(p)
    if isinstance(shift, bool) or not isinstance(shift, int | float | np.number):
        raise TypeError(f"shift must be a number; got {shift!r}")
    if not math.isfinite(shift):
        raise ValueError(f"shift must be a finite number; got {shift!r}")
    if p + shift == p:
        raise ValueError(f"shift must change p; got {shift!r} for p = {p!r}")
    if not 0 <= p + shift <= 1:
        raise ValueError(f"p + shift must be in [0, 1]; got {p!r} + {shift!r}")
    return p, float(p + shift)


def _tail(k: Any, n: Any, p: float, sign: int) -> NDArray[np.float64]:
    """Return P(X >= k) or, for sign -1, P(X <= k) of X ~ Bin(n, p); k beyond 0..n is allowed.

    The incomplete beta function keeps a relative 1e-11 at n = 1e9, where neighbouring tails differ by 1e-4.
    """
    return counts.at_least(k, n, p) if sign > 0 else counts.at_most(k, n, p)


def _critical(n: NDArray[Any], p: float, tail: float, sign: int) -> NDArray[np.float64]:
    """Return the count nearest to n p at which the test alarms: n + 1, or -1, where none does."""
    n = n.astype(np.float64)
    if p in (0.0, 1.0):
        # no count but n p can occur: the next one alarms
        return np.clip(n * p + sign, -1, n + 1)
    k = _ufuncs._binom_isf(tail, n, p) + 1 if sign > 0 else _ufuncs._binom_ppf(tail, n, p) - 1
    k = np.clip(k, -1, n + 1)
    # The quantile may be off by one where a tail is close to the bound.
    for _ in range(2):
        k = np.where(_tail(k, n, p, sign) > tail, k + sign, k)
        k = np.where(_tail(k - sign, n, p, sign) <= tail, k - sign, k)
    return np.asarray(k, np.float64)


def _powers(n: NDArray[Any], p: float, other: float, tail: float, slack: int = 0) -> NDArray[np.float64]:
    """Return the power at each size n, of a test that alarms `slack` counts later."""
    sign = 1 if other > p else -1
    return _tail(_critical(n, p, tail, sign) + sign * slack, n.astype(np.float64), other, sign)


def _surely_enough(p: float, other: float, tail: float, power: float) -> int:
    """Return a size from which on the power is reached, not far above the smallest.

    Let x(n) be the real number at which the tail, continued to real counts, is `tail`. The test alarms from
    ceil(x) <= x + 1 on, and the power of alarming from x + 1 on grows with n without teeth. So where a test that
    alarms one count later has the power, every larger size has it.
    """

    def short(n: int) -> bool:
        return bool(_powers(np.array([n], np.int64), p, other, tail, slack=1)[0] < power)

    low, high = 0, 1
    while short(high):
        low, high = high, 2 * high
        if high > _MAX_NEURONS:
            raise ValueError(f"a shift of {other - p:.3g} needs more than 2^52 neurons at p = {p!r} to be detected")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if short(middle) else (low, middle)
    return high
