"""Familiar mistakes: from observed numbers to the mechanism that gives just these; no masks, laws or verdicts."""

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import special

from dropstats.auditing import nulls

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# A cause is named where the observed rate could come from it with at least this probability.
_CONSISTENT = 0.001
# Neurons at most among which stages are looked for, in time that grows with their square.
_STAGED = 1024

# Grids on which implementations compare, and what they compare with.
_GRIDS = (
    (4, "a 4-bit threshold"),
    (7, "a comparison with bfloat16 uniforms"),
    (8, "an 8-bit threshold"),
    (10, "a comparison with float16 uniforms"),
    (16, "a 16-bit threshold"),
)


def of_rate(observed: float, p: float, neurons: float, dtype: str | None = None, bare: bool = False, n: int = 0) -> str:
    """Return the most familiar cause consistent with an observed rate, or an empty string.

    Where the outputs' dtype has uniforms of its own, a rounding that these give is put down to them alone. `bare` masks
    carry no values, so that it is not known whether their 1 keeps. A mask has `n` neurons.

    Examples
    --------
    >>> of_rate(39 / 128, 0.3, neurons=1e7, dtype="bfloat16")
    'consistent with 39/128: p rounded up to a multiple of 1/128, as a comparison with bfloat16 uniforms gives'
    """
    if observed == 0:
        return "nothing is dropped: dropout is off, as in evaluation" + _rounded_to_nothing(p, n)
    if observed == 1:
        return "everything is dropped"
    count = round(observed * neurons)
    for candidate, cause in _rates(p, dtype, bare, n):
        if candidate != p and 0 < candidate < 1 and nulls.binomial(count, round(neurons), candidate) >= _CONSISTENT:
            return cause
    return ""


def _rounded_to_nothing(p: float, n: int) -> str:
    """Return which roundings make nothing of p, or an empty string."""
    steps = [2**bits for bits, _ in _GRIDS if p < 2.0**-bits]
    found = [f"p is below 1/{max(steps)} and rounded to 0"] if steps and p else []
    if p and 0 < p * n < 1 < n:
        found.append(f"int(p n) = int({p:g} * {n:,}) = 0 neurons are dropped")
    return "".join(f", or {one}" for one in found)


def _rates(p: float, dtype: str | None, bare: bool, n: int) -> Iterator[tuple[float, str]]:
    """Yield rates that known mistakes turn p into, from the most familiar on."""
    yield 1 - p, "looks like keep probability given as p" + (", or like masks in which 1 means dropped" if bare else "")
    roundings: dict[tuple[float, str], list[tuple[str, int, str]]] = {}
    for bits, how in _GRIDS:
        steps = 2**bits
        if bits == 8 and dtype == "bfloat16":  # its numbers from 1/2 to 1 are multiples of 1/256
            how = "a sum in bfloat16"
        up, down = math.ceil(p * steps), math.floor(p * steps)
        if up == down:
            step = f"one step of 1/{steps}"
            yield (up + 1) / steps, f"consistent with {up + 1}/{steps}: {step} too many, as with <= for <"
            yield (up - 1) / steps, f"consistent with {up - 1}/{steps}: {step} too few, as with < for <="
            continue
        for k, way in sorted(((up, "up"), (down, "down")), key=lambda pair: abs(pair[0] / steps - p)):
            roundings.setdefault((k / steps, way), []).append((f"{k}/{steps}", steps, how))
    for (candidate, way), grids in roundings.items():
        own = [grid for grid in grids if dtype and f" {dtype} " in grid[2]]
        fractions, steps_, hows = zip(*(own or grids)[:2], strict=True)
        multiple = " or ".join(f"1/{step}" for step in steps_)
        yield (
            candidate,
            f"consistent with {' = '.join(fractions)}: p rounded {way} to a multiple of {multiple}, "
            f"as {' or '.join(hows)} gives",
        )
    yield 1 - (1 - p) ** 2, "consistent with 1 - (1 - p)^2: dropout looks applied twice"
    yield (1 + p) / 2, "consistent with (1 + p)/2: looks like zeros of a ReLU counted as dropped"
    yield p * p, "consistent with p^2: two masks look combined"
    if n > 1:
        yield (
            p * (1 - 1 / n),
            f"consistent with p (1 - 1/n), n = {n:,}: one neuron of each mask seems always to be kept",
        )
    yield p / 2, "consistent with p/2"


