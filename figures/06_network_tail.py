"""A whole network, 784@.2 + 1024@.5 + 1024@.5: its exact upper tail, simulation, and what the normal law gets wrong."""

import math
from functools import cache

from scipy.special import log_ndtr

import dropstats as ds
from dropstats import plots
from dropstats.plots import Figure

LAW = ds.Network(ds.Layer(784, 0.2), ds.Layer(1024, 0.5), ds.Layer(1024, 0.5))
tally = cache(lambda: ds.simulate(LAW, trials=200_000, rng=6))


def figure() -> Figure:
    ax = plots.tail(LAW, tally(), Figure(figsize=(8, 5.6)))
    plots.headline(ax, "A network's tail, exact where simulation ends and the normal law errs")
    return ax.figure


def numbers() -> dict[str, float]:
    normal = log_ndtr(-(1400 - 0.5 - LAW.dropped.mean()) / LAW.dropped.std())
    return {
        "neurons of the network 784@.2 + 1024@.5 + 1024@.5": LAW.n,
        "mean number dropped": LAW.dropped.mean(),
        "standard deviation": LAW.dropped.std(),
        "P(at least 1400 dropped)": LAW.prob(dropped=(1400, None)),
        "ln P(at least 1400 dropped)": LAW.prob(dropped=(1400, None), log=True),
        "relative error of the normal law there": math.expm1(normal - LAW.dropped.logsf(1399)),
    }
