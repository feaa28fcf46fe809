"""
Auditing TensorFlow
===================

In bfloat16 TensorFlow 2.21 drops with probability 39/128 instead of 0.3; in float32 it is correct. Two audits.

**What to see.** Left: the error of the observed rate against the number of neurons counted. In float32 it approaches 0,
inside the band of correct masks. In bfloat16 it approaches 1.6 %, the error of 39/128: the random numbers that are
compared with p are multiples of 1/128. Right: the p-values of both audits; in bfloat16 the rate and the mean fail.
"""

from functools import cache
from pathlib import Path

import numpy as np
from scipy.special import ndtri

import dropstats as ds
from dropstats import plots
from dropstats.plots import Figure

FOLDER = Path(__file__).parents[1] / "tests" / "recordings"
# dtype: recording, colour, marker
TWINS = {
    "bfloat16": ("tensorflow-2.21.0-bfloat16-n1024-p0.3.npz", plots.SIMULATED, "X"),
    "float32": ("tensorflow-2.21.0-float32-n1024-p0.1.npz", plots.EXACT, "o"),
}
recording = cache(lambda dtype: ds.Recording.load(FOLDER / TWINS[dtype][0]))
report = cache(lambda dtype: ds.audit(recording(dtype)))


def figure() -> Figure:
    left, right = (drawn := Figure(figsize=(11, 5), layout="constrained")).subplots(1, 2, width_ratios=(3, 2))
    tests = [result.name for result in report("float32").results if result.pvalue is not None][::-1]
    for dtype, (_, colour, marker) in TWINS.items():
        masks, neurons = recording(dtype), np.arange(1, recording(dtype).trials + 1) * recording(dtype).n
        off = 100 * (np.cumsum(masks.n - masks.masks().sum(axis=1)) / neurons / masks.p - 1)
        left.plot(neurons, off, color=colour, linewidth=2)
        left.text(1.03 * neurons[-1], off[-1], f"{dtype}, p = {masks.p}", va="center", color=colour)
        band = -100 * ndtri(0.0005) * np.sqrt((1 - masks.p) / (masks.p * neurons))
        for edge, label in ((band, f"99.9 % of correct masks, p = {masks.p}"), (-band, None)):
            left.plot(neurons, edge, color=colour, linewidth=0.8, linestyle="--", label=label)
        shown = np.maximum([report(dtype)[name].adjusted_pvalue for name in tests], 1e-18)  # far enough to the left
        right.plot(shown, range(len(tests)), marker, color=colour, markersize=8, label=dtype, alpha=0.85)
    left.axhline(100 * (39 / 128 / 0.3 - 1), color="black", linewidth=0.8, linestyle=":")
    left.text(4.7e6, 100 * (39 / 128 / 0.3 - 1) - 0.1, "39/128 instead of 0.3", ha="right", va="top")
    left.set(
        xscale="log", xlabel="neurons counted", ylabel="error of the drop rate (% of p)", xlim=(1e4, 5e6), ylim=(-6, 6)
    )
    right.axvline(1e-3, color="black", linewidth=0.8, linestyle=":")
    right.set(xscale="log", xlim=(1e-19, 10), xlabel="p-value of a test, adjusted (fails left of 0.001)")
    right.set_yticks(range(len(tests)), tests)
    right.legend(loc="center left")
    plots.headline(left, "In bfloat16 TensorFlow drops 39/128 instead of 0.3")
    return drawn


def numbers() -> dict[str, float]:
    found = {f"{dtype}: observed rate, p = {recording(dtype).p}": report(dtype).observed_rate for dtype in TWINS}
    found |= {f"{dtype}: adjusted p-value of the rate": report(dtype)["rate"].adjusted_pvalue for dtype in TWINS}
    return found | {"bfloat16: mean kept": report("bfloat16")["mean"].observed}
