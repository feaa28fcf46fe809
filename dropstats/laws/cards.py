"""The HTML card of a law in a notebook: its numbers and a small picture of the number of dropped neurons."""

from typing import Any

import numpy as np

from dropstats.rendering import cards

# The picture shows the counts outside of which this little lies on either side, in at most so many points.
_TAIL, _POINTS = 1e-5, 121


def card(law: Any) -> str:
    """Return a law of masks as a card in HTML."""
    n, rates = law.n, law.rate if law.rate is not None else law.rates
    p = f"{rates:.6g}" if np.ndim(rates) == 0 else f"{np.min(rates):.4g} to {np.max(rates):.4g}" if n else ""
    mean, spread = float(np.sum(rates) if np.ndim(rates) else n * rates), float(law.variance) ** 0.5
    facts = [
        ("neurons", f"{n:,}" + ("" if law.independent else ", not independent of each other")),
        ("drop probability", p),
        ("dropped in a mask", f"{mean:,.6g} on average, standard deviation {spread:,.4g}"),
    ]
    if not law.has_counts:
        return cards.card(repr(law), [*facts, ("99% interval", "the law of the count is not feasible for this size")])
    low, high = (int(end) for end in law.dropped.interval(0.99))
    facts.append(("99% interval", f"{max(low, 0):,} to {high:,} dropped"))
    panel = _picture(law.dropped)
    said = f"How many neurons {law!r} drops: {max(low, 0):,} to {high:,} in 99% of masks"
    return cards.card(repr(law), facts, panel, said)


def _picture(count: Any) -> dict[str, Any]:
    """Return the probabilities of a law of a count; of many counts the mean ones of neighbours."""
    step = getattr(count, "size", 1)  # whole groups are dropped
    first, last = (max(int(end), 0) // step for end in count.interval(1 - 2 * _TAIL))
    width = -(-(last - first + 1) // _POINTS)
    edges = step * np.arange(first, last + width + 1, width) - 0.5
    middle = (edges[:-1] + edges[1:]) / 2
    return {"counts": middle, "expected": np.diff(count.cdf(edges)) / width}