def of_stages(counts: Ints, trials: Ints, rates: Floats) -> tuple[int, ...]:
    """Return where the stages begin whose neurons all have the rate of their first one; empty if there are none.

    Rates must differ from neuron to neuron. Among all divisions into stages, the most likely one is taken, and named
    where its stages have three neurons on average at least and its deviance is that of chance.

    Examples
    --------
    >>> import numpy as np
    >>> rates = np.linspace(0, 0.5, 6)
    >>> of_stages(np.array([0, 0, 0, 301, 290, 305]), np.full(6, 1000), rates)
    (0, 3)
    """
    n = rates.size
    if not 4 <= n <= _STAGED or (np.diff(rates) == 0).any():
        return ()
    dropped, judged = (np.concatenate(([0], np.cumsum(one))) for one in (counts, trials))
    # a stage more must be worth its parameters, its begin and its rate (Schwarz's criterion)
    penalty = math.log(max(int(judged[-1]), 1))
    best, begun = np.full(n + 1, -np.inf), np.zeros(n + 1, np.int64)
    best[0] = 0.0
    for first, rate in enumerate(rates.tolist()):
        drops, kept = dropped[first + 1 :] - dropped[first], judged[first + 1 :] - judged[first]
        likelihood = special.xlogy(drops, rate) + special.xlog1py(kept - drops, -rate) - penalty
        better = best[first] + likelihood > best[first + 1 :]
        best[first + 1 :] = np.where(better, best[first] + likelihood, best[first + 1 :])
        begun[first + 1 :] = np.where(better, first, begun[first + 1 :])
    starts = [int(begun[n])]
    while starts[-1]:
        starts.append(int(begun[starts[-1]]))

    def likelihood_of(shares: Floats) -> float:
        return float((special.xlogy(counts, shares) + special.xlog1py(trials - counts, -shares)).sum())

    # rates that are all wrong by one factor are steps to the eye only
    factor = float(counts.sum() / max(float(trials @ rates), 1e-300))
    other = likelihood_of(np.minimum(rates * factor, 1.0))
    deviance = 2 * (likelihood_of(counts / np.maximum(trials, 1)) - float(best[n]) - len(starts) * penalty)
    named = 3 * len(starts) <= n and special.chdtrc(n, deviance) >= _CONSISTENT
    return tuple(reversed(starts)) if named and best[n] > other else ()


def of_scale(value: float, p: float, observed_rate: float) -> str:
    """Return what gives this scale where 1 / (1 - p) is right, or an empty string.

    Examples
    --------
    >>> of_scale(10.0, 0.1, observed_rate=0.1)
    '1/p: keep probability given as p'
    """
    q = 1 - p
    causes = (
        (1.0, "kept values are not scaled (direct scaling)"),
        (1 / p if p else math.inf, "1/p: keep probability given as p"),
        (1 / q**2, "scaled twice"),
        (q, "multiplied by 1 - p instead of divided"),
        (1 + p, "1 + p in place of 1/(1 - p)"),
        (p, "the scale is p"),
        (1 / (1 - observed_rate) if observed_rate < 1 else math.inf, "1/(1 - r) of the rate r observed"),
    )
    return next((cause for candidate, cause in causes if near(value, candidate)), "")


def of_words(value: float, p: float, dtype: str) -> str:
    """Return which 16-bit numbers have this integer as their bits, where it is 1 / (1 - p), or an empty string.

    Examples
    --------
    >>> of_words(0x3F8E, 0.1, "uint16")
    '0x3f8e are the bits of 1.10938 in bfloat16: give the array in that dtype, not as uint16'
    """
    if dtype not in ("uint16", "int16") or value != round(value) or not 0 <= value < 2**15 or p == 1:
        return ""
    bits = np.uint16(value)
    numbers = {
        "bfloat16": float((np.array(bits, np.uint32) << np.uint32(16)).view(np.float32)),
        "float16": float(bits.view(np.float16)),
    }
    found = [(number, name) for name, number in numbers.items() if near(number, 1 / (1 - p)) or number == 1]
    if not found:
        return ""
    number, name = found[0]
    return f"0x{round(value):x} are the bits of {number:.6g} in {name}: give the array in that dtype, not as {dtype}"


def of_nans(nans: int, of_infinite: int, p: float | None, judged: int) -> str:
    """Return what makes outputs NaN where inputs are not, or an empty string.

    Examples
    --------
    >>> of_nans(nans=3, of_infinite=3, p=0.1, judged=100)
    '0 times an infinite input: the mask is multiplied with the input'
    """
    if nans == of_infinite:
        return "0 times an infinite input: the mask is multiplied with the input"
    return "0 times 1/(1 - p), which is infinite at p = 1" if p == 1 and not judged else ""


def near(value: float, other: float) -> bool:
    """Return whether two scales agree to half a unit in the last place of bfloat16."""
    return math.isfinite(other) and abs(value - other) <= 2**-8 * abs(other)


def of_factor_variance(variance: float, p: float, draws: int) -> str:
    """Return what gives this variance of a Gaussian factor where p / (1 - p) is right, or an empty string."""
    q = 1 - p
    right = p / q
    causes = ((p, "p"), (p * q, "p (1 - p)"), (p * p, "p^2"), (right**2, "(p/(1 - p))^2"), (q / p, "(1 - p)/p"))
    error = 4 * math.sqrt(2 / draws)
    return next((what for v, what in causes if abs(variance / v - 1) < error and v != right), "")


def of_two_values(values: Mapping[float, int] | None, alpha_prime: float) -> float | None:
    """Return the p of alpha dropout whose two values on ones these are; None where they are no such values.

    A kept one becomes a + b and a dropped one a alpha' + b, with a = (q + alpha'^2 p q)^(-1/2) and b = -a p alpha'.
    """
    if not values or len(values) != 2 or not min(values) < 0 < max(values):
        return None
    low, high = min(values), max(values)
    # (a + b) / (a - a alpha') = (1 - p alpha') / (1 - alpha')
    p = (1 - high / (high - low) * (1 - alpha_prime)) / alpha_prime
    if not 0 < p < 1:
        return None
    a = 1 / math.sqrt(1 - p + alpha_prime**2 * p * (1 - p))
    # two values, one unknown: the other must fit, to the rounding of bfloat16
    return p if abs(a * (1 - p * alpha_prime) - high) < 0.01 * high else None
