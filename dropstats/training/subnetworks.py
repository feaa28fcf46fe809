"""How many different masks occur in a run of steps, and whether one comes twice.

Masks of equal probability form a class: those with j dropped neurons, where all rates are equal, or with j_1, j_2, ...
dropped of each rate. A class is described by its probability as a whole and that of one of its masks, so that the
number of masks in it, up to 2^n, is never needed itself.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dropstats import _numerics, _progress, counts
from dropstats._numerics import log1mexp
from dropstats.training.rate_counts import RateCounts

Array = NDArray[np.float64]

# Classes worked with at most: arrays of 32 MiB.
_CLASSES = 2**22
# A class whose probability times the number of steps is below 1e-22 is not met.
_NEGLIGIBLE = 1e-22
# Below this expected number of equal pairs the probability of a repeat comes from its series, which keeps its digits.
_FEW_PAIRS = 1e-3
# Up to 2^12 masks the probability is a recursion over all masks.
_ENUMERATED = 12


def log_power_sum(rates: RateCounts, k: int) -> float:
    """Log of the sum of the k-th powers of all masks' probabilities: of the chance that k masks are all equal."""
    return log_power_sums(rates, range(k, k + 1))[0]


def _free(rates: RateCounts) -> tuple[Array, Array]:
    """The rates strictly between 0 and 1, and how many neurons have each."""
    free = (rates.p > 0) & (rates.p < 1)
    return rates.p[free], rates.number[free]


def log_power_sums(rates: RateCounts, orders: range) -> list[float]:
    """Logs of such sums of several powers, one after the other."""
    p, number = _free(rates)
    log_large = np.where(p <= 0.5, np.log1p(-p), np.log(p))
    ratio = np.minimum(p, 1 - p) / np.maximum(p, 1 - p)
    first, logs = float(number @ log_large), []
    with np.errstate(under="ignore"):
        power = ratio**orders.start
        for k in _progress.shown(orders, len(orders), "adding masks", "order", delay=1):
            logs.append(k * first + float(number @ np.log1p(power)))
            power *= ratio
    return logs


@dataclass(frozen=True)
class Classes:
    """Classes of equally probable masks: probability of the class, and log-probability of one of its masks."""

    mass: Array
    log_mask: Array

    @property
    def mask(self) -> Array:
        """Probability of one mask of each class."""
        with np.errstate(under="ignore"):
            return np.exp(self.log_mask)


def classes(rates: RateCounts, steps: float) -> Classes:
    """Return the classes that are met within `steps` steps, all of them if infinite; raise where they are too many."""
    mass, log_mask = np.ones(1), np.zeros(1)
    for p, number in rates:
        if not 0 < p < 1:
            continue
        law = counts.Binomial(number, p)
        low, high = _window(p, number, steps)
        if (high - low + 1) * mass.size > _CLASSES:
            raise ValueError(
                f"masks of this law fall into more than {_CLASSES} classes of equal probability, too many for an exact "
                "answer; use dropstats.simulate, or a layer with a single rate"
            )
        j = np.arange(low, high + 1, dtype=np.float64)
        log_one = j * math.log(p) + (number - j) * math.log1p(-p)
        mass = np.multiply.outer(mass, law.pmf(j)).ravel()
        log_mask = np.add.outer(log_mask, log_one).ravel()
    return Classes(mass, log_mask)


def _window(p: float, number: int, steps: float) -> tuple[int, int]:
    """Counts of dropped neurons outside of which all together have less than _NEGLIGIBLE / steps (Bernstein)."""
    if steps == math.inf:
        return 0, number
    log_level = math.log(2 * max(steps, 1) / _NEGLIGIBLE)
    reach = math.sqrt(2 * number * p * (1 - p) * log_level) + 2 * log_level / 3 + 1
    return max(0, math.floor(number * p - reach)), min(number, math.ceil(number * p + reach))


def expected_distinct(rates: RateCounts, steps: int) -> float:
    """Sum over masks of 1 - (1 - P(mask))^steps."""
    if steps == 1:
        return 1.0
    log_largest = float(rates.number @ np.log(np.maximum(rates.p, 1 - rates.p)))
    # sum_k (-1)^(k+1) C(T, k) lambda_k, whose terms fall at least like (T max P)^k / k!
    if math.log(steps) + log_largest < math.log(1e-3):
        terms, log_choose = [], 0.0
        orders = range(1, min(steps, 8) + 1)
        for k, log_sum in zip(orders, log_power_sums(rates, orders), strict=True):
            log_choose += math.log((steps - k + 1) / k)
            terms.append((-1) ** (k + 1) * math.exp(log_choose + log_sum))
        # the first term is the number of steps itself
        return float(steps) + math.fsum(terms[1:])
    found = classes(rates, steps)
    mask = found.mask
    tiny = mask == 0
    safe = np.where(tiny, 1.0, mask)
    with np.errstate(divide="ignore"):
        ever = np.where(tiny, float(steps), -np.expm1(steps * np.log1p(-safe)) / safe)
    return float(np.sum(found.mass * ever))


