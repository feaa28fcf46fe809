"""
The monitor
===========

A correct run, and one in which 2 % of the neurons repeat the mask before, both tested after every step.

**What to see.** Left: for correct masks the evidence stays below the alarm at every step. Right: the repeated neurons
raise an alarm of the check `lags` after 65 steps.
"""

from functools import cache

import numpy as np

import dropstats as ds
from dropstats.plots import Figure

LAW = ds.Layer(1024, 0.1)
STEPS, CARRIED = 400, 0.02


@cache
def monitor(carried: float) -> ds.Monitor:
    """Watch masks of which this share of neurons keeps the state of the step before."""
    rng = np.random.default_rng(5)
    watching, before = ds.Monitor(LAW), LAW.sample(1, rng=rng)[0]
    for fresh in LAW.sample(STEPS, rng=rng):
        before = np.where(rng.random(LAW.n) < carried, before, fresh)
        watching.update(before)
    return watching


def figure() -> Figure:
    drawn = Figure(figsize=(11, 5), layout="constrained")
    left, right = drawn.subplots(1, 2)
    monitor(0.0).plot(left)
    monitor(CARRIED).plot(right)
    left.set_title(f"Independent masks: no alarm in {STEPS} steps", loc="left")
    right.set_title(f"2 % of neurons repeated: alarm at step {monitor(CARRIED).alarm.step}", loc="left")
    right.get_legend().remove()
    return drawn


def numbers() -> dict[str, float]:
    healthy, failing = monitor(0.0), monitor(CARRIED)
    low, high = healthy.rate_interval()
    return {
        "healthy run: evidence at the end, to 1": np.exp(healthy.log_e),
        "healthy run: rate at least": low,
        "healthy run: rate at most": high,
        "failing run: step of the alarm": failing.alarm.step,
        "failing run: log evidence at the end": failing.log_e,
    }
