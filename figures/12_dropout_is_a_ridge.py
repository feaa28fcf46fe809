"""
Dropout is a ridge
==================

The norm of the weights of a linear neuron trained by SGD: without dropout, with dropout, and with L2 or max-norm as
well.

**What to see.** Without dropout the norm converges to that of the least-squares solution. With dropout it converges to
that of the exact ridge solution (dashed), which is less than half as large. So dropout alone keeps the weights of a
linear neuron small.
"""

from functools import cache

import numpy as np

import dropstats as ds
from dropstats import plots

STEPS = 60_000
CASES = {  # colour; p, strength of L2, largest norm
    "no dropout": ("black", 0.0, 0.0, np.inf),
    "dropout, p = 0.5": (plots.EXACT, 0.5, 0.0, np.inf),
    "dropout, max-norm": (plots.SIMULATED, 0.5, 0.0, 1.05),
    "dropout, L2": (plots.APPROXIMATE, 0.5, 1.0, np.inf),
}
INPUTS = np.random.default_rng(12).standard_normal((200, 20))
TARGETS = INPUTS @ np.random.default_rng(13).standard_normal(20) / 2 + np.random.default_rng(14).normal(0, 0.5, 200)


@cache
def norms(p: float, decay: float, limit: float) -> tuple[np.ndarray, float]:
    """Norms over SGD, one example a step at rates 0.002/(1 + step/5000), from 0; and the exact norm."""
    chosen = np.random.default_rng(120).integers(200, size=STEPS)
    scaled = INPUTS[chosen] * ds.Layer(20, p).sample(STEPS, rng=121) / (1 - p)
    w, seen = np.zeros(20), []
    for step, (x, y) in enumerate(zip(scaled, TARGETS[chosen], strict=True)):
        w = w - 0.002 / (1 + step / 5000) * ((x @ w - y) * x + decay * w)
        seen.append(min(np.sqrt(w @ w), limit))
        w *= seen[-1] / max(np.sqrt(w @ w), 1e-300)
    exact = np.linalg.norm(ds.ridge_solution(INPUTS, TARGETS, ds.Layer(20, p), 200 * decay))  # a sum of 200 losses
    return np.array(seen[99::100]), min(float(exact), limit)


def figure() -> plots.Figure:
    ax = plots.Figure().subplots()
    for label, (colour, *case) in CASES.items():
        seen, exact = norms(*case)
        ax.plot(range(100, STEPS + 1, 100), seen, color=colour, linewidth=1)
        ax.axhline(exact, 0, 1 / 1.37, color=colour, linestyle="--", linewidth=1.4)
        ax.text(STEPS * 1.02, exact, f"{label}: {exact:.3f}", color=colour, va="center", fontsize=10)
    ax.set(xlim=(0, STEPS * 1.37), ylim=(0, None), xlabel="steps of SGD (dashed: exact)", ylabel="norm of the weights")
    ax.set_xticks(range(0, STEPS + 1, 20_000), [f"{tick:,}" for tick in range(0, STEPS + 1, 20_000)])
    ax.set_title("Dropout alone keeps a linear neuron's weights small: it is a ridge penalty", loc="left")
    return ax.figure


def numbers() -> dict[str, float]:
    seen = {f"{label}: norm at the end": norms(*case)[0][-100:].mean() for label, (_, *case) in CASES.items()}
    return seen | {f"{label}: exact": norms(*case)[1] for label, (_, *case) in CASES.items()}
