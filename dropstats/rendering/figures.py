"""The picture of a report, from its plain data and small arrays."""

import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.ticker import MaxNLocator

from dropstats.rendering import look, text

Panel = Mapping[str, Any]


def draw(report: Mapping[str, Any], pictures: Mapping[str, Panel], figure: Any = None) -> Any:
    """Return a figure of four panels for an audit, or of two for several streams; a new one in the project's style."""
    if not pictures:
        raise ValueError("this report holds nothing to draw: only one of audit or audit_streams does")
    if figure is None:
        with look.style():
            return draw(report, pictures, plt.figure(figsize=(10.5, 5.2 if "matrix" in pictures else 8)))
    if "matrix" in pictures:
        left, right = figure.subplots(1, 2)
        matrix(pictures["matrix"], left)
        apart(pictures["apart"], right)
    else:
        panels = zip(figure.subplots(2, 2).flat, ("counts", "positions", "masks", "lags"), strict=True)
        for (ax, name), panel in zip(panels, (counts, positions, masks, lags), strict=True):
            panel(pictures[name], ax)
    sentence = "\n".join(textwrap.wrap(text.sentence(report), 92))
    figure.suptitle(sentence, x=0.01, ha="left", fontweight="bold", fontsize=13)
    return figure


def _titled(ax: Any, title: str, across: str, up: str) -> None:
    ax.set_title(title, loc="left", fontweight="normal", fontsize=11.5)
    ax.set(xlabel=across, ylabel=up)


def counts(panel: Panel, ax: Any) -> None:
    """Draw how many neurons the masks drop, and the law."""
    edges = panel["edges"]
    ax.bar(edges[:-1], panel["masks"], np.diff(edges), align="edge", color=look.SIMULATED, alpha=0.6, label="masks")
    if "expected" in panel:
        ax.plot(panel["counts"], panel["expected"], color=look.EXACT, linewidth=2, label="law")
    else:
        ax.axvline(panel["mean"], color=look.EXACT, linewidth=2, label="mean of the law")
    _titled(ax, "Dropped neurons per mask", "dropped neurons in a mask", "number of masks")
    ax.legend(frameon=False, fontsize="small")


def positions(panel: Panel, ax: Any) -> None:
    """Draw the drop rate by position with the band that holds all neurons of a correct layer 99 % of the time."""
    where, declared, width = panel["where"], panel["declared"], panel["width"]
    low, high = np.maximum(declared - width, 0), np.minimum(declared + width, 1)
    band = {"color": look.EXACT, "alpha": 0.2, "linewidth": 0, "step": "mid", "label": "99% simultaneous band"}
    ax.fill_between(where, low, high, **band)
    few = panel["n"] <= 200
    dots: dict[str, Any] = {"color": look.SIMULATED, "markersize": 5 if few else 2, "rasterized": True}
    ax.plot(where, panel["observed"], ".", label="masks", **dots)
    ax.step(where, declared, where="mid", color=look.EXACT, linewidth=1.5, label="law")
    _titled(ax, "Drop rate of each neuron", "position of the neuron", "drop rate")
    ax.legend(frameon=False, markerscale=3, loc="upper right", ncols=3, fontsize="small")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.2 * (high - low))  # room for the legend


def masks(panel: Panel, ax: Any) -> None:
    """Draw the first masks as an image, vermilion where a neuron is dropped."""
    shown = np.unpackbits(panel["packed"], axis=1, count=panel["shown"])
    ax.imshow(shown, ListedColormap(["white", look.SIMULATED]), vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    ax.grid(visible=False)
    first = f"first {panel['shown']:,} of {panel['n']:,} neurons" if panel["n"] > panel["shown"] else "neurons"
    _titled(ax, "The first masks (orange: dropped)", first, "call")


def lags(panel: Panel, ax: Any) -> None:
    """Draw the correlation of masks k calls apart with the band that holds it at every lag."""
    _titled(ax, "Correlation of masks at different calls", "lag in calls", "correlation")
    if not panel:
        ax.text(0.5, 0.5, "not defined for these masks", ha="center", va="center", transform=ax.transAxes)
        return
    _over_lags(panel, ax, 1.0)
    reach = 1.3 * max(float(panel["band"].max()), float(np.abs(panel["correlation"]).max()))
    ax.set_ylim(-reach, reach)


def matrix(panel: Panel, ax: Any) -> None:
    """Draw how the masks of each stream correlate with those of each other."""
    values = np.ma.array(panel["correlation"], mask=np.eye(len(panel["names"]), dtype=bool))  # grey: with itself
    image = ax.imshow(values, cmap=plt.get_cmap("PuOr_r").with_extremes(bad="0.85"), vmin=-1, vmax=1)
    ax.figure.colorbar(image, ax=ax, shrink=0.7, label="correlation")
    ax.grid(visible=False)
    names = panel["names"]
    ticks = range(0, len(names), max(1, len(names) // 8))
    ax.set_xticks(ticks, [names[k] for k in ticks], rotation=45, ha="right")
    ax.set_yticks(ticks, [names[k] for k in ticks])
    _titled(ax, "Correlation between streams at the same call", "", "")


def apart(panel: Panel, ax: Any) -> None:
    """Draw how the masks of two streams correlate some calls apart."""
    first, second = panel["names"]
    _titled(ax, f"Correlation of {first} and {second}", f"lag in calls ({second} after {first})", "correlation")
    _over_lags(panel, ax, 2.0)


def _over_lags(panel: Panel, ax: Any, width: float) -> None:
    lag, band = panel["lag"], panel["band"]
    ax.fill_between(lag, -band, band, color=look.EXACT, alpha=0.2, linewidth=0, label="99% simultaneous band")
    ax.vlines(lag, 0, panel["correlation"], color=look.SIMULATED, linewidth=width, rasterized=lag.size > 500)
    ax.axhline(0, color="0.3", linewidth=0.8)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.legend(frameon=False, loc="upper right", fontsize="small")


def evidence(data: Mapping[str, Any], looks: Panel, ax: Any = None) -> Any:
    """Draw the log evidence of each check of a monitor over the steps, against the line of alarm."""
    if ax is None:
        with look.style():
            return evidence(data, looks, plt.figure().add_subplot())
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
