"""
The tail of a pre-activation
============================

How likely is a large input of the next neuron? The upper tail of z = sum (i/40) m_i / q, i = 1..40, p = 0.3, computed
exactly, by a saddlepoint approximation and by the normal approximation.

**What to see.** In the tail the saddlepoint approximation stays within a few per cent of the exact probability. The
normal approximation is too large by a growing factor.
"""

import numpy as np

import dropstats as ds
from dropstats import plots
from dropstats.plots import Figure

SIDE = ds.PreActivation(np.arange(1, 41) / 40, np.ones(40), ds.Layer(40, 0.3)).training
EXACT = SIDE.lattice()
FAR = 800 / 28


def mid(y: np.ndarray) -> np.ndarray:
    """Return P(z > y) + P(z = y)/2, what a continuous approximation stands for."""
    return EXACT.sf(y) + EXACT.pmf(y) / 2


def figure() -> Figure:
    figure = Figure(figsize=(8, 5.6))
    ax, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
    y = EXACT.values[(EXACT.values > SIDE.mean) & (EXACT.values < EXACT.support()[1] - 0.3)]
    exact, normal, saddle = mid(y), SIDE.normal().sf(y), SIDE.sf(y)
    ax.semilogy(y, exact, color=plots.EXACT, linewidth=5, alpha=0.4, label="exact, by convolution")
    ax.semilogy(y, saddle, "--", color=plots.SIMULATED, label="saddlepoint (Lugannani–Rice)")
    ax.semilogy(y, normal, ":", color="black", label="normal")
    ax.set(ylabel="P(z > y)", ylim=(1e-6, 1))
    ratio = SIDE.normal().sf(FAR) / mid(FAR)
    ax.plot([FAR, FAR], [mid(FAR), SIDE.normal().sf(FAR)], color="black", linewidth=0.8)
    note = f"normal: {ratio:.1f} times\nthe exact tail"
    ax.annotate(note, (FAR, 1e-4), (25.4, 2e-5), va="center", arrowprops={"arrowstyle": "-"})
    below.plot(y, 100 * (saddle / exact - 1), "--", color=plots.SIMULATED)
    below.plot(y, 100 * (normal / exact - 1), ":", color="black")
    below.axvline(FAR, color="black", linewidth=0.8)
    error = SIDE.sf(FAR) / mid(FAR) - 1
    below.annotate(f"saddlepoint {100 * error:+.1f} %", (FAR, 100 * error), (25.4, -17), arrowprops={"arrowstyle": "-"})
    below.set(ylim=(-25, 25), xlabel="y, in units of weight × activation", ylabel="error, %")
    plots.headline(
        ax, f"The normal tail is {ratio:.0f} times too large, the saddlepoint {-100 * error:.0f} % too small"
    )
    return figure


def numbers() -> dict[str, float]:
    return {
        "exact P(z > 800/28), an atom counted half": mid(FAR),
        "saddlepoint, relative error": SIDE.sf(FAR) / mid(FAR) - 1,
        "normal, relative error": SIDE.normal().sf(FAR) / mid(FAR) - 1,
    }
