"""The picture of a report, from its plain data and small arrays."""

import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from dropstats.rendering import text

# Blue and vermilion of M. Okabe, K. Ito (2008), Color universal design: the law is blue, what was seen vermilion.
_LAW, _OBSERVED = "#0072B2", "#D55E00"

Panel = Mapping[str, Any]


def draw(report: Mapping[str, Any], pictures: Mapping[str, Panel], figure: Any = None) -> Any:
    """Return a figure of four panels for an audit, or of two for several streams."""
    if not pictures:
        raise ValueError("this report holds nothing to draw: only one of audit or audit_streams does")
    if "matrix" in pictures:
        figure = plt.figure(figsize=(10, 5), layout="constrained") if figure is None else figure
        left, right = figure.subplots(1, 2)
        matrix(pictures["matrix"], left)
        apart(pictures["apart"], right)
    else:
        figure = plt.figure(figsize=(10, 7), layout="constrained") if figure is None else figure
        axes = figure.subplots(2, 2)
        for ax, (panel, name) in zip(axes.flat, ((counts, "counts"), (positions, "positions"), (masks, "masks"),
                                                 (lags, "lags")), strict=True):  # fmt: skip
            panel(pictures[name], ax)
    lines = [f"Audit {text.verdict(report)}" + (f": {report['source']}" if report["source"] else "")]
    lines += [f"{result['name']}: {result['message']}" for result in text.failing(report)[:2]]
    figure.suptitle("\n".join(line for whole in lines for line in textwrap.wrap(whole, 110)), fontsize=11)
    return figure


def counts(panel: Panel, ax: Any) -> None:
    """Draw how many neurons the masks drop, and the law."""
    edges = panel["edges"]
    ax.bar(edges[:-1], panel["masks"], np.diff(edges), align="edge", color=_OBSERVED, alpha=0.6, label="masks")
    if "expected" in panel:
        ax.plot(panel["counts"], panel["expected"], color=_LAW, linewidth=2, label="law")
    else:
        ax.axvline(panel["mean"], color=_LAW, linewidth=2, label="mean of the law")
    ax.set(title="Dropped neurons in a mask", xlabel="dropped neurons", ylabel="masks")
    ax.legend(frameon=False)


def positions(panel: Panel, ax: Any) -> None:
    """Draw the drop rate by position with the band that holds all neurons of a correct layer 99 % of the time."""
    where, declared, width = panel["where"], panel["declared"], panel["width"]
    low, high = np.maximum(declared - width, 0), np.minimum(declared + width, 1)
    band = {"color": _LAW, "alpha": 0.2, "linewidth": 0, "step": "mid", "label": "99% simultaneous band"}
    ax.fill_between(where, low, high, **band)
    few = panel["n"] <= 200
    ax.plot(where, panel["observed"], ".", color=_OBSERVED, markersize=5 if few else 2, rasterized=True, label="masks")
    ax.step(where, declared, where="mid", color=_LAW, linewidth=1.5, label="law")
    ax.set(title="Drop rate by position", xlabel="position", ylabel="share of masks")
    ax.legend(frameon=False, markerscale=3, loc="upper right", ncols=3, fontsize="small")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.2 * (high - low))  # room for the legend


def masks(panel: Panel, ax: Any) -> None:
    """Draw the first masks as an image, dark where a neuron is dropped."""
    shown = np.unpackbits(panel["packed"], axis=1, count=panel["shown"])
    ax.imshow(shown, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    first = f"first {panel['shown']:,} of {panel['n']:,} neurons" if panel["n"] > panel["shown"] else "neurons"
    ax.set(title="The first masks (dark: dropped)", xlabel=first, ylabel="call")


def lags(panel: Panel, ax: Any) -> None:
    """Draw the correlation of masks k calls apart with the band that holds it at every lag."""
    ax.set(title="Correlation of masks, by calls apart", xlabel="calls apart", ylabel="correlation")
    if not panel:
        ax.text(0.5, 0.5, "not defined here", ha="center", va="center", transform=ax.transAxes)
        return
    _over_lags(panel, ax, 1.0)
    reach = 1.3 * max(float(panel["band"].max()), float(np.abs(panel["correlation"]).max()))
    ax.set_ylim(-reach, reach)


def matrix(panel: Panel, ax: Any) -> None:
    """Draw how the masks of each stream correlate with those of each other."""
    image = ax.imshow(panel["correlation"], cmap="PuOr", vmin=-1, vmax=1)
    ax.figure.colorbar(image, ax=ax, shrink=0.7, label="correlation")
    names = panel["names"]
    ticks = range(0, len(names), max(1, len(names) // 8))
    ax.set_xticks(ticks, [names[k] for k in ticks], rotation=45, ha="right")
    ax.set_yticks(ticks, [names[k] for k in ticks])
    ax.set(title="Masks of the same call")


def apart(panel: Panel, ax: Any) -> None:
    """Draw how the masks of two streams correlate some calls apart."""
    first, second = panel["names"]
    ax.set(title="Two of them, by calls apart", xlabel=f"calls that {second} is after {first}", ylabel="correlation")
    _over_lags(panel, ax, 2.0)


def _over_lags(panel: Panel, ax: Any, width: float) -> None:
    lag, band = panel["lag"], panel["band"]
    ax.fill_between(lag, -band, band, color=_LAW, alpha=0.2, linewidth=0, label="99% simultaneous band")
    ax.vlines(lag, 0, panel["correlation"], color=_OBSERVED, linewidth=width, rasterized=lag.size > 500)
    ax.axhline(0, color="0.3", linewidth=0.8)
    ax.legend(frameon=False, loc="upper right", fontsize="small")


def evidence(data: Mapping[str, Any], looks: Panel, ax: Any = None) -> Any:
    """Draw the log evidence of each check of a monitor over the steps, against the line of alarm."""
    if ax is None:
        ax = plt.figure(figsize=(8, 5), layout="constrained").add_subplot()
    steps, logs, line = looks["steps"], looks["log_e"], -np.log(data["false_alarm"])
    names = [*data["evidence"], "together"]
    # what cannot happen is drawn at the upper edge
    top = max(3 * line, 1.15 * float(np.max(logs, where=np.isfinite(logs), initial=line)))
    for name, column in zip(names, np.minimum(logs, top).T, strict=True):
        if name == "together":
            ax.plot(steps, column, color="black", linewidth=2.2, label=name, zorder=3)
        elif np.any(column):
            ax.plot(steps, column, linewidth=1.2, label=name)
    ax.axhline(line, color="0.3", linestyle="--", linewidth=1.2)
    near = {"textcoords": "offset points", "color": "0.3", "fontsize": "small"}
    ax.annotate(
        f"alarm: {np.exp(line):,.6g} to 1", (0.99, line), (0, 3), xycoords=("axes fraction", "data"), ha="right", **near
    )
    if data["alarm"]:
        found = np.inf if data["alarm"]["evidence"] is None else data["alarm"]["evidence"]
        # among the looks, for the steps of several streams are counted together there
        place = steps[int(np.argmax(logs[:, -1] == found))], min(found, top)
        ax.plot(*place, "o", color="black", markersize=6, zorder=4)
        ax.annotate(f"step {data['alarm']['step']:,}: {data['alarm']['check']}", place, (8, -20), **near)
    ax.set(xlabel="steps (masks)", ylabel="log evidence against the law", ylim=(None, top))
    ax.legend(frameon=False, fontsize="small", loc="upper left", ncols=2)
    return ax
