"""Outputs of multiplicative noise that is no mask: the two values of alpha dropout, the factor of Gaussian dropout."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from dropstats import _validate, formats
from dropstats.auditing import nulls
from dropstats.auditing.report import Result
from dropstats.laws import AlphaDropout, GaussianDropout

if TYPE_CHECKING:
    from dropstats.recording import Recording

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """What outputs hold: bits that a layer of rate `p` would give, and results of the values themselves."""

    masks: NDArray[np.bool_]
    p: float
    results: tuple[Result, ...]
    note: str
    ordered: bool = True  # whether the bits stand at their own calls and neurons


def _values(outputs: Any) -> tuple[Floats, str]:
    """Return outputs on ones as float64 of shape (trials, n), and their dtype."""
    from dropstats.recording import arrays

    blocks = arrays.blocks(outputs, "outputs")
    _validate.memory(8 * blocks.trials * blocks.n, f"{blocks.trials} outputs of {blocks.n} neurons")
    y = np.empty((blocks.trials, blocks.n))
    for rows, columns, values in blocks.pieces():
        y[rows, columns] = arrays.floats(values)
    return y, blocks.dtype


def read(outputs: Any, law: AlphaDropout | GaussianDropout) -> Found:
    """Return what outputs of noise on ones, an array or for alpha dropout a recording, hold."""
    from dropstats.recording import Recording

    if isinstance(outputs, Recording):
        if isinstance(law, GaussianDropout):
            raise TypeError("an audit against GaussianDropout needs the outputs on ones; got a Recording")
        return _of_recording(outputs, law)
    y, dtype = _values(outputs)
    resolution = formats.resolution(dtype)
    if isinstance(law, AlphaDropout):
        values, counts = np.unique(y, return_counts=True)
        result = _two_values(dict(zip(values.tolist(), counts.tolist(), strict=True)), law, resolution)
        return Found(y > 0, law.p, (result,), "dropped: negative outputs, as inputs of ones become a + b > 0")
    if resolution > 1e-6:
        raise ValueError(f"an audit against GaussianDropout needs outputs in float32 or float64; got {dtype}")
    note = "rate and dependence are judged by one bit a factor, below its mean 1 or above, each with probability 1/2"
    if not law.p:
        return Found(y == 1, 0.0, (_constant(y),), "at p = 0 nothing is multiplied")
    return Found(y > 1, 0.5, _moments(y, law), note)


def _of_recording(recording: "Recording", law: AlphaDropout) -> Found:
    """Return what the values of a recording say: how many were dropped, not which."""
    if not recording.scales:
        raise ValueError("an audit against AlphaDropout needs outputs; got a recording without values")
    result = _two_values(recording.scales, law, formats.resolution(recording.dtype or "float32"))
    low = sum(count for value, count in recording.scales.items() if value < 0) + recording.dropped
    kept = np.arange(recording.judged) >= low
    note = "the recording's values say how many were dropped, not which: give audit the outputs themselves for that"
    return Found(kept[None], law.p, (result,), note, ordered=False)


def _two_values(values: Mapping[float, int], law: AlphaDropout, resolution: float) -> Result:
    """Null: ones become a + b where kept and a alpha' + b where dropped, but for rounding. Exact."""
    resolution = max(resolution, 2.0**-52)
    kept, lost = law.a + law.b, law.dropped_value
    common = max(values, key=lambda value: values[value])
    # a, b, their product and sum are each rounded once
    tolerance = 4 * resolution * max(abs(lost), kept)
    found = [value for value in values if not min(abs(value - kept), abs(value - lost)) <= tolerance]
    head = ("scale", "fail", None, None, common, kept if common > 0 else lost, None)
    if not found:
        message = f"kept ones become {kept:.6g}, dropped ones {lost:.6g}: alpha dropout's two values"
        return Result("scale", "pass", *head[2:], message)
    expected = f"where alpha dropout of p = {law.p:.6g} gives {kept:.6g} and {lost:.6g}"
    shown = ", ".join(f"{value:.6g}" for value in sorted(values, key=lambda v: -values[v])[:3])
    text = f"ones become {shown}{', ...' if len(values) > 3 else ''} {expected}"
    other = declared(values)
    if 0.0 in values:
        text += ": zeros, as dropout leaves them and alpha dropout does not"
    elif other is not None:
        text += f": the values of p = {other:.4g}"
    elif {round(value, 2) for value in values} == {1.0, round(law.alpha_prime, 2)}:
        text += ": not rescaled by a and b"
    return Result(*head, text)  # type: ignore[arg-type]


