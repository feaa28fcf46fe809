"""
Moments
=======

Simulated minus exact mean, variance, skewness and excess kurtosis, in standard errors, over a grid of p.

**What to see.** The simulated moments differ from the exact ones by about one standard error, in either direction, for
every p. There is no trend, and as many exceed 2 standard errors as expected by chance.
"""

from functools import cache

import numpy as np

import dropstats as ds
from dropstats import comparison, plots
from dropstats.plots import Figure

LAWS = [ds.Layer(256, twentieths / 20) for twentieths in range(1, 20)]
tallies = cache(lambda: [ds.simulate(law, trials=100_000, rng=50 + i) for i, law in enumerate(LAWS)])


def apart() -> np.ndarray:
    return np.abs([comparison.moment_residuals(*pair) for pair in zip(LAWS, tallies(), strict=True)])


def figure() -> Figure:
    ax = plots.moments(LAWS, tallies(), Figure(figsize=(8, 4.2)))
    ax.set(xlim=(0, 1))
    share = np.mean(apart() < 2)
    plots.headline(ax, f"Moments agree: {100 * share:.0f} % within 2 standard errors, 95 % expected")
    return ax.figure


def numbers() -> dict[str, float]:
    return {
        "moments compared, 256 neurons, 100,000 masks": apart().size,
        "largest difference, standard errors": apart().max(),
        "share within 2 standard errors (0.954 expected)": np.mean(apart() < 2),
    }
