"""
Single neurons
==============

Single neurons: the drop frequency of each settles at p as steps go by, within the exact binomial band.

**What to see.** The frequencies spread at first and close in on p like 1 / sqrt(steps). The band is exact for each
step, so that about one neuron in a hundred is outside it at any step.
"""

from functools import cache

import dropstats as ds
from dropstats import plots
from dropstats.plots import Figure

LAW = ds.Layer(6, 0.3)
masks = cache(lambda: LAW.sample(10_000, rng=5))


def figure() -> Figure:
    ax = plots.running_rates(LAW, masks(), Figure(figsize=(8, 4.2)))
    plots.headline(ax, "A neuron's drop frequency settles at p as fast as its binomial law says")
    return ax.figure


def numbers() -> dict[str, float]:
    band = ds.Layer(masks().shape[0], 0.3).dropped.interval(0.99)
    rates = ds.tally(masks()).rates
    return {
        "drop frequency after 10,000 steps at p = 0.3, least": rates.min(),
        "drop frequency after 10,000 steps at p = 0.3, most": rates.max(),
        "99 % band, from": band[0] / masks().shape[0],
        "99 % band, to": band[1] / masks().shape[0],
    }
