"""
Depth
=====

Stochastic depth: the distribution of the number of residual blocks that are kept, under the schedules of papers and
libraries.

**What to see.** Several schedules go by the name of stochastic depth. The three linear ones differ by a quarter of a
block in the mean. One p for all blocks keeps 13 blocks fewer.
"""

import numpy as np

import dropstats as ds
from dropstats import plots
from dropstats.plots import Figure

LAWS = {
    "huang, p l / L": ds.DropPath(54, 0.5, "huang"),
    "timm, p (l - 1) / (L - 1)": ds.DropPath(54, 0.5, "timm"),
    "torchvision, p (l - 1) / L": ds.DropPath(54, 0.5, "torchvision"),
    "uniform, p": ds.DropPath(54, 0.5, "uniform"),
}


def figure() -> Figure:
    whole = Figure(figsize=(8, 4.8))
    ax = whole.subplots()
    for (name, law), marker in zip(LAWS.items(), "os^D", strict=True):
        mean, depth = law.kept.mean(), np.arange(law.kept.ppf(1e-4), law.kept.isf(1e-4) + 1)
        (line,) = ax.plot(depth, law.kept.pmf(depth), marker, linestyle="-", markersize=4.5, linewidth=1, label=name)
        ax.axvline(mean, color=line.get_color(), linewidth=1, linestyle="--")
    ax.set(xlabel="residual blocks that are kept, of 54", ylabel="probability", xlim=(14, 54))
    ax.set_ylim(bottom=0)
    plots.headline(ax, "Linear schedules keep 40.25, 40.5, 40.75 of 54 blocks on average; uniform p 27")
    return whole


def numbers() -> dict[str, float]:
    means = {f"expected depth, {name}": law.kept.mean() for name, law in LAWS.items()}
    return means | {"P(35 blocks or fewer), huang": LAWS["huang, p l / L"].prob(kept=(None, 35))}
