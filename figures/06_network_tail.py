"""
The tail of a network
=====================

Three layers, 784 neurons at p = 0.2 and two of 1024 at p = 0.5: the upper tail of the number of dropped neurons, exact
and simulated, and the error of the normal approximation.

**What to see.** The number of dropped neurons in several layers is Poisson-binomial. A simulation of 200,000 masks
shows nothing below a probability of about 1e-5; the exact tail continues. The normal approximation is good near the
mean. In the tail it is too small, and its error grows.
"""

import math
from functools import cache

from scipy.special import log_ndtr

import dropstats as ds
from dropstats import plots
from dropstats.plots import Figure

LAW = ds.Network(ds.Layer(784, 0.2), ds.Layer(1024, 0.5), ds.Layer(1024, 0.5))
tally = cache(lambda: ds.simulate(LAW, trials=200_000, rng=6))


def normal_error(k: int) -> float:
    """Return the relative error of the normal approximation to P(at least k dropped), continuity corrected."""
    normal = log_ndtr(-(k - 0.5 - LAW.dropped.mean()) / LAW.dropped.std())
    return math.expm1(normal - LAW.dropped.logsf(k - 1))


def figure() -> Figure:
    ax = plots.tail(LAW, tally(), Figure(figsize=(8, 5.6)))
    upper, lower = ax.figure.axes
    upper.axvline(1400, color="black", linewidth=0.8, linestyle=":")
    upper.text(1396, 1e-24, f"P(at least 1400) = {LAW.prob(dropped=(1400, None)):.3g}", ha="right")
    lower.plot(1400, abs(normal_error(1400)), "o", color="black", markersize=6, fillstyle="none")
    plots.headline(ax, f"At 1400 the normal approximation is {-100 * normal_error(1400):.0f} % too small")
    return ax.figure


def numbers() -> dict[str, float]:
    return {
        "neurons of the network 784@.2 + 1024@.5 + 1024@.5": LAW.n,
        "mean number dropped": LAW.dropped.mean(),
        "standard deviation": LAW.dropped.std(),
        "P(at least 1400 dropped)": LAW.prob(dropped=(1400, None)),
        "relative error of the normal distribution there": normal_error(1400),
    }