def log_all_distinct(rates: RateCounts, steps: int) -> float:
    """Log of the probability that no mask comes twice."""
    p, number = _free(rates)
    free = int(number.sum())  # 2^free masks
    if free < 63 and steps > 2**free:
        return -math.inf
    if free <= _ENUMERATED:
        return _log_distinct_enumerated(rates, steps)
    if free < 63 and steps == 2**free:  # every mask once, in any order
        log_masks = float(number @ (np.log(p) + np.log1p(-p)))
        return math.lgamma(steps + 1) + float(2 ** (free - 1)) * log_masks
    log_pairs = math.log(steps) * 2 + log_power_sum(rates, 2)
    if log_pairs < math.log(_FEW_PAIRS):
        return math.log1p(-_repeat_series(rates, steps))
    return _log_distinct_contour(classes(rates, steps), steps)


def any_repeat(rates: RateCounts, steps: int) -> float:
    """Probability that some mask comes twice."""
    if steps > 1 and 2 * math.log(steps) + log_power_sum(rates, 2) < math.log(_FEW_PAIRS):
        return _repeat_series(rates, steps)
    return -math.expm1(log_all_distinct(rates, steps))


def _repeat_series(rates: RateCounts, steps: int) -> float:
    """1 - P(all distinct) where equal pairs are rare.

    P = T! [x^T] exp(x) exp(sum_{k >= 2} (-1)^(k+1) lambda_k x^k / k) = sum_m c_m T (T-1) ... (T-m+1), with c the
    coefficients of the second exponential. In x = y / T the terms are of order (T^2 lambda_2)^(m/2).
    """
    order = 12
    inner, orders = [0.0, 0.0], range(2, order + 1)
    for k, log_sum in zip(orders, log_power_sums(rates, orders), strict=True):
        inner.append((-1) ** (k + 1) * math.exp(k * math.log(steps) + log_sum) / k)
    coefficients = [1.0]
    for m in range(1, order + 1):  # derivative of an exponential: m c_m = sum_k k a_k c_(m-k)
        coefficients.append(math.fsum(k * inner[k] * coefficients[m - k] for k in range(1, m + 1)) / m)
    falling, terms = 1.0, []
    for m in range(1, order + 1):
        falling *= max(steps - m + 1, 0) / steps
        terms.append(-coefficients[m] * falling)
    return math.fsum(terms)


def _log_distinct_enumerated(rates: RateCounts, steps: int) -> float:
    """Recursion over masks: a_k = P(k samples fall among the masks so far, all different), a_k += k P a_(k-1)."""
    masks = np.ones(1)
    for p, number in rates:
        for _ in range(number if 0 < p < 1 else 0):
            masks = np.concatenate([masks * p, masks * (1 - p)])
    found = np.zeros(steps + 1)
    found[0] = 1.0
    k = np.arange(1, steps + 1)
    # the largest first, so that no partial result is smaller than it must be
    ordered = np.sort(masks)[::-1].tolist()
    for probability in _progress.shown(ordered, len(ordered), "adding masks", "mask", delay=1):
        found[1:] = found[1:] + k * probability * found[:-1]
    return math.log(found[-1]) if found[-1] > 0 else -math.inf


