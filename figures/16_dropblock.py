"""
What DropBlock drops
====================

The mean fraction of neurons that DropBlock drops, against its nominal p.

**What to see.** The paper's formula for the density of blocks neglects that blocks overlap, so fewer neurons are
dropped than p says. The shortfall grows with p and with the size of the blocks.
"""

import numpy as np

import dropstats as ds
from dropstats import plots
from dropstats.plots import Figure

MAPS = ((14, 7, "-"), (28, 7, "--"), (56, 7, ":"), (14, 3, "-."))
P = np.linspace(0.01, 0.6, 60)


def figure() -> Figure:
    whole = Figure(figsize=(8, 6))
    upper, lower = whole.subplots(2, 1, sharex=True, height_ratios=(2, 1.2))
    upper.plot([0, 0.6], [0, 0.6], color="black", linewidth=1, label="nominal p")
    for side, block, dash in MAPS:
        fraction = np.array([ds.DropBlock(side, side, block, p=p).fraction for p in P])
        label = f"{side} x {side}, blocks of {block}"
        (line,) = upper.plot(P, fraction, dash, label=label)
        lower.plot(P, 100 * (1 - fraction / P), dash, color=line.get_color())
    upper.set(ylabel="mean fraction dropped", xlim=(0, 0.6), ylim=(0, 0.6))
    lower.set(xlabel="nominal p", ylabel="shortfall in %", ylim=(0, None))
    short = 100 * (1 - ds.DropBlock(28, 28, 7, p=0.5).fraction / 0.5)
    plots.headline(upper, f"DropBlock drops less than p: at 0.5, {short:.0f} % less on a 28 x 28 map")
    return whole


def numbers() -> dict[str, float]:
    law, exact = ds.DropBlock(14, 14, 7, p=0.1), ds.DropBlock.exactly(14, 14, 7, 0.1)
    return {
        "mean fraction dropped, 14 x 14, blocks of 7, p = 0.1": law.fraction,
        "gamma of the paper": law.gamma,
        "gamma that drops 0.1 on average": exact.gamma,
        "variance over that of independent neurons": law.overdispersion,
        "mean fraction dropped, 28 x 28, blocks of 7, p = 0.5": ds.DropBlock(28, 28, 7, p=0.5).fraction,
    }
