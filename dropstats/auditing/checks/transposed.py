"""Test `transposed`: swapping layer and step gives an independent mask."""

from collections.abc import Callable
from dataclasses import replace

from dropstats.auditing.checks.agreement import detects, explain_unjudged, of_pairs
from dropstats.auditing.finding import Check, Finding
from dropstats.auditing.streams import Streams, all_pairs, compare, grid_places

# Ways to make one seed of two numbers that mix up different pairs of them, and how they are said.
_SEEDS: tuple[tuple[str, Callable[[int, int], int]], ...] = (
    ("layer + step", lambda i, j: i + j),
    ("layer * step", lambda i, j: i * j),
    ("layer ^ step", lambda i, j: i ^ j),
    # of equal numbers the hashes cancel
    ("hash(layer) ^ hash(step)", lambda i, j: 0 if i == j else 1 + (min(i, j) << 64) + max(i, j)),
)


def measure(seen: Streams) -> Finding:
    """Null: the mask of layer i at step j is independent of that of layer j at step i. Exact, two-sided.

    The test is that of `agreement`, for streams with keys (layer, step). Catches keys that are symmetric in layer and
    step, such as the seed layer + step.
    """
    found = of_pairs(seen, list(seen.grid), len(seen.grid))
    same = [one for one in found.numbers.get("off", ()) if one.agree == one.size]
    return replace(found, numbers={**found.numbers, "same": same, "seed": _seed(seen) if same else ""})


def explain(finding: Finding, seen: Streams, failed: bool) -> str:
    """Say which masks agree, and which seed would make them."""
    if failed:
        off = finding["off"]
        same, seed = finding["same"], finding["seed"]
        a, b = (seen.keys[index] for index in (same or off)[0].pair)
        what = "are identical" if same else f"agree in {100 * off[0].rate:.4g}% of neurons"
        count = f" ({len(same or off):,} of {len(seen.grid):,} such pairs)"
        how = f", as with the seed {seed}" if seed else ": the key is symmetric in layer and step" if same else ""
        return f"masks of (layer, step) {a} and {b} {what}{count}{how}"
    if (unjudged := explain_unjudged(finding)) is not None:
        return unjudged
    which = "the transposed pair agrees as often as expected by chance"
    if len(seen.grid) > 1:
        which = f"{len(seen.grid):,} transposed pairs agree as often as expected by chance"
    return which + detects(finding)


def _seed(seen: Streams) -> str:
    """Say which seed of layer and step would make all the identical pairs, and no more, identical."""
    places = grid_places(seen.keys)
    if places is None:
        return ""
    pairs = all_pairs(len(places))[0]
    found = (compare(seen, pair) for pair in pairs)
    identical = {one.pair for one in found if one.agree == one.size}
    for said, mixed in _SEEDS:
        alike = {(a, b) for a, b in pairs if mixed(*places[a]) == mixed(*places[b])}
        if identical == alike:
            return said
    return ""


CHECK = Check(
    "transposed",
    measure,
    explain,
    decides=True,
    about="whether the mask of layer i at step j is independent of that of layer j at step i",
    quantity="fraction of neurons on which the most unusual pair agrees",
)
