"""
The museum
==========

Reported dropout bugs: the neurons that find each, and those that the project's own test of dropout draws.

**What to see.** Bugs of the mask as a whole (frozen, unscaled, copied) show within a thousand neurons; small errors of
the rate take a million. A cross left of its dot is a project whose own test draws too few neurons to find the bug.
"""

import json
from functools import cache
from pathlib import Path

from dropstats import plots
from dropstats.plots import Figure

FOUND = Path(__file__).parents[1] / "docs" / "museum.json"
FEW = 10_000


@cache
def exhibits() -> list[tuple[str, dict]]:
    """Return what is kept of each report, not again of those that are shown in whole models too, the largest first."""
    found = json.loads(FOUND.read_text(encoding="utf-8"))
    shown = [(name, one) for name, one in found.items() if one["call"] != "audit_model"]
    return sorted(shown, key=lambda named: -named[1]["neurons"])


def figure() -> Figure:
    ax = (drawn := Figure(figsize=(11, 16), layout="constrained")).subplots()
    needed = [one["neurons"] for _, one in exhibits()]
    for row, (_, one) in enumerate(exhibits()):
        if test := one["own test"]:
            side = 1 if test > one["neurons"] else -1
            ax.plot([one["neurons"], test], [row, row], color="0.8", linewidth=1, zorder=1)
            align = {"va": "center", "ha": "left" if side > 0 else "right"}
            ax.text(test * 1.3**side, row, one["project"], fontsize=7, color="0.4", **align)
    tests = [(one["own test"], row) for row, (_, one) in enumerate(exhibits()) if one["own test"]]
    ax.plot(needed, range(len(needed)), "o", color=plots.EXACT, markersize=5, label="needed, 5 of 5 seeds")
    ax.plot(
        *zip(*tests, strict=True), "x", color=plots.SIMULATED, markersize=5, label="drawn by the project's own test"
    )
    ax.set_yticks(range(len(needed)), [name for name, _ in exhibits()], fontsize=8)
    ax.set(xscale="log", xlabel="neurons looked at", ylabel="reported bug", ylim=(-1, len(needed)))
    ax.grid(False, axis="y")
    few = sum(size <= FEW for size in needed)
    plots.headline(ax, f"{few} of {len(needed)} reported bugs show within {FEW:,} neurons")
    return drawn


def numbers() -> dict[str, float]:
    needed = [one["neurons"] for _, one in exhibits()]
    enough = [one["neurons"] <= one["own test"] for _, one in exhibits() if one["own test"]]
    few, many = (sum(size <= limit for size in needed) for limit in (FEW, 10**6))
    return {"within 10,000 neurons": few, "within 1,000,000": many, "within the size of its own test": sum(enough)}