def _log_distinct_contour(found: Classes, steps: int) -> float:
    """Log of T! [x^T] prod_masks (1 + P x), by the trapezoidal rule on the circle through the saddlepoint.

    On the circle of radius r the product is a tilted sum of independent indicators with mean T and variance at most T;
    the rule is exact but for coefficients 24 sqrt(T) + 120 away, below exp(-70) of the one sought, and about 40 of its
    points matter. All large terms are taken together analytically (Stirling's formula), so that no digits are lost.
    """
    mass, mask = found.mass, found.mask

    def shortfall(z: Array) -> Array:
        """log(1 + z)/z - 1, with its digits near 0."""
        small = np.abs(z) < 1e-2
        safe = np.where(small, 1.0, z)
        series = z * (-1 / 2 + z * (1 / 3 + z * (-1 / 4 + z * (1 / 5 + z * (-1 / 6 + z * (1 / 7 - z / 8))))))
        return np.asarray(np.where(small, series, np.log1p(safe) / safe - 1))

    radius = _saddle_radius(mass, mask, steps)
    scale = radius / steps
    lost = float(np.sum(mass * shortfall(mask * radius)))
    stirling = 0.5 * math.log(2 * math.pi * steps) + _stirling_remainder(steps)
    at_saddle = steps * (scale - 1 - math.log1p(scale - 1) + scale * lost) + stirling
    points = 2 * math.ceil(12 * math.sqrt(steps) + 60)
    # |value| <= exp(-variance (1 - cos theta)): beyond this angle it is below 1e-20
    variance = radius * float(np.sum(mass / (1 + mask * radius) ** 2))
    widest = math.acos(max(1 - 46 / variance, -1.0))
    angles = 2 * math.pi / points * np.arange(min(math.ceil(widest / (2 * math.pi) * points), points // 2) + 1)
    total = 0.0
    size = max(1, 2**20 // mass.size)
    short = shortfall(mask * radius)
    starts = range(0, angles.size, size)
    for start in _progress.shown(starts, len(starts), "integrating over angles", "block", delay=1):
        theta = angles[start : start + size]
        turn = np.expm1(1j * theta)
        moved = shortfall(mask[None, :] * (radius * (1 + turn))[:, None])
        # log of the product at the angle less that at angle 0, from differences that are small themselves
        logarithm = radius * (turn * (1 + moved @ mass) + (moved - short) @ mass) - 1j * theta * steps
        # all angles but 0 and pi stand for their mirror images as well
        weight = np.where((theta == 0) | (np.arange(start, start + theta.size) == points // 2), 1.0, 2.0)
        total += float(np.sum(weight * np.exp(logarithm).real))
    return at_saddle + math.log(total / points)


def _stirling_remainder(n: int) -> float:
    """log n! - (n log n - n + log(2 pi n)/2)."""
    if n < 16:
        return math.lgamma(n + 1) - (n * math.log(n) - n + 0.5 * math.log(2 * math.pi * n))
    return 1 / (12 * n) - 1 / (360 * n**3) + 1 / (1260 * n**5) - 1 / (1680 * n**7) + 1 / (1188 * n**9)


def _saddle_radius(mass: Array, mask: Array, steps: int) -> float:
    """Solve r sum mass / (1 + mask r) = T, whose left side rises with r and is concave.

    So Newton's steps from below stay below; each takes a pass over all classes.
    """
    radius = float(steps)
    for _ in _progress.shown(range(200), 200, "finding the saddlepoint", "step", delay=1):
        share = 1 / (1 + mask * radius)
        sums = mass * share
        step = (steps - radius * float(np.sum(sums))) / float(np.sum(sums * share))
        radius += step
        if not step > 1e-14 * radius or not math.isfinite(radius):
            break
    return radius


def steps_until_every(rates: RateCounts) -> float:
    """Expected steps until every mask that can occur has occurred.

    In continuous time masks arrive independently of each other, so it is the integral of
    1 - prod_masks (1 - exp(-P x)) over x (Flajolet, Gardy, Thimonier 1992).
    """
    p, number = _free(rates)
    if not p.size:
        return 1.0
    rarest, masks = float(number @ np.log(np.minimum(p, 1 - p))), float(number.sum()) * math.log(2)
    if -rarest + math.log(masks + 60) > 700:
        return math.inf  # beyond 1e304 steps
    if (size := math.prod(int(each) + 1 for each in number)) > _CLASSES:
        many = f"masks of this law fall into {size} classes of equal probability"
        raise ValueError(f"{many}; the limit is {_CLASSES}")
    found = classes(rates, math.inf)
    log_number = np.log(found.mass) - found.log_mask
    end = math.exp(-rarest) * (masks + 60)
    nodes, weights = _numerics.logarithmic(1e-3, end)
    value = 1e-3
    size = max(1, 2**20 // found.mask.size)
    starts = range(0, nodes.size, size)
    for start in _progress.shown(starts, len(starts), "waiting for every mask", "block", delay=1):
        x = nodes[start : start + size]
        exponent = -found.mask[None, :] * x[:, None]
        with np.errstate(divide="ignore", over="ignore", under="ignore"):
            # log of -log(1 - e^y), which is y itself once e^y is below 1e-13
            log_each = np.where(exponent < -30, exponent, np.log(-np.minimum(log1mexp(exponent), -0.0)))
            missing = -np.sum(np.exp(log_number + log_each), axis=1)
        value += float(np.sum(weights[start : start + size] * -np.expm1(missing)))
    return value
