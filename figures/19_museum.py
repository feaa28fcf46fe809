"""Reported dropout bugs: the neurons that find each, and those that the project's own test of dropout draws."""

import json
from functools import cache
from pathlib import Path

import numpy as np

from dropstats import plots
from dropstats.plots import Figure

FOUND = Path(__file__).parents[1] / "docs" / "museum.json"
FEW = 10_000


@cache
def exhibits() -> list[tuple[str, int, int | None]]:
    """Return each exhibit's label, its neurons and those of the project's own test, the most neurons first."""
    found = json.loads(FOUND.read_text(encoding="utf-8")).items()
    labels = [(f"{one['project']}: {name}", one["neurons"], one["own test"]) for name, one in found]
    return sorted(labels, key=lambda one: -one[1])


def figure() -> Figure:
    drawn = Figure(figsize=(11, 17), layout="constrained")
    ax = drawn.subplots()
    labels, needed, own = zip(*exhibits(), strict=True)
    rows = np.arange(len(labels))
    tested = [(row, size, test) for row, size, test in zip(rows, needed, own, strict=True) if test]
    for row, size, test in tested:
        ax.plot([size, test], [row, row], color="0.8", linewidth=1, zorder=1)
    ax.plot(needed, rows, "o", color=plots.EXACT, markersize=5, label="needed by dropstats, 5 of 5 seeds")
    tests = ([test for *_, test in tested], [row for row, *_ in tested])
    ax.plot(*tests, "x", color=plots.SIMULATED, markersize=5, label="drawn by the project's own test")
    ax.set_yticks(rows, labels, fontsize=7)
    ax.set(xscale="log", xlabel="neurons looked at", ylabel="reported bug", ylim=(-1, len(rows)))
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower left")
    few = sum(size <= FEW for size in needed)
    plots.headline(ax, f"{few} of {len(rows)} reported bugs show within {FEW:,} neurons")
    return drawn


def numbers() -> dict[str, float]:
    needed = np.array([size for _, size, _ in exhibits()])
    enough = [size <= test for _, size, test in exhibits() if test]
    return {
        "exhibits": needed.size,
        f"found within {FEW:,} neurons": int((needed <= FEW).sum()),
        "found within 1,000,000 neurons": int((needed <= 1_000_000).sum()),
        "exhibits of projects whose own test is known": len(enough),
        "found by no more neurons than that test draws": sum(enough),
    }
