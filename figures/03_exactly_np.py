"""Probability that exactly np neurons are dropped, against p: symmetric about 1/2, and smallest there.

"Exactly np" asks for an integer np, so p = j / n. Between these points stands the most probable number, whose
probability is not monotone in p.
"""

import numpy as np

import dropstats as ds
from dropstats import plots
from dropstats.plots import Figure

STYLES = {10: ("o", "#0072B2"), 64: ("s", "#D55E00"), 1024: (".", "#009E73")}
LATTICES = {n: np.arange(1, n) / n for n in STYLES}


def exactly_np(n: int) -> np.ndarray:
    return np.array([ds.Layer(n, p).dropped.pmf(round(n * p)) for p in LATTICES[n]])


def most_probable(n: int, rates: np.ndarray) -> np.ndarray:
    return np.array([ds.Layer(n, p).dropped.pmf(np.floor((n + 1) * p)) for p in rates])


def figure() -> Figure:
    ax = Figure().subplots()
    between = np.linspace(0.02, 0.98, 500)
    for n, (marker, colour) in STYLES.items():
        values = exactly_np(n)
        ax.semilogy(LATTICES[n], values, marker, color=colour, markersize=4, label=f"n = {n}")
        ax.annotate(f"{values.min():.4f}", (0.5, values.min()), (0, -14), textcoords="offset points", ha="center")
    ax.semilogy(
        between,
        most_probable(10, between),
        color="#0072B2",
        linewidth=0.8,
        label="n = 10, most probable number",
    )
    dip = most_probable(10, [0.55])[0]
    note = f"between lattice points, not monotone:\n{dip:.4f} at p = 0.55"
    ax.annotate(note, (0.55, dip), (0.52, 0.45), arrowprops={"arrowstyle": "-", "color": "#0072B2"})
    ax.set(xlabel="drop probability p = j / n", ylabel="P(exactly np dropped)", xlim=(0, 1), ylim=(0.015, 1))
    ax.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5, 1], ["0.02", "0.05", "0.1", "0.2", "0.5", "1"], minor=False)
    ax.minorticks_off()
    plots.headline(ax, "Exactly np is least probable at p = 0.5, where np is an integer")
    return ax.figure


def numbers() -> dict[str, float]:
    smallest = {f"P(exactly np dropped), n = {n}, p = 0.5": exactly_np(n)[n // 2 - 1] for n in STYLES}
    asymmetry = max(np.abs(exactly_np(n) / exactly_np(n)[::-1] - 1).max() for n in STYLES)
    off = {f"P(most probable number), n = 10, p = {p}": most_probable(10, [p])[0] for p in (0.55, 0.6)}
    return smallest | {"largest relative difference of p and 1 - p": asymmetry} | off
