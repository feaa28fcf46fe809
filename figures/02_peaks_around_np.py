"""
Peaks around np
===============

The distribution of the number of dropped neurons for p = 0.1 ... 0.9, and simulated masks.

**What to see.** Each distribution is centred on np. Those near p = 0 and p = 1 are narrower and higher; the widest and
lowest is that of p = 0.5. The simulated frequencies lie on the exact curves.
"""

from functools import cache

import dropstats as ds
from dropstats import comparison, plots
from dropstats.plots import Figure

LAWS = [ds.Layer(1024, tenths / 10) for tenths in range(1, 10)]
tallies = cache(lambda: [ds.simulate(law, trials=100_000, rng=20 + i) for i, law in enumerate(LAWS)])


def figure() -> Figure:
    ax = Figure(figsize=(8, 4.2)).subplots()
    for law, tally in zip(LAWS, tallies(), strict=True):
        first = law is LAWS[0]
        plots.pmf(law, ax, tally=tally, label="exact law" if first else None)
        seen = comparison.groups(law, tally)
        label = "100,000 simulated masks of each" if first else None
        ax.plot(seen.counts, seen.frequencies * seen.shares, "o", color=plots.SIMULATED, markersize=1.5, label=label)
        mode = round(law.dropped.mean())
        ax.annotate(f"p = {law.p}", (mode, law.dropped.pmf(mode)), (0, 10), textcoords="offset points", ha="center")
    ax.set(xlim=(0, 1024), ylim=(0, 0.047), xticks=[round(law.n * law.p) for law in LAWS])
    plots.headline(ax, "The number of dropped neurons peaks at np, lowest at p = 0.5")
    return ax.figure


def numbers() -> dict[str, float]:
    residuals = [abs(comparison.groups(*pair).residuals).max() for pair in zip(LAWS, tallies(), strict=True)]
    peaks = {f"highest probability, n = 1024, p = {law.p}": law.dropped.pmf(law.dropped.median()) for law in LAWS[:5]}
    return peaks | {"largest residual of all laws, standard errors": max(residuals)}
