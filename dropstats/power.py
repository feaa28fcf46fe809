"""Power of the audit's rate test: neurons needed to detect a shift of p, and the smallest shift that N neurons detect.

The test counts the dropped among N independent neurons. It is exact and two-sided: it rejects when the binomial tail on
either side is at most half the significance level (here called false-alarm rate). Its power against a shift is the
probability that it rejects on the side of the shift. As a function of N it is a sawtooth, because the count is an
integer; the results here account for this exactly.

Source: M. R. Chernick, C. Y. Liu (2002). The saw-toothed behavior of power versus sample size and software solutions:
single binomial proportion using exact methods. The American Statistician 56, 149-155. doi:10.1198/000313002317572835
"""

import math
from bisect import bisect_left
from typing import Any

import numpy as np
from scipy import optimize

from dropstats import _validate, counts

# The largest number of neurons, from which on neighbours might not be told apart in doubles.
_MAX_NEURONS = 2**52
# Teeth of the power that are looked through at most, which takes a second.
_TEETH = 2**12


def neurons_needed(p: float, shift: float, false_alarm: float = 0.01, power: float = 0.9) -> int:
    """Return how many neurons the rate test needs to detect a shift of p.

    It is the smallest N such that N and every larger number of neurons reach the power. The power is a sawtooth in N,
    so that some smaller numbers may reach it too. Beyond 10^11 neurons the result may be larger than the smallest, by
    a millionth at most.

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
    # of the larger p count the kept instead: 1 - p is then not rounded
    last = _last_short(1 - p, 1 - other, tail, power) if p > 0.5 else _last_short(p, other, tail, power)
    if last is None:
        raise ValueError(f"a shift of {shift:.3g} needs more than 2^52 neurons at p = {p!r} to be detected")
    return last + 1


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
    critical = _critical(n, p, tail, sign)
    if not 0 <= critical <= n:
        return sign * math.inf
    other = optimize.brentq(
        lambda other: _tail(critical, n, other, sign) - power, p, 0.5 + sign / 2, xtol=5e-324, rtol=1e-15
    )
    return float(other) - p


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


def _log_tail(k: int, n: int, p: float, sign: int) -> float:
    """Return log P(X >= k) or, for sign -1, log P(X <= k) of X ~ Bin(n, p); k beyond 0..n is allowed."""
    law = counts.Binomial(n, p)
    return float(law.logsf(k - 1) if sign > 0 else law.logcdf(k))


def _tail(k: int, n: int, p: float, sign: int) -> float:
    return math.exp(_log_tail(k, n, p, sign))


def _critical(n: int, p: float, tail: float, sign: int) -> int:
    """Return the count nearest to n p at which the test alarms: n + 1, or -1, where none does."""
    law = counts.Binomial(n, p)
    if sign > 0:
        return int(law.isf(tail)) + 1
    k = int(law.ppf(tail))
    return k if law.cdf(k) <= tail else k - 1


def _last_short(p: float, other: float, tail: float, power: float) -> int | None:
    """Return the last size that lacks the power, or the size before a tooth that has it; for p of at most 1/2.

    None where it is beyond 2^52.

    The power is a sawtooth: a tooth is made of the sizes that have one critical count. Along it the power rises where
    alarms are from that count on, and falls where they are up to it.
    """
    sign = 1 if other > p else -1

    def short(n: int, critical: int) -> bool:
        return _tail(critical, n, other, sign) < power

    def first_with(critical: int, size: int, width: float) -> int:
        """Return the first size with a critical count that `size` has, and a tooth about as wide as this."""

        def reached(n: int) -> bool:
            if sign > 0:
                return _tail(critical - 1, n, p, sign) > tail
            return _tail(critical, n, p, sign) <= tail

        guess, step = max(size + 1 - round(min(width, size)), 1), 1
        low, high = 0, size
        if reached(guess):
            high = guess
            while high - step > 0 and reached(high - step):
                high, step = high - step, 2 * step
            low = max(high - step, 0)
        else:
            low = guess
            while low + step < size and not reached(low + step):
                low, step = low + step, 2 * step
            high = min(low + step, size)
        return bisect_left(range(high), True, lo=low + 1, key=reached)

    following = _surely_enough(p, other, tail, power)
    if following is None:
        return None
    width = 1 / p if p else math.inf
    for _ in range(_TEETH):
        if following == 1:
            return 0
        critical = _critical(following - 1, p, tail, sign)
        if sign < 0 and short(following - 1, critical):
            return following - 1
        first = first_with(critical, following - 1, width)
        if sign > 0 and short(first, critical):
            return bisect_left(range(following), True, lo=first, key=lambda n: not short(n, critical)) - 1
        following, width = first, float(following - first)
    return following - 1


def _surely_enough(p: float, other: float, tail: float, power: float) -> int | None:
    """Return a size from which on the power is reached, not far above the smallest; None where it is beyond 2^52.

    Let x(n) be the real number at which the tail, continued to real counts, is `tail`. The test alarms from
    ceil(x) <= x + 1 on, and the power of alarming from x + 1 on grows with n without teeth. So where that has the
    power, every larger size has it. (For a smaller p it alarms up to floor(x) >= x - 1.) Logs of tails are concave, so
    that interpolation between whole counts makes them too small: of the power that is safe, and x is off by less than
    half a standard deviation's inverse, which is added.
    """
    sign = 1 if other > p else -1

    def short(n: int) -> bool:
        critical = _critical(n, p, tail, sign)
        inner, outer = (_log_tail(k, n, p, sign) for k in (critical - sign, critical))
        share = 1.0
        if math.isfinite(outer):
            share -= (math.log(tail) - outer) / (inner - outer)
            share = min(share + 0.5 / math.sqrt(n * p * (1 - p)), 1.0)
        near, far = (_log_tail(k, n, other, sign) for k in (critical, critical + sign))
        log_power = far if share == 1 else (1 - share) * near + share * far
        return log_power < math.log(power)

    low, high = 0, 1
    while short(high):
        low, high = high, 2 * high
        if high > _MAX_NEURONS:
            return None
    return low + 1 + bisect_left(range(low + 1, high), True, key=lambda n: not short(n))
