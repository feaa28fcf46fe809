"""Small arrays of what the picture of a report shows: not the masks, and nothing that was not looked at."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropstats.auditing import nulls
from dropstats.auditing.checks.lags import judgeable
from dropstats.auditing.finding import Case
from dropstats.auditing.streams import Pair, Streams, compare, compare_apart, equal_pairs

# Points of a curve, about one a pixel; of a scatter of positions, two in each of so many cells; bars.
_POINTS, _CELLS, _BARS = 1000, 500, 40
# At most this many masks, and neurons, are shown as an image: about a pixel each.
_IMAGE = 256
# At most this many streams are shown in the matrix, and calls apart to either side.
_STREAMS, _CALLS = 40, 32
# Of so many correlations all lie in the band in 99 % of correct recordings.
_BAND = 0.99


def of_audit(case: Case) -> dict[str, Any]:
    """Return what the picture of an audit shows, by panel."""
    seen = case.seen
    shown = seen.recording.calls(0, min(seen.trials, _IMAGE)).neurons(slice(0, min(seen.n, _IMAGE)))
    panels: dict[str, Any] = {"counts": _counts(case), "positions": _positions(case), "lags": _lags(case)}
    panels["masks"] = {"packed": np.packbits(~shown.masks(), axis=1), "shown": shown.n, "n": case.n}
    return panels


def _counts(case: Case) -> dict[str, Any]:
    """Return the histogram of the masks' counts, and how many masks the law has in each bar."""
    counts, law = case.seen.mask_drops, case.law
    likely: Any = np.zeros(0, np.int64)
    if law.has_counts:
        support, pmf = nulls.window(law.dropped, case.n)
        likely = support[pmf * case.trials > 1e-3]
    ends = [counts.min(), counts.max(), *(likely[[0, -1]] if likely.size else [])]
    step = getattr(law.dropped, "size", 1) if law.has_counts else 1  # whole groups are dropped
    low, high = int(min(ends)) // step * step, int(max(ends))
    width = step * max(1, round((high - low) / _BARS / step))
    edges = np.arange(low, high + width + 1, width) - 0.5
    panel = {"edges": edges, "masks": np.histogram(counts, edges)[0], "mean": float(np.sum(law.rates))}
    panel |= {"least": int(counts.min()), "most": int(counts.max())}
    if law.has_counts:
        expected = case.trials * np.diff(law.dropped.cdf(edges))
        panel |= {"counts": (edges[:-1] + edges[1:]) / 2, "expected": expected}
    return panel


def _positions(case: Case) -> dict[str, Any]:
    """Return the drop rate by position with its band; of many neurons the lowest and the highest of each cell."""
    drops, trials, where = case.seen.neuron_drops, case.seen.neuron_trials, np.arange(min(case.n, 2 * _CELLS))
    if case.n > 2 * _CELLS:
        ends = []
        for first, stop in pairwise(np.linspace(0, case.n, _CELLS + 1).astype(np.int64).tolist()):
            rate = drops[first:stop] / np.maximum(trials[first:stop], 1)
            ends += [first + int(rate.argmin()), first + int(rate.argmax())]
        where = np.unique(ends)
    known = np.maximum(trials[where], 1)
    rates = np.asarray(case.law.rates[where], dtype=np.float64)
    width = nulls.normal_quantile((1 - _BAND) / 2 / case.n) * np.sqrt(rates * (1 - rates) / known)
    return {"where": where, "observed": drops[where] / known, "declared": rates, "width": width, "n": case.n}


def _lags(case: Case) -> dict[str, Any]:
    """Return the correlation of masks by calls apart with its band; nothing where it was not looked at."""
    if case.law.independent and case.seen.recording.known is None:
        case = judgeable(case)
    seen = case.seen
    rates = None if case.law.rate is not None else case.law.rates
    if seen.trials < 2 or not 0 < seen.rate < 1 or seen.recording.known is not None or seen.trials * seen.n > 2**26:
        return {}
    lag = np.arange(1, max(2, seen.trials // 2))
    correlation = seen.lag_correlation(rates)[lag]
    # neurons that drop together are so many fewer
    size = seen.n / max(1.0, case.law_effect)
    band = nulls.normal_quantile((1 - _BAND) / 2 / lag.size) / np.sqrt(size * (seen.trials - lag))
    if lag.size > _POINTS:  # those that stand out most, and the band's ends
        chosen = np.union1d(np.argsort(np.abs(correlation) / band)[-_POINTS:], [0, lag.size - 1])
        lag, correlation, band = lag[chosen], correlation[chosen], band[chosen]
    return {"lag": lag, "correlation": correlation, "band": band}


def of_streams(seen: Streams, identical: bool) -> dict[str, Any]:
    """Return what the picture of several streams shows: how each agrees with each, and two of them over calls apart."""
    count = min(len(seen.names), _STREAMS)
    matrix = np.eye(count)
    for a in range(count):
        for b in range(a):
            matrix[a, b] = matrix[b, a] = compare(seen, (a, b)).correlation
    pair = _pair(seen, matrix, identical)
    reach = min(_CALLS, seen.trials - 1)
    lags = np.arange(-reach, reach + 1)
    found = [compare_apart(seen, pair, lag) for lag in lags.tolist()]
    wide = nulls.normal_quantile((1 - _BAND ** (1 / lags.size)) / 2)
    apart = {
        "lag": lags,
        "correlation": np.array([one.correlation for one in found]),
        "band": wide / np.sqrt(np.maximum([one.size for one in found], 1)),
        "names": tuple(seen.names[index] for index in pair),
    }
    return {"matrix": {"correlation": matrix, "names": seen.names[:count]}, "apart": apart}


def _pair(seen: Streams, matrix: NDArray[np.float64], identical: bool) -> Pair:
    """Return the two streams to look at: those that share most masks, or correlate least as they should."""
    first, second = equal_pairs(seen.mask_hashes)
    if first.size and not identical:
        pairs, counts = np.unique(np.stack([first, second]) // seen.trials, axis=1, return_counts=True)
        a, b = pairs[:, int(np.argmax(counts))].tolist()
    else:
        off = ~np.eye(len(matrix), dtype=bool)
        score = np.where(off, -matrix if identical else np.abs(matrix), -np.inf)
        a, b = np.unravel_index(int(np.argmax(score)), matrix.shape)
    return min(int(a), int(b)), max(int(a), int(b))