def declared(values: Mapping[float, int] | None) -> float | None:
    """Return the p of alpha dropout whose two values on ones these are; None where they are no such values."""
    if not values or len(values) != 2 or not min(values) < 0 < max(values):
        return None
    low, high = min(values), max(values)
    alpha = AlphaDropout(0.0).alpha_prime
    # (a + b) / (a - a alpha') = (1 - p alpha') / (1 - alpha')
    p = (1 - high / (high - low) * (1 - alpha)) / alpha
    if not 0 < p < 1:
        return None
    law = AlphaDropout(p)
    # two values, one unknown: the other must fit, to the rounding of bfloat16
    return p if abs(law.a + law.b - high) < 0.01 * high else None


def hint(recording: "Recording") -> str:
    """Return a sentence where outputs without a zero look like alpha dropout's, else an empty string."""
    p = declared(recording.scales) if not recording.dropped else None
    if p is None or recording.scales is None:
        return ""
    low, high = min(recording.scales), max(recording.scales)
    # two digits where rounded outputs leave no more
    shown = f"{p:.2g}" if abs(float(f"{p:.2g}") / p - 1) < 0.005 else f"{p:.3g}"
    return (
        f"no output is 0, but the two values {low:.5g} and {high:.5g} are those of alpha dropout of p = {shown}: "
        f"audit the outputs against AlphaDropout({shown})"
    )


def _constant(y: Floats) -> Result:
    other = int((y != 1).sum())
    message = f"{other:,} factors are not 1 at p = 0" if other else "all factors are 1"
    return Result("scale", "fail" if other else "pass", None, None, float(other), 0.0, None, message)


def _moments(y: Floats, law: GaussianDropout) -> tuple[Result, ...]:
    """Null: factors are normal(1, p / q). Mean and variance exact, the shape by a bound; two-sided.

    The bound on the largest distance D of the empirical distribution is 2 exp(-2 N D^2): P. Massart (1990). The tight
    constant in the Dvoretzky-Kiefer-Wolfowitz inequality. Annals of Probability 18, 1269-1283.
    doi:10.1214/aop/1176990746
    """
    flat, n, expected = np.sort(y, axis=None), y.size, law.sigma**2
    if not np.isfinite(flat[[0, -1]]).all():
        return (Result("scale", "fail", None, None, None, expected, None, "factors are NaN or infinite"),)
    average = float(flat.mean())
    mean_p = nulls.normal_two_sided((average - 1) * math.sqrt(n) / law.sigma)
    squares = float(((flat - 1) ** 2).sum())
    halves = n / 2, squares / expected / 2
    spread_p = float(nulls.two_sided(special.gammainc(*halves), special.gammaincc(*halves)))
    cdf = special.ndtr((flat - 1) / law.sigma)
    ranks = np.arange(n + 1) / n
    distance = float(max((ranks[1:] - cdf).max(), (cdf - ranks[:-1]).max()))
    shape_p = min(1.0, 2 * math.exp(-2 * n * distance**2))
    variance, p, q = squares / n, law.p, 1 - law.p
    text = f"the factor's variance is {variance:.5g}, p/(1 - p) = {expected:.5g}"
    causes = ((p, "p"), (p * q, "p (1 - p)"), (p * p, "p^2"), (expected**2, "(p/(1 - p))^2"), (q / p, "(1 - p)/p"))
    near = [what for v, what in causes if abs(variance / v - 1) < 4 * math.sqrt(2 / n) and v != expected]
    if near and spread_p < nulls.normal_two_sided(4):
        text += f": it looks like {near[0]}"
    return (
        Result("mean", "pass", mean_p, None, average, 1.0, None, f"the factor's mean is {average:.5g}"),
        Result("scale", "pass", spread_p, None, variance, expected, None, text),
        Result("shape", "pass", shape_p, None, distance, 0.0, None, f"{distance:.2g} from the normal distribution"),
    )
