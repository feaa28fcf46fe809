"""Neurons of the stream taken with two earlier ones at the lags of known generators: in linear time on packed bits."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dropstats.auditing import nulls
from dropstats.auditing.evidence import Evidence

Packed = NDArray[np.uint8]

# The first neurons of the stream that are looked at: so many, and so many times as many as show one drop of both of two
# neurons, up to a limit.
_FEWEST, _COINCIDENCES, _MOST = 2**18, 64, 2**24
# Lags of generators that form a number from two earlier ones, by xor, addition or subtraction.
GENERATORS = {
    (3, 7): "glibc's random, type 1",
    (1, 15): "glibc's random, type 2",
    (3, 31): "glibc's rand",
    (1, 63): "glibc's random, type 4",
    (5, 17): "a lagged Fibonacci generator",
    (24, 55): "Knuth's lagged Fibonacci generator (ran3)",
    (34, 55): ".NET's System.Random",
    (37, 100): "Knuth's ran_array",
    (63, 127): "a lagged Fibonacci generator",
    (103, 250): "R250",
    (168, 521): "R521",
    (273, 607): "a lagged Fibonacci generator",
    (418, 1279): "a lagged Fibonacci generator",
    (1252, 2281): "a lagged Fibonacci generator",
    (576, 3217): "a lagged Fibonacci generator",
    (2098, 4423): "a lagged Fibonacci generator",
    (5502, 9689): "a lagged Fibonacci generator",
}
# Two earlier calls are looked at up to so many calls before.
_CALLS = 4


class Triple(NamedTuple):
    """A neuron, and those `near` and `far` before it in the stream: how the three correlate, with its p-value."""

    pvalue: float
    near: int
    far: int
    correlation: float


def worst(seen: Evidence, rate: float) -> Triple:
    """Return the lags at which the products of three deviations stand out most, the p-value Bonferroni over lags.

    A neuron is independent of all before it, so that Freedman's bound holds for every p: the sum of x_i x_(i - near)
    x_(i - far) is one of x_i times what came before.
    """
    rarer = max(min(rate, 1 - rate), 1e-4)
    size = min(seen.trials * seen.n, max(_FEWEST, int(_COINCIDENCES / rarer**2)), _MOST)
    stream = seen.elements(0, size)
    shifted = [np.packbits(stream[k:]) for k in range(8)]
    calls = [(a * seen.n, b * seen.n) for b in range(2, _CALLS + 1) for a in range(1, b)]
    lags = [(near, far) for near, far in {*GENERATORS, *calls} if size >= far + 8]
    found = [_triple(shifted, size, near, far, rate) for near, far in sorted(lags)]
    if not found:
        return Triple(1.0, 0, 0, 0.0)
    best = min(found)
    return best._replace(pvalue=min(1.0, len(found) * best.pvalue))


def _triple(shifted: list[Packed], size: int, near: int, far: int, p: float) -> Triple:
    """Return how neurons correlate with those `near` and `far` before, taken together."""
    places = (size - far) // 8
    a, b, c = (shifted[start % 8][start // 8 :][:places] for start in (far, far - near, 0))
    ab = a & b
    three, two, late = _ones(ab & c), _ones(ab) + _ones(a & c), _ones(a)
    both, each, n = _ones(b & c), _ones(b) + _ones(c), 8 * places
    total = three - p * (two + both) + p * p * (late + each) - p**3 * n
    q, pq = 1 - p, p * (1 - p)
    times = np.array([both, each - 2 * both, n - each + both])
    pvalue = nulls.product_bound(total, np.array([q * q, -pq, p * p]), times, pq * pq, pq, 1.0)
    return Triple(pvalue, near, far, total / n / pq / math.sqrt(pq))


def _ones(bits: Packed) -> int:
    return int(np.bitwise_count(bits).sum(dtype=np.int64))
