"""Test `serial`: neurons k apart in the sequence of all masks are independent."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropstats.auditing import nulls, words
from dropstats.auditing.checks import lags
from dropstats.auditing.finding import Case, Check, Finding, not_applicable, too_small

# The lags that stand out most in the screen are judged exactly.
_JUDGED = 4
# They are looked for in the blocks of so many whose maxima are the largest.
_BLOCK = 2**12
# Neurons of the shortest stream that is judged.
_SHORTEST = 1000


def measure(case: Case) -> Finding:
    """Null: neurons k apart in the sequence of all masks are independent. Exact on two halves, Bonferroni over lags.

    The correlation at every lag k up to half the sequence is computed by FFT. The largest ones are then tested by the
    number of disjoint pairs that are dropped together, given the drops. If rates differ, or neurons depend on each
    other, sequences of independent neurons of one rate are used, the most frequent rates first (Bonferroni). Catches
    groups of neighbours, overlapping counter offsets, and periods of a generator. Needs 1,000 neurons.
    """
    streams = [one for one in case.streams if 0 < one.seen.rate < 1 and one.law.rate not in (0.0, 1.0)]
    if not streams:
        return not_applicable(f"no {case.unit.one} differs from another at this rate")
    longest = max(one.seen.stream.size for one in streams)
    streams = [one for one in streams if one.seen.stream.size >= _SHORTEST]
    if not streams:
        return too_small("short", numbers={"size": longest})
    return min((_of_stream(one, len(streams)) for one in streams), key=lambda finding: finding.pvalue or 0.0)


def _of_stream(case: Case, streams: int) -> Finding:
    flat = case.seen.stream
    correlation = case.seen.stream_correlation
    judged = _largest(correlation)
    tested = 2 * (correlation.size - 1) * streams
    best, lag = min((_pvalue(flat, int(k)), int(k)) for k in judged)
    observed = float(correlation[lag])
    pairs, rarer = flat.size / 2, min(case.seen.rate, 1 - case.seen.rate)
    detectable = nulls.detectable_correlation(
        pairs * rarer**2, pairs * (rarer * (1 - rarer)) ** 2, pairs * rarer, case.level / tested, 2
    )
    numbers: dict[str, Any] = {"lag": lag, "size": flat.size, "case": case}
    return Finding(min(1.0, best * tested), observed, 0.0, detectable, numbers=numbers)


def _largest(correlation: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the lags from 1 on of the few correlations that are furthest from 0.

    They lie in as many blocks, those that reach furthest.
    """
    last = 1 + (correlation.size - 1) // _BLOCK * _BLOCK
    blocks = correlation[1:last].reshape(-1, _BLOCK)
    found = np.argsort(np.maximum(blocks.max(axis=1), -blocks.min(axis=1)))[-_JUDGED:]
    lags = [*(1 + block * _BLOCK + np.arange(_BLOCK) for block in found.tolist()), np.arange(last, correlation.size)]
    lag = np.concatenate(lags)
    return np.asarray(lag[np.argpartition(np.abs(correlation[lag]), -_JUDGED)[-_JUDGED:]])


def _pvalue(flat: NDArray[np.uint8], lag: int) -> float:
    """Return the smaller exact p-value of the two halves of disjoint pairs of neurons `lag` apart."""
    both, best = flat[:-lag] & flat[lag:], 1.0
    even = alternate(both, lag, 0)
    for side, together in ((0, even), (1, _ones(both) - even)):
        # the pairs i with floor(i / lag) even, or odd: they follow each other but for those cut off at the end
        whole, rest = divmod(both.size, 2 * lag)
        cut = min(max(rest - side * lag, 0), lag)
        first = (side + 2 * whole) * lag
        if size := whole * lag + cut:
            drops = _ones(flat[side * lag : first]) + _ones(flat[first : first + cut])
            drops += _ones(flat[first + lag : first + lag + cut])
            best = min(best, nulls.paired(size, drops, together))
    return best


def _ones(values: NDArray[np.uint8]) -> int:
    """Return how many of some zeros and ones are ones."""
    return int(np.count_nonzero(values.view(np.bool_)))


def alternate(values: NDArray[np.uint8], lag: int, side: int) -> int:
    """Return the sum of the values whose index i has floor(i / lag) even (side 0) or odd (side 1)."""
    whole = values.size // (2 * lag) * 2 * lag
    inner = values[:whole].reshape(-1, 2, lag)[:, side]
    rest = values[whole:][side * lag : (side + 1) * lag]
    return int(inner.sum(dtype=np.int64)) + int(rest.sum(dtype=np.int64))


def explain(finding: Finding, case: Case, failed: bool) -> str:
    """Say how neurons some way apart in the stream are related."""
    if finding.state == "too small":
        return f"a stream of {words.counted(finding['size'], case.unit.one)} is too short"
    stream: Case = finding["case"]
    if failed:
        text = _departure(finding["lag"], float(finding.observed or 0), stream)
    else:
        text = f"detects a correlation of {finding.detectable:.2g} (power 0.9)"
    if stream.n < case.n:
        rate = f"rate {stream.law.rate:.4g}"
        return f"{text} ({words.counted(stream.n, case.unit.one)} of {rate}, one after the other)"
    if finding["size"] < case.trials * case.n:
        text += f" (first {finding['size']:,} {case.unit.many} of the stream)"
    return text


def _departure(lag: int, observed: float, case: Case) -> str:
    if lag < case.n:
        together = words.together(case)
        if together:
            return f"{together} (correlation {observed:.3g} at {lag:,} {case.unit.many} apart)"
    if lag % case.n == 0:
        return lags.departure(lag // case.n, observed, case)
    return f"{case.unit.many} {lag:,} apart in the stream have correlation {observed:.3g}"


CHECK = Check(
    "serial",
    measure,
    explain,
    dependence=True,
    whole_masks=True,
    about="whether neurons k apart are independent in the sequence of all masks",
    quantity="correlation at the most unusual distance",
)
