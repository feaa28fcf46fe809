"""
Power
=====

The smallest error of p that a test can detect, against the number of neurons; the dots are the frameworks' own tests.

**What to see.** A test detects the errors of p that lie above the line at its number of neurons. The defect of
TensorFlow in bfloat16 (dashed) lies below the dots of all the frameworks' tests, so none of them can detect it.
"""

import numpy as np

import dropstats as ds
from dropstats import plots
from dropstats.plots import Figure

P = 0.1
# What bfloat16 uniforms make of p = 0.1: 13/128, as tensorflow 2.21 does.
WRONG = 13 / 128
# Neurons that the frameworks' own tests of dropout look at, and where the label stands (points, alignment).
TESTS = {
    "PyTorch: 1,000": (1_000, (9, 2), "left"),
    "Keras and JAX: 10,000": (10_000, (-9, -14), "right"),
    "TensorFlow: 12,000": (12_000, (9, 2), "left"),
    "Flax: 100,000": (100_000, (9, 2), "left"),
}


def figure() -> Figure:
    ax = Figure().subplots()
    sizes = np.unique(np.geomspace(100, 1e8, 400).astype(int))
    label = "exact test, power 0.9, false-alarm rate 0.01"
    ax.loglog(sizes, [ds.detectable_shift(P, n) for n in sizes], label=label)
    for label, (n, offset, side) in TESTS.items():
        shift = ds.detectable_shift(P, n)
        ax.plot(n, shift, "o", color="black", markersize=6)
        ax.annotate(label, (n, shift), offset, textcoords="offset points", ha=side)
    needed = ds.neurons_needed(P, WRONG - P)
    ax.axhline(WRONG - P, color="#D55E00", linestyle="--", linewidth=1.2)
    ax.text(
        130,
        0.93 * (WRONG - P),
        f"tensorflow 2.21 in bfloat16 drops {WRONG:.4f} for {P}:\ndetected with {needed:,} neurons",
        color="#A34700",
        va="top",
    )
    ax.plot(needed, WRONG - P, "o", color="#D55E00", markersize=6)
    ax.set(xlabel="neurons in the test", ylabel=f"smallest error of p = {P} that is detected", xlim=(100, 1e8))
    plots.headline(ax, "The frameworks' own tests are too small to detect a rate that is 1.6 % off")
    return ax.figure


def numbers() -> dict[str, float]:
    shown = {f"smallest error of p = {P}, {label}": ds.detectable_shift(P, n) for label, (n, _, _) in TESTS.items()}
    return shown | {f"neurons that show {WRONG} for {P}": ds.neurons_needed(P, WRONG - P)}
