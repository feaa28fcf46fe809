"""
Sixty and a hundred
===================

What the next neuron receives from 100 neurons at p = 0.4, in training and in inference, unscaled and scaled.

**What to see.** Without scaling the next neuron receives 60 on average in training, and 100 in inference. Scaling moves
the mean to 100 and increases the standard deviation by the same factor. The input is still random in training and
constant in inference.
"""

from functools import cache

import numpy as np

import dropstats as ds
from dropstats import plots
from dropstats.plots import Figure

LAW = ds.Layer(100, 0.4)
ROWS = {
    name: ds.PreActivation(np.ones(100), np.ones(100), LAW, scaling)
    for name, scaling in (("unscaled", None), ("scaled by 1/(1 − p)", "inverted"))
}
tally = cache(lambda: ds.simulate(LAW, trials=100_000, rng=7))


def figure() -> Figure:
    figure = Figure(figsize=(8, 5))
    axes = figure.subplots(2, 1, sharex=True)
    for ax, (name, pre) in zip(axes, ROWS.items(), strict=True):
        side, law = pre.training, pre.training.lattice()
        low, high = law.interval(0.95)
        height = law.masses.max()
        ax.fill_between(law.values, law.masses, step="mid", alpha=0.35, color=plots.EXACT, label="training, exact")
        seen = tally().histogram[::-1] / tally().trials
        ax.plot(law.values[seen > 0], seen[seen > 0], ".", color=plots.SIMULATED, label="training, 100,000 masks")
        ax.axvline(pre.inference.mean, color="black", linewidth=2.2, label="inference: always this")
        ax.annotate("", (low, -0.07 * height), (high, -0.07 * height), arrowprops={"arrowstyle": "<->"})
        ax.text(low - 1, -0.07 * height, f"95 %: {low:.4g} to {high:.4g}", ha="right", va="center", fontsize=10)
        words = f"{name}:\nmean {side.mean:.0f}, standard\ndeviation {side.variance**0.5:.2f}"
        ax.text(21, 0.95 * height, words, va="top")
        ax.set(ylim=(-0.16 * height, 1.12 * height), yticks=[], ylabel="probability", xlim=(20, 132))
        ax.grid(False)
    axes[1].set_xlabel("input of the next neuron, 100 weights and activations of 1")
    plots.headline(axes[0], "Scaling by 1/(1 − p) corrects the mean, from 60 to 100, but not the spread")
    return figure


def numbers() -> dict[str, float]:
    result = {"P(exactly 60 kept)": ROWS["unscaled"].training.lattice().pmf(60)}
    for name, pre in ROWS.items():
        low, high = pre.training.lattice().interval(0.95)
        result |= {f"mean in training, {name}": pre.training.mean, f"in inference, {name}": pre.inference.mean}
        result |= {f"standard deviation in training, {name}": pre.training.variance**0.5}
        result |= {f"central 95 %, {name}, from": low, f"central 95 %, {name}, to": high}
    return result
