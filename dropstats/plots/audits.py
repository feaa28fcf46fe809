"""The picture of a report: counts over their law, rates by position, the masks, correlation over calls."""

import textwrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from dropstats.auditing import dependent, nulls
from dropstats.auditing.comparing import Streams
from dropstats.auditing.evidence import Evidence
from dropstats.auditing.report import Report
from dropstats.laws import Law
from dropstats.plots import streams

# Blue and vermilion of Okabe and Ito (2008), told apart by the colour-blind and, in this order, in grey.
_OBSERVED, _LAW = "#56B4E9", "#D55E00"
# At most this many masks, and neurons, are shown as an image: about a pixel each.
_IMAGE = 256


def report(found: Report, figure: Any = None) -> Any:
    """Return a figure of four panels, or of two for a report of `audit_streams`."""
    if isinstance(found.evidence, Streams):
        return streams.report(found, figure)
    if not (isinstance(found.evidence, tuple) and isinstance(found.evidence[0], Evidence)):
        raise ValueError("this report holds no masks to plot: only a report of audit or audit_streams does")
    seen, law = found.evidence
    figure = plt.figure(figsize=(10, 7), layout="constrained") if figure is None else figure
    axes = figure.subplots(2, 2)
    counts(seen, law, axes[0, 0])
    positions(seen, law, axes[0, 1])
    masks(seen, axes[1, 0])
    lags(seen, axes[1, 1])
    verdict = "failed" if found.failures else "passed" if found.passed else "nothing could be judged"
    lines = [f"Audit {verdict}" + (f": {found.source}" if found.source else "")]
    lines += [f"{result.name}: {result.message}" for result in found.failures[:2]]
    figure.suptitle("\n".join(line for text in lines for line in textwrap.wrap(text, 110)), fontsize=11)
    return figure


def counts(seen: Evidence, law: Law, ax: Any) -> Any:
    """Draw how many neurons the masks drop, and the law; return the Axes."""
    known = dependent.has_counts(law)
    likely: Any = np.zeros(0, np.int64)
    if known:
        support, pmf = nulls.window(law.dropped, seen.n)
        likely = support[pmf * seen.trials > 1e-3]
    ends = [seen.mask_drops.min(), seen.mask_drops.max(), *(likely[[0, -1]] if likely.size else [])]
    low, high = int(min(ends)), int(max(ends))
    width = max(1, round((high - low) / 40))
    edges = np.arange(low, high + width + 1, width) - 0.5
    ax.hist(seen.mask_drops, bins=edges, color=_OBSERVED, label="masks")
    inside = np.arange(low, high + 1)
    if known:
        expected = seen.trials * width * np.asarray(law.dropped.pmf(inside))
        ax.plot(inside, expected, color=_LAW, linewidth=2, label="law")
    else:
        ax.axvline(float(np.sum(law.rates)), color=_LAW, linewidth=2, label="mean of the law")
    ax.set(title="Dropped neurons in a mask", xlabel="dropped neurons", ylabel="masks")
    ax.legend(frameon=False)
    return ax


def positions(seen: Evidence, law: Law, ax: Any) -> Any:
    """Draw the drop rate of each neuron with the band that holds all of them 99 % of the time; return the Axes."""
    known = np.maximum(seen.neuron_trials, 1)
    rate = seen.neuron_drops / known
    rates = np.asarray(law.rates, dtype=np.float64)
    width = nulls.normal_quantile(0.005 / seen.n) * np.sqrt(rates * (1 - rates) / known)
    where = np.arange(seen.n)
    ax.fill_between(
        where, np.maximum(rates - width, 0), np.minimum(rates + width, 1), color=_LAW, alpha=0.25, linewidth=0,
        step="mid", label="99% of layers lie in here",
    )  # fmt: skip
    ax.plot(where, rate, ".", color=_OBSERVED, markersize=2 if seen.n > 200 else 5, rasterized=True, label="masks")
    ax.step(where, rates, where="mid", color=_LAW, linewidth=1.5, label="law")
    ax.set(title="Drop rate by position", xlabel="position", ylabel="share of masks")
    ax.legend(frameon=False, markerscale=3, loc="upper right", ncols=3, fontsize="small")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.2 * (high - low))  # room for the legend
    return ax


def masks(seen: Evidence, ax: Any) -> Any:
    """Draw the first masks as an image, dark where a neuron is dropped; return the Axes."""
    shown = seen.drops_of(0, min(seen.trials, _IMAGE))[:, :_IMAGE]
    ax.imshow(shown, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    first = f"first {shown.shape[1]:,} of {seen.n:,} neurons" if seen.n > shown.shape[1] else "neurons"
    ax.set(title="The first masks (dark: dropped)", xlabel=first, ylabel="call")
    return ax


def lags(seen: Evidence, ax: Any) -> Any:
    """Draw the correlation of masks k calls apart with the band that holds it at every lag; return the Axes."""
    ax.set(title="Correlation of masks, by calls apart", xlabel="calls apart", ylabel="correlation")
    if seen.trials < 2 or not 0 < seen.rate < 1 or seen.recording.known is not None:
        ax.text(0.5, 0.5, "not defined here", ha="center", va="center", transform=ax.transAxes)
        return ax
    lag = np.arange(1, max(2, seen.trials // 2))
    correlation = seen.lag_correlation[lag]
    band = nulls.normal_quantile(0.005 / lag.size) / np.sqrt(seen.n * (seen.trials - lag))
    ax.fill_between(lag, -band, band, color=_LAW, alpha=0.25, linewidth=0, label="99% of recordings lie in here")
    ax.vlines(lag, 0, correlation, color=_OBSERVED, linewidth=1, rasterized=lag.size > 500)
    ax.axhline(0, color="0.3", linewidth=0.8)
    reach = 1.3 * max(float(band.max()), float(np.abs(correlation).max()))
    ax.set_ylim(-reach, reach)
    ax.legend(frameon=False, loc="upper right", fontsize="small")
    return ax
