"""
Single neurons
==============

The drop frequency of single neurons approaches p over the steps, within the exact 99 % band of the binomial
distribution.

**What to see.** At first the frequencies differ; then their distance from p shrinks like 1 / sqrt(steps). The band is
exact for each step taken alone, so at any given step about one neuron in a hundred is outside it.
"""

from functools import cache

import dropstats as ds
from dropstats import plots
from dropstats.plots import Figure

LAW = ds.Layer(6, 0.3)
masks = cache(lambda: LAW.sample(10_000, rng=5))


def figure() -> Figure:
    ax = plots.running_rates(LAW, masks(), Figure(figsize=(8, 4.2)))
    plots.headline(ax, "A neuron's drop frequency approaches p as the binomial distribution predicts")
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
