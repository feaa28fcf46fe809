"""
Half of 1024
============

How many of 1024 neurons are dropped at p = 0.5: the exact distribution and a million masks, with exactly half marked.

**What to see.** The distribution is narrow: 95 % of the masks drop 481 to 543 neurons. Yet every single number is
improbable, and even the most probable one, exactly half, occurs in only 1 mask of 40.
"""

from functools import cache

import dropstats as ds
from dropstats import comparison, plots
from dropstats.plots import Figure

LAW = ds.Layer(1024, 0.5)
tally = cache(lambda: ds.simulate(LAW, trials=1_000_000, rng=1))


def figure() -> Figure:
    ax = plots.overlay(LAW, tally(), Figure())
    half = LAW.prob(dropped=512)
    low, high = LAW.dropped.interval(0.95)
    ax.plot(512, half, "o", color="black", markersize=8, fillstyle="none")
    note = f"exactly 512:\nP = {half:.4f}"
    ax.annotate(note, (512, half), (537, 0.94 * half), va="center", arrowprops={"arrowstyle": "-"})
    ax.annotate("", (low, 0.0012), (high, 0.0012), arrowprops={"arrowstyle": "<->", "shrinkA": 0, "shrinkB": 0})
    ax.text(512, 0.0017, f"central 95 %: {low:.0f} to {high:.0f}", ha="center")
    plots.headline(ax, "Of 1024 neurons at p = 0.5, exactly half are dropped in 1 mask of 40")
    return ax.figure


def numbers() -> dict[str, float]:
    low, high = LAW.dropped.interval(0.95)
    return {
        "P(exactly 512 of 1024 dropped), p = 0.5": LAW.prob(dropped=512),
        "central 95 %, from": low,
        "central 95 %, to": high,
        "P(480 to 544 dropped)": LAW.prob(dropped=(480, 544)),
        "simulated frequency of exactly 512": tally().histogram[512] / tally().trials,
        "largest residual, standard errors": abs(comparison.groups(LAW, tally()).residuals).max(),
    }
