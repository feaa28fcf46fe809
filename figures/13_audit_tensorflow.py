"""TensorFlow 2.21 in bfloat16 drops 39/128 for 0.3; its float32 twin does as it says: two recordings, audited."""

from functools import cache
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.special import ndtri

from dropstats.auditing import Report, audit
from dropstats.recording import Recording

RECORDINGS = Path(__file__).parents[1] / "tests" / "recordings"
NAMES = {
    "bfloat16, p = 0.3": "tensorflow-2.21.0-bfloat16-n1024-p0.3.npz",
    "float32, p = 0.1": "tensorflow-2.21.0-float32-n1024-p0.1.npz",
}
COLOURS = {"bfloat16, p = 0.3": "#D55E00", "float32, p = 0.1": "#0072B2"}
MARKERS = {"bfloat16, p = 0.3": "X", "float32, p = 0.1": "o"}
# The smallest p-value drawn at its place; all smaller ones stand there.
FLOOR = 1e-18


@cache
def recording(which: str) -> Recording:
    return Recording.load(RECORDINGS / NAMES[which])


@cache
def report(which: str) -> Report:
    return audit(recording(which))


def figure() -> Figure:
    drawn = Figure(figsize=(11, 5), layout="constrained")
    left, right = drawn.subplots(1, 2, width_ratios=(3, 2))
    rates(left)
    verdicts(right)
    drawn.suptitle("In bfloat16 TensorFlow drops 39/128 where 0.3 is declared; in float32 it drops what it says")
    return drawn


def rates(ax) -> None:
    """Draw how far the drop rate is off, call by call, in units of p."""
    for which, colour in COLOURS.items():
        masks = recording(which)
        dropped = masks.n - np.count_nonzero(masks.masks(), axis=1)
        neurons = masks.n * np.arange(1, masks.trials + 1)
        off = 100 * (np.cumsum(dropped) / neurons / masks.p - 1)
        ax.plot(neurons, off, color=colour, linewidth=2)
        ax.annotate(which, (neurons[-1], off[-1]), (5, 0), textcoords="offset points", va="center", color=colour)
        # a count of Bin(N, p) lies within so many standard deviations of N p 999 times in 1000
        band = -100 * ndtri(0.0005) * np.sqrt((1 - masks.p) / (masks.p * neurons))
        style = {"color": colour, "linewidth": 0.8, "linestyle": "--"}
        ax.plot(neurons, band, **style, label=f"99.9% of correct masks, {which}")
        ax.plot(neurons, -band, **style)
    ax.axhline(100 * (39 / 128 / 0.3 - 1), color="black", linewidth=0.8, linestyle=":")
    ax.text(2.8e6, 100 * (39 / 128 / 0.3 - 1) - 0.1, "39/128 in place of 0.3", ha="right", va="top")
    ax.axhline(0, color="0.5", linewidth=0.8)
    ax.set(xscale="log", xlabel="neurons counted", ylabel="drop rate off by (% of p)", xlim=(1e4, 3e6), ylim=(-6, 6))
    ax.legend(frameon=False, loc="lower right")
    ax.set_title("Drop rate, as more neurons are counted")


def verdicts(ax) -> None:
    """Draw the adjusted p-value of each test."""
    names = [result.name for result in report("float32, p = 0.1").results if result.pvalue is not None][::-1]
    for which, colour in COLOURS.items():
        values = [report(which)[name].adjusted_pvalue for name in names]
        shown = np.maximum(values, FLOOR)
        ax.plot(shown, range(len(names)), MARKERS[which], color=colour, markersize=8, label=which, alpha=0.85)
    ax.axvline(1e-3, color="black", linewidth=0.8, linestyle=":")
    ax.text(1e-3, len(names) - 0.45, "fails left of 0.001", ha="right", va="bottom", fontsize="small")
    ax.set(xscale="log", xlim=(FLOOR / 10, 10), xlabel="p-value, adjusted for all tests")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(-0.6, len(names) + 0.2)
    ax.legend(frameon=False, loc="center left")
    ax.set_title("Verdict of each test")


def numbers() -> dict[str, float]:
    bad, good = (report(which) for which in NAMES)
    return {
        "bfloat16: observed rate for p = 0.3": bad.observed_rate,
        "39/128": 39 / 128,
        "bfloat16: p-value of the rate, adjusted": bad["rate"].adjusted_pvalue,
        "bfloat16: mean kept": bad["mean"].observed,
        "float32: observed rate for p = 0.1": good.observed_rate,
        "float32: p-value of the rate, adjusted": good["rate"].adjusted_pvalue,
    }
