"""Test `tiles`: the number of dropped neurons varies over tiles of 2, 4, 8, ... neighbours as under the law."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropstats.auditing import nulls, words
from dropstats.auditing.finding import Case, Check, Finding, not_applicable, too_small

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Masks are counted in blocks of about this many packed bytes.
_BLOCK = 2**22
# The squared deviation of what is rarer has no finite square.
_RAREST = 1e-100
_BYTES = np.arange(256, dtype=np.uint8)


@dataclass(frozen=True, eq=False)
class Tiles:
    """Tiles of `size` neurons: how many drops one can have, with what probability, and how often each was observed."""

    size: int
    support: Ints
    pmf: Floats
    observed: Ints

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return int(self.observed.sum())

    @property
    def squares(self) -> Floats:
        """Squared standardised deviation of each number of drops."""
        mean = float(self.pmf @ self.support)
        return nulls.squared_deviation(self.support, mean, float(self.pmf @ (self.support - mean) ** 2))

    @property
    def excess(self) -> float:
        """Variance of the squared deviation of one tile."""
        return float(self.pmf @ self.squares**2) - 1

    @property
    def ratio(self) -> float:
        """Variance of the counts over the law's."""
        return float(self.squares @ self.observed) / self.tiles

    @property
    def score(self) -> float:
        """How many standard deviations the ratio is off 1."""
        return abs(self.ratio - 1) * math.sqrt(self.tiles / self.excess)

    @property
    def pvalue(self) -> float:
        """Exact two-sided p-value of the sum of squared deviations."""
        return float(nulls.two_sided(*nulls.score_sum_tails([(self.squares, self.pmf, self.observed)])))

    def detectable(self, level: float) -> float | None:
        """By what share the variance must be larger to be seen with power 0.9; None where the tiles are too few."""
        return nulls.detectable_variance(self.tiles, self.excess, level, float(self.squares.max()))


def measure(case: Case) -> Finding:
    """Null: the counts of dropped neurons in tiles of 2^k neighbours are Bin(2^k, p). Exact, two-sided, Bonferroni.

    The sum of squared deviations of the counts is computed for every k up to a whole mask; the most unusual size is
    then tested by exact convolution. If rates differ, or neurons depend on each other, tiles of independent neurons of
    one rate are used, the most frequent rates first. Catches a rate that varies from tile to tile, groups of neurons,
    and balanced tiles. Needs some hundreds of neurons.
    """
    found = [(one, tiles) for one in case.streams for tiles in all_tiles(one)]
    if not found:
        return not_applicable(f"fewer than two {case.unit.many} with 0 < p < 1")
    stream, worst = max(found, key=lambda pair: pair[1].score)
    level = case.level / len(found)
    pvalue = min(1.0, len(found) * worst.pvalue)
    fields: dict[str, Any] = {"pvalue": pvalue, "observed": worst.ratio, "expected": 1.0}
    fields["numbers"] = {"size": worst.size, "stream": stream}
    if all(tiles.detectable(level) is None for _, tiles in found):
        return too_small("neurons", **fields)
    return Finding(detectable=worst.detectable(level), **fields)


def all_tiles(case: Case) -> list[Tiles]:
    """Return the tiles of 2, 4, 8, ... neighbours of independent neurons of one rate, their drops counted."""
    from dropstats.counts import of_rates

    rate, n, packed = case.law.rate, case.n, case.seen.recording.packed
    if rate is None or min(rate, 1 - rate) < _RAREST:
        return []
    laws = {2**k: nulls.window(of_rates([(rate, 2**k)]), 2**k) for k in range(1, n.bit_length())}
    observed = {size: np.zeros(support.size, np.int64) for size, (support, _) in laws.items()}
    step = max(1, _BLOCK // packed.shape[1])
    for start in range(0, case.trials, step):
        for size, drops, times in _counted(packed[start : start + step], n):
            observed[size] += _frequencies(drops, times, laws[size][0])
    return [Tiles(size, *law, observed[size]) for size, law in laws.items()]


def _counted(packed: NDArray[np.uint8], n: int) -> Iterator[tuple[int, NDArray[Any], Ints | None]]:
    """Yield (size, drops, times) of tiles: their numbers of drops, and how often each occurs (None: once)."""
    full, rest = packed[:, : n // 8], n % 8
    of_full = np.bincount(full.reshape(-1), minlength=256)
    of_last = np.bincount(packed[:, n // 8], minlength=256) if rest else np.zeros(256, np.int64)
    for size in (2, 4, 8):  # which fill a byte or part of it: from how often each byte occurs
        for first in range(0, min(n, 8) - size + 1, size):
            kept = np.bitwise_count(_BYTES << np.uint8(first) >> np.uint8(8 - size))
            yield size, size - kept, of_full + of_last * (first + size <= rest)
    size, drops = 8, 8 - np.bitwise_count(full)
    while drops.shape[1] > 1:
        size, width = 2 * size, drops.shape[1] // 2
        drops = drops[:, : 2 * width].reshape(-1, width, 2).sum(axis=2, dtype=np.uint32)
        yield size, drops.reshape(-1), None


def _frequencies(drops: NDArray[Any], times: Ints | None, support: Ints) -> Ints:
    """Return how often each number of drops of the support occurs; the ends take what lies beyond."""
    place = np.clip(drops, support[0], support[-1]).astype(np.int64) - support[0]
    found = np.bincount(place, weights=times, minlength=support.size)
    return np.asarray(found, dtype=np.int64)


def explain(finding: Finding, case: Case, failed: bool) -> str:
    """Say in which tiles the counts vary too much or too little."""
    size, stream, many = finding["size"], finding["stream"], case.unit.many
    of_rate = f" (of the {stream.n:,} {many} of rate {stream.law.rate:.4g})" if stream.n < case.n else ""
    if failed:
        ratio = float(finding.observed or 0)
        text = f"in tiles of {size:,} {many} the variance of the counts is {ratio:.4g} times the law's{of_rate}"
        if together := words.together(case):
            return f"{together}; {text}"
        if ratio > 1:
            return f"{text}: neighbours depend on each other or share a varying rate"
        return f"{text}: the counts are kept close to their mean"
    if finding.state == "too small":
        return f"{words.counted(stream.trials * stream.n, case.unit.one)} are too few for tiles"
    change = (
        ""
        if finding.detectable is None
        else f"; detects a change of {words.percent(finding.detectable)[1:]} (power 0.9)"
    )
    return f"the most unusual variance of the counts is that in tiles of {size:,} {many}{change}{of_rate}"


CHECK = Check(
    "tiles",
    measure,
    explain,
    dependence=True,
    whole_masks=True,
    excused="by the rate",
    about="whether the number of dropped neurons varies over tiles of 2, 4, 8, ... neighbours as under the law",
    quantity="variance of the counts of tiles, divided by the law's",
)
