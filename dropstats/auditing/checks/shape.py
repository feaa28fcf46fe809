"""Tests of noise that is not a mask: the two values of alpha dropout; scale, mean and `shape` of a normal factor."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from dropstats.auditing import causes, nulls
from dropstats.auditing.finding import Check, Finding, not_applicable

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Factors:
    """What ones became under a noise."""

    law: Any
    values: Mapping[float, int]  # the distinct ones and how often each, where the noise has finitely many
    factors: Floats  # all values in order, where it has not
    resolution: float  # spacing above 1 of the numbers' dtype

    @cached_property
    def finite(self) -> bool:
        """Whether no factor is NaN or infinite."""
        return bool(np.isfinite(self.factors[[0, -1]]).all())


def two_values(seen: Factors) -> Finding:
    """Null: kept ones become a + b and dropped ones a alpha' + b, up to rounding. Exact."""
    law, values = seen.law, seen.values
    kept, lost = law.a + law.b, law.dropped_value
    common = max(values, key=lambda value: values[value])
    # a, b, their product and sum are each rounded once
    tolerance = 4 * seen.resolution * max(abs(lost), kept)
    other = [value for value in values if not min(abs(value - kept), abs(value - lost)) <= tolerance]
    numbers = {"kept": kept, "lost": lost}
    return Finding(None, common, kept if common > 0 else lost, broken=bool(other), numbers=numbers)


def explain_two_values(finding: Finding, seen: Factors, failed: bool) -> str:
    """Say what two values alpha dropout's outputs take."""
    law, values = seen.law, seen.values
    kept, lost = finding["kept"], finding["lost"]
    if not failed:
        return f"kept ones become {kept:.6g}, dropped ones {lost:.6g}: alpha dropout's two values"
    expected = f"where alpha dropout of p = {law.p:.6g} gives {kept:.6g} and {lost:.6g}"
    shown = ", ".join(f"{value:.6g}" for value in sorted(values, key=lambda v: -values[v])[:3])
    text = f"ones become {shown}{', ...' if len(values) > 3 else ''} {expected}"
    if 0.0 in values:
        return f"{text}: zeros, as dropout leaves them and alpha dropout does not"
    other = causes.of_two_values(values, law.alpha_prime)
    if other is not None:
        return f"{text}: the values of p = {other:.4g}"
    unscaled = {round(value, 2) for value in values} == {1.0, round(law.alpha_prime, 2)}
    return f"{text}: not rescaled by a and b" if unscaled else text


def variance(seen: Factors) -> Finding:
    """Null: the factors are normal(1, p / q): their sum of squared deviations is chi-square. Exact, two-sided."""
    expected, flat = seen.law.sigma**2, seen.factors
    if not expected:
        other = int((flat != 1).sum())
        return Finding(None, float(other), 0.0, broken=bool(other))
    if not seen.finite:
        return Finding(None, None, expected, broken=True)
    squares = float(((flat - 1) ** 2).sum())
    halves = flat.size / 2, squares / expected / 2
    pvalue = nulls.two_sided(special.gammainc(*halves), special.gammaincc(*halves))
    return Finding(float(pvalue), squares / flat.size, expected)


def explain_variance(finding: Finding, seen: Factors, failed: bool) -> str:
    """Say what the factor's variance is."""
    if not seen.law.sigma:
        other = int(finding.observed or 0)
        return f"{other:,} factors are not 1 at p = 0" if other else "all factors are 1"
    if finding.observed is None:
        return "factors are NaN or infinite"
    text = f"the factor's variance is {finding.observed:.5g}, p/(1 - p) = {finding.expected:.5g}"
    cause = causes.of_factor_variance(finding.observed, seen.law.p, seen.factors.size) if failed else ""
    return f"{text}: it looks like {cause}" if cause else text


def average(seen: Factors) -> Finding:
    """Null: the factors are normal(1, p / q): their mean is normal. Exact, two-sided."""
    flat = seen.factors
    if not seen.finite or not seen.law.sigma:
        return not_applicable("no mean to test")
    mean = float(flat.mean())
    return Finding(nulls.normal_two_sided((mean - 1) * math.sqrt(flat.size) / seen.law.sigma), mean, 1.0)


def explain_average(finding: Finding, seen: Factors, failed: bool) -> str:
    """Say what the factor's mean is."""
    return f"the factor's mean is {finding.observed:.5g}"


def distance(seen: Factors) -> Finding:
    """Null: the factors are normal(1, p / q). A bound for the largest distance D of their distribution function.

    P(D >= d) <= 2 exp(-2 N d^2): P. Massart (1990). The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality.
    Annals of Probability 18, 1269-1283. doi:10.1214/aop/1176990746
    """
    flat = seen.factors
    if not seen.finite or not seen.law.sigma:
        return not_applicable("no shape to test")
    cdf = special.ndtr((flat - 1) / seen.law.sigma)
    ranks = np.arange(flat.size + 1) / flat.size
    largest = float(max((ranks[1:] - cdf).max(), (cdf - ranks[:-1]).max()))
    return Finding(min(1.0, 2 * math.exp(-2 * flat.size * largest**2)), largest, 0.0)


def explain_distance(finding: Finding, seen: Factors, failed: bool) -> str:
    """Say how far the factors are from the normal distribution."""
    return f"largest distance {finding.observed:.2g} from the normal distribution function"


_TWO = ("whether the outputs take only the two values of alpha dropout", "value of a kept neuron")
_MEAN = ("whether the factors have mean 1", "mean of the factors")
_VARIANCE = ("whether the factors have the variance p / (1 - p)", "variance of the factors")
_SHAPE = ("whether the factors have a normal distribution", "largest distance between the distribution functions")
OF_TWO_VALUES = (Check("scale", two_values, explain_two_values, about=_TWO[0], quantity=_TWO[1]),)
OF_NORMAL = (
    Check("mean", average, explain_average, about=_MEAN[0], quantity=_MEAN[1]),
    Check("scale", variance, explain_variance, about=_VARIANCE[0], quantity=_VARIANCE[1]),
    Check("shape", distance, explain_distance, about=_SHAPE[0], quantity=_SHAPE[1]),
)
