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
    correlation = np.abs(case.seen.stream_correlation)
    correlation[0] = 0
    judged = _largest(correlation)
    tested = 2 * (correlation.size - 1) * streams
    best, lag = min((_pvalue(flat, int(k)), int(k)) for k in judged if k)
    observed = float(case.seen.stream_correlation[lag])
    pairs, rarer = flat.size / 2, min(case.seen.rate, 1 - case.seen.rate)
    detectable = nulls.detectable_correlation(
        pairs * rarer**2, pairs * (rarer * (1 - rarer)) ** 2, pairs * rarer, case.level / tested, 2
    )
    numbers: dict[str, Any] = {"lag": lag, "size": flat.size, "case": case}
    return Finding(min(1.0, best * tested), observed, 0.0, detectable, numbers=numbers)


def _largest(correlation: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return where the few largest values are: they lie in as many blocks, those of the largest maxima."""
    whole = correlation.size // _BLOCK * _BLOCK
    blocks = correlation[:whole].reshape(-1, _BLOCK)
    found = np.argsort(blocks.max(axis=1))[-_JUDGED:]
    places = np.concatenate(
        [*(block * _BLOCK + np.arange(_BLOCK) for block in found.tolist()), np.arange(whole, correlation.size)]
    )
    return np.asarray(places[np.argpartition(correlation[places], -_JUDGED)[-_JUDGED:]])


def _pvalue(flat: NDArray[np.uint8], lag: int) -> float:
    """Return the smaller exact p-value of the two halves of disjoint pairs of neurons `lag` apart."""
    first, second = flat[:-lag], flat[lag:]
    both, best = first & second, 1.0
    for side in (0, 1):
        # the pairs i with floor(i / lag) even, or odd
        whole, rest = divmod(both.size, 2 * lag)
        size = whole * lag + min(max(rest - side * lag, 0), lag)
        if size:
            drops = alternate(first, lag, side) + alternate(second, lag, side)
            best = min(best, nulls.paired(size, drops, alternate(both, lag, side)))
    return best


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
