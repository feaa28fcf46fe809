"""The picture of a report on several streams: how each agrees with each, and the worst pair over calls apart."""

import math
import textwrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from dropstats.auditing import comparing, nulls
from dropstats.auditing.report import Report

# Blue and vermilion of Okabe and Ito (2008), told apart by the colour-blind and, in this order, in grey.
_OBSERVED, _LAW = "#56B4E9", "#D55E00"
# At most this many streams are shown in the matrix, and calls apart to either side.
_STREAMS, _CALLS = 40, 32


def report(found: Report, figure: Any = None) -> Any:
    """Return a figure of two panels for a report of `audit_streams`."""
    seen: comparing.Streams = found.evidence
    figure = plt.figure(figsize=(10, 5), layout="constrained") if figure is None else figure
    left, right = figure.subplots(1, 2)
    matrix = correlations(seen)
    image = left.imshow(matrix, cmap="PuOr", vmin=-1, vmax=1)
    figure.colorbar(image, ax=left, shrink=0.7, label="correlation")
    shown = seen.names[: len(matrix)]
    ticks = range(0, len(shown), max(1, len(shown) // 8))
    left.set_xticks(ticks, [shown[k] for k in ticks], rotation=45, ha="right")
    left.set_yticks(ticks, [shown[k] for k in ticks])
    left.set(title="Masks of the same call")
    calls_apart(seen, _pair(seen, matrix, found.results[0].name == "identical"), right)
    verdict = "failed" if found.failures else "passed" if found.passed else "nothing could be judged"
    lines = [f"Audit {verdict}: {found.source}"]
    lines += [f"{result.name}: {result.message}" for result in found.failures[:2]]
    figure.suptitle("\n".join(line for text in lines for line in textwrap.wrap(text, 110)), fontsize=11)
    return figure


def _pair(seen: comparing.Streams, matrix: NDArray[np.float64], identical: bool) -> comparing.Pair:
    """Return the two streams to look at: those that share most masks, or correlate least as they should."""
    first, second = comparing.equal_pairs(comparing.mask_hashes(seen))
    if first.size and not identical:
        pairs, counts = np.unique(np.stack([first, second]) // seen.trials, axis=1, return_counts=True)
        a, b = pairs[:, int(np.argmax(counts))].tolist()
    else:
        off = ~np.eye(len(matrix), dtype=bool)
        score = np.where(off, -matrix if identical else np.abs(matrix), -np.inf)
        a, b = np.unravel_index(int(np.argmax(score)), matrix.shape)
    return min(int(a), int(b)), max(int(a), int(b))


def correlations(seen: comparing.Streams) -> NDArray[np.float64]:
    """Return how the first streams' masks correlate, call by call, neuron by neuron."""
    count = min(len(seen.names), _STREAMS)
    matrix = np.eye(count)
    for a in range(count):
        for b in range(a):
            matrix[a, b] = matrix[b, a] = comparing.compare(seen, (a, b)).correlation
    return matrix


def calls_apart(seen: comparing.Streams, pair: comparing.Pair, ax: Any) -> Any:
    """Draw how the masks of two streams correlate some calls apart, with the band for independent ones."""
    reach = min(_CALLS, seen.trials - 1)
    lags = np.arange(-reach, reach + 1)
    found = [comparing.compare_apart(seen, pair, lag) for lag in lags.tolist()]
    # of that many lags all lie inside in 99 % of independent pairs
    wide = nulls.normal_quantile((1 - 0.99 ** (1 / lags.size)) / 2) if lags.size else 0.0
    band = np.array([wide / math.sqrt(max(one.size, 1)) for one in found])
    ax.fill_between(lags, -band, band, color=_LAW, alpha=0.25, linewidth=0, label="99 % of independent streams")
    ax.vlines(lags, 0, [one.correlation for one in found], color=_OBSERVED, linewidth=2)
    ax.axhline(0, color="black", linewidth=0.8)
    first, second = (seen.names[index] for index in pair)
    ax.set(title="Two of them, by calls apart", xlabel=f"calls that {second} is after {first}")
    ax.set_ylabel("correlation")
    ax.legend(frameon=False, fontsize=9)
    return ax
