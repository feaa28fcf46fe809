"""
Over the steps
==============

A training run: how many times in a row a neuron is dropped, and how many masks are new.

**What to see.** Above: the longest run of drops of a neuron grows with the logarithm of the steps. Below: with few
neurons or a small p, masks repeat, so dropout does not train "a new network at each step". With 64 neurons at p = 0.5
it does.
"""

from functools import cache

import numpy as np

import dropstats as ds
from dropstats import plots
from dropstats.plots import Figure

STEPS = np.unique(np.geomspace(10, 1e6, 26).astype(int)).tolist()
RUNS = {(n, p): [ds.TrainingRun(ds.Layer(n, p), t) for t in STEPS] for n, p in ((64, 0.5), (64, 0.1), (32, 0.1))}
FEW = (30, 100, 300, 1000)


@cache
def simulated(steps: int) -> tuple[float, float]:
    """Means over 100 runs: the longest run of drops of a neuron at p = 0.5, the share of new masks of 32@.1."""
    longest, new = [], []
    for seed in range(100):
        half, tenth = ds.Layer(8, 0.5).sample(steps, rng=seed), ds.Layer(32, 0.1).sample(steps, rng=seed)
        longest += [max(map(len, "".join("01"[bit] for bit in column).split("1"))) for column in half.T.tolist()]
        new.append(np.unique(np.packbits(tenth, axis=1), axis=0).shape[0] / steps)
    return float(np.mean(longest)), float(np.mean(new))


def figure() -> Figure:
    figure = Figure(figsize=(8, 7))
    upper, lower = figure.subplots(2, 1, sharex=True)
    one = [run.longest_run() for run in RUNS[64, 0.5]]
    upper.semilogx(STEPS, [law.mean() for law in one], color=plots.EXACT, label="a neuron: mean, 95 %")
    upper.fill_between(STEPS, *np.transpose([law.interval(0.95) for law in one]), color=plots.EXACT, alpha=0.2)
    upper.semilogx(
        STEPS, [run.longest_run_of_any().mean() for run in RUNS[64, 0.5]], "k--", label="the longest of 64 neurons"
    )
    for (n, p), line in zip(RUNS, ("-", "--", ":"), strict=True):
        share = [run.expected_distinct / run.steps for run in RUNS[n, p]]
        lower.semilogx(STEPS, share, line, color="black" if p == 0.5 else plots.EXACT, label=f"{n} neurons, p = {p}")
    for ax, seen in zip((upper, lower), np.transpose([simulated(steps) for steps in FEW]), strict=True):
        ax.semilogx(FEW, seen, "o", color=plots.SIMULATED, markersize=6, label="simulated")
    upper.set(ylabel="longest run of drops, p = 0.5", ylim=(0, 30))
    lower.set(xlabel="steps", ylabel="distinct subnetworks / steps", ylim=(0, 1.05))
    plots.headline(upper, f"The longest run of drops of a neuron in a million steps: {one[-1].mean():.0f} on average")
    plots.headline(lower, f"32 neurons at p = 0.1: {100 - 100 * share[-1]:.0f} % of a million masks repeat others")
    return figure


def numbers() -> dict[str, float]:
    half = RUNS[64, 0.5][-1]
    result = {"longest run of drops, p = 0.5, 10^6 steps: mean": half.longest_run().mean()}
    result |= {"of the worst of 64": half.longest_run_of_any().mean(), "P(20 or more)": half.longest_run().sf(19)}
    return result | {"distinct subnetworks of 64 at 0.1 in 10^6 steps": RUNS[64, 0.1][-1].expected_distinct}
