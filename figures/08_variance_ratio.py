"""
Variance ratio
==============

The input of a neuron behind a ReLU layer with inverted dropout: its variance in inference over its variance in
training.

**What to see.** The ratio is below 1 for every p > 0, so a batch normalisation behind dropout learns a variance that
inference does not have. The effect is larger for activations with a positive mean, as behind a ReLU, than for those of
mean 0.
"""

import math
from functools import cache

import numpy as np

import dropstats as ds
from dropstats import plots
from dropstats.plots import Figure

RATES = np.linspace(0, 0.95, 96)
SIMULATED = np.arange(1, 10) / 10
MEAN, VARIANCE = 1 / math.sqrt(2 * math.pi), 0.5 - 1 / (2 * math.pi)  # of relu(Z), Z standard normal


@cache
def simulated() -> np.ndarray:
    """Ratio of the two sample variances over 200,000 examples with a mask each, 64 inputs, random weights."""
    generator = np.random.default_rng(8)
    inputs, weights = np.maximum(generator.standard_normal((200_000, 64)), 0), generator.standard_normal(64)
    masks = [ds.Layer(64, p).sample(inputs.shape[0], rng=generator) for p in SIMULATED]
    trained = [np.var((inputs * kept / (1 - p)) @ weights) for p, kept in zip(SIMULATED, masks, strict=True)]
    return np.var(inputs @ weights) / np.array(trained)


def figure() -> Figure:
    figure = Figure()
    ax = figure.subplots()
    exact = ds.variance_shift(RATES, MEAN, VARIANCE)
    ax.plot(RATES, exact, color=plots.EXACT, label="behind relu(N(0, 1)), exact")
    ax.plot(SIMULATED, simulated(), "o", color=plots.SIMULATED, markersize=6, label="simulated, 200,000 masks")
    ax.plot(RATES, ds.variance_shift(RATES), "--", color=plots.SHADE, label="behind inputs of mean 0: 1 − p")
    ax.axhline(1, color="black", linewidth=0.8)
    ax.text(0.99, 0.985, "no shift: what a batch normalisation assumes", ha="right", va="top", fontsize=10)
    half = ds.variance_shift(0.5, MEAN, VARIANCE)
    ax.annotate(f"p = 0.5: {half:.3f}", (0.5, half), (0.25, 0.3), va="center", arrowprops={"arrowstyle": "-"})
    ax.set(xlim=(0, 1), ylim=(0, 1.05), xlabel="drop probability p", ylabel="variance, inference / training")
    plots.headline(ax, f"At p = 0.5 inference has {100 * half:.0f} % of the variance of training")
    return figure


def numbers() -> dict[str, float]:
    exact = ds.variance_shift(SIMULATED, MEAN, VARIANCE)
    return {
        "variance ratio behind a ReLU layer, p = 0.1": exact[0],
        "variance ratio behind a ReLU layer, p = 0.5": exact[4],
        "largest relative difference of the simulated ratio": np.abs(simulated() / exact - 1).max(),
    }
