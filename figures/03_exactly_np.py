"""
Exactly np
==========

Probability that exactly np neurons are dropped, against p: symmetric about 1/2, and smallest there.

"Exactly np" requires a whole number np, so p = j / n. Between these points the thin line shows the most probable number
instead, whose probability is not monotone in p.

**What to see.** If np is a whole number, the probability of exactly np increases with the distance of p from 1/2, and
is the same for p and 1 - p. This compares distributions with different p. A single distribution is symmetric about np
only for p = 1/2.
"""

import numpy as np

import dropstats as ds
from dropstats import plots
from dropstats.plots import Figure

LOOKS = {10: ("o", plots.EXACT), 64: ("s", plots.SIMULATED), 1024: (".", plots.APPROXIMATE)}


def exactly_np(n: int) -> np.ndarray:
    return np.array([ds.Layer(n, j / n).prob(dropped=j) for j in range(1, n)])


def most_probable(n: int, p: float) -> float:
    return ds.Layer(n, p).prob(dropped=int((n + 1) * p))


def figure() -> Figure:
    ax = Figure().subplots()
    for n, (marker, colour) in LOOKS.items():
        values = exactly_np(n)
        ax.semilogy(np.arange(1, n) / n, values, marker, color=colour, label=f"n = {n}")
        ax.annotate(f"{values.min():.4f}", (0.5, values.min()), (0, -14), textcoords="offset points", ha="center")
    p = np.linspace(0.02, 0.98, 481)
    between = [most_probable(10, rate) for rate in p]
    ax.semilogy(p, between, color=plots.EXACT, linewidth=0.8, label="n = 10, most probable number")
    note = f"between lattice points, not monotone:\n{most_probable(10, 0.55):.4f} at p = 0.55"
    ax.annotate(note, (0.55, most_probable(10, 0.55)), (0.52, 0.45), arrowprops={"arrowstyle": "-"})
    ax.set(xlabel="drop probability p = j / n", ylabel="P(exactly np dropped)", xlim=(0, 1), ylim=(0.015, 1))
    ax.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5, 1], ["0.02", "0.05", "0.1", "0.2", "0.5", "1"])
    ax.minorticks_off()
    plots.headline(ax, "If np is an integer, exactly np is least probable at p = 0.5")
    return ax.figure


def numbers() -> dict[str, float]:
    smallest = {f"P(exactly np dropped), n = {n}, p = 0.5": exactly_np(n)[n // 2 - 1] for n in LOOKS}
    asymmetry = max(np.abs(exactly_np(n) / exactly_np(n)[::-1] - 1).max() for n in LOOKS)
    off = {f"P(most probable number), n = 10, p = {p}": most_probable(10, p) for p in (0.55, 0.6)}
    return smallest | {"largest relative difference of p and 1 - p": asymmetry} | off
