"""
Effective learning rate
=======================

Four definitions of the effective learning rate under inverted dropout: the mean step, the root mean square step, the
step of a kept neuron, and the rate at which direct dropout takes the same steps.

**What to see.** At p = 0.5 the four are 1, 1.41, 2 and 4 times the learning rate. So say which one you mean.
"""

import numpy as np

import dropstats as ds
from dropstats import plots
from dropstats.plots import Figure

RATES = np.linspace(0, 0.95, 96)
CURVES = (
    ("direct_equivalent", "same steps, direct dropout: 1/q²", "-.", plots.APPROXIMATE),
    ("kept_unit", "a kept neuron: 1/q", "-", plots.EXACT),
    ("rms_step", "root mean square: 1/√q", "--", plots.SIMULATED),
    ("mean_step", "mean over masks: 1", "-", "black"),
)


def figure() -> Figure:
    figure = Figure()
    ax = figure.subplots()
    rate = ds.effective_learning_rate(1.0, RATES)
    for name, label, line, colour in CURVES:
        ax.semilogy(RATES, getattr(rate, name), line, color=colour)
        y = getattr(ds.effective_learning_rate(1.0, 0.95), name)
        ax.text(0.96, y, label.replace(": ", ":\n"), color=colour, va="center", fontsize=10)
    half = ds.effective_learning_rate(1.0, 0.5)
    for name, *_ in CURVES:
        value = getattr(half, name)
        ax.plot(0.5, value, "o", color="black", fillstyle="none", markersize=6)
        ax.text(0.485, value * 1.06, f"{value:.3g}", ha="right", fontsize=10)
    ax.set(xlim=(0, 1.22), ylim=(0.7, 520), xticks=np.arange(0, 1.01, 0.2))
    ax.set(xlabel="drop probability p", ylabel="step, in units of lr × gradient")
    ax.set_title("The step of a kept neuron grows by 1/q, the mean step does not change", loc="left")
    return figure


def numbers() -> dict[str, float]:
    half = ds.effective_learning_rate(0.01, 0.5)
    return {f"lr = 0.01, p = 0.5: {name}": getattr(half, name) for name, *_ in CURVES}
