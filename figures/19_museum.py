"""
The museum
==========

Reported dropout bugs: the neurons that find each, and those that the project's own test of dropout draws.

**What to see.** Bugs of the mask as a whole (frozen, unscaled, copied) show within a thousand neurons; small errors of
the rate take a million. A cross left of its dot is a project whose own test draws too few neurons to find the bug, a
triangle at the edge one whose test draws no mask. Right of it, a cross says only that the size would do. Of projects
with hollow dots the own test is not known.
"""

import json
from functools import cache
from pathlib import Path

from dropstats import plots
from dropstats.plots import Figure

FOUND = Path(__file__).parents[1] / "docs" / "museum.json"
FEW, EDGE = 10_000, 50


@cache
def exhibits() -> list[tuple[str, dict]]:
    """Return what is kept of each report, the largest first."""
    found = json.loads(FOUND.read_text(encoding="utf-8"))
    return sorted(found.items(), key=lambda named: -named[1]["neurons"])


def figure() -> Figure:
    ax = (drawn := Figure(figsize=(11, 17), layout="constrained")).subplots()
    rows = [(row, one["neurons"], one["own test"]) for row, (_, one) in enumerate(exhibits())]
    known = [(row, needed, test or EDGE) for row, needed, test in rows if test is not None]
    at, needed, test = zip(*known, strict=True)
    ax.hlines(at, needed, test, color="0.75", linewidth=1, zorder=1)
    for label, chosen, face in (
        ("needed, 5 of 5 seeds", [one[:2] for one in known], plots.EXACT),
        ("needed; the project's own test is not known", [one[:2] for one in rows if one[2] is None], "white"),
    ):
        at, needed = zip(*chosen, strict=True)
        ax.plot(needed, at, "o", color=plots.EXACT, markersize=5.5, mfc=face, label=label)
    for label, marker, chosen in (
        ("drawn by the project's own test", "x", [(row, test) for row, _, test in rows if test]),
        ("its own test draws no mask", "<", [(row, EDGE) for row, _, test in rows if test == 0]),
    ):
        at, size = zip(*chosen, strict=True)
        ax.plot(size, at, marker, color=plots.SIMULATED, markersize=6, mew=1.5, label=label, clip_on=False)
    ax.axvline(FEW, color="0.7", linewidth=1, linestyle="--", zorder=0)
    ax.set_yticks(range(len(rows)), [f"{one['project']}: {name}" for name, one in exhibits()], fontsize=8)
    ax.set(xscale="log", xlabel="neurons looked at", ylabel="reported bug", ylim=(-1, len(rows)), xlim=(EDGE, None))
    ax.grid(False, axis="y")
    few = sum(needed <= FEW for _, needed, _ in rows)
    plots.headline(ax, f"{few} of {len(rows)} reported bugs show within {FEW:,} neurons")
    return drawn


def numbers() -> dict[str, float]:
    enough = [one["neurons"] <= one["own test"] for _, one in exhibits() if one["own test"] is not None]
    few, many = (sum(one["neurons"] <= limit for _, one in exhibits()) for limit in (FEW, 10**6))
    known = {"own test known": len(enough), "within the size of its own test": sum(enough)}
    return {"within 10,000 neurons": few, "within 1,000,000": many} | known
