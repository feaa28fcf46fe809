"""How a recording shows itself: a line of Python, and a card in a notebook."""

from itertools import islice
from typing import Any

import numpy as np

from dropstats.recording import readers
from dropstats.rendering import cards

# Of recordings of more bytes the counts are those of the first masks.
_BYTES = 2**26


def line(recording: Any) -> str:
    """Return what a recording holds in a line."""
    said = [f"{name}={getattr(recording, name)!r}" for name in ("trials", "shape", "p", "source", "dropped", "judged")]
    if recording.scales is not None:
        first = [f"{value!r}: {count}" for value, count in islice(recording.scales.items(), 3)]
        said += ["scales={" + ", ".join(first) + (", ...}" if len(recording.scales) > 3 else "}")]
        said += [f"dtype={recording.dtype!r}"]
    said += [f"{name}={getattr(recording, name)}" for name in readers.COUNTS if getattr(recording, name)]
    return f"Recording({', '.join(said)})"


def card(recording: Any) -> str:
    """Return what a recording holds as a card in HTML."""
    trials, n, known = recording.trials, recording.n, recording.judged
    shape = f", of shape {recording.shape}" if len(recording.shape) > 1 else ""
    scales = [f"{value:.6g}" for value in islice(recording.scales or (), 3)]
    more = " and others" if len(recording.scales or ()) > 3 else ""
    values = f"{', '.join(scales)}{more}" + (f" ({recording.dtype})" if recording.dtype else "")
    rate = f"{recording.dropped / known:.6g}" if known else ""
    facts = [
        ("masks", f"{trials:,} of {n:,} neurons{shape}"),
        ("declared p", "" if recording.p is None else f"{recording.p:.6g}"),
        ("drop rate", rate + (f", of {known:,} of {trials * n:,} neurons" if known < trials * n else "")),
        ("kept ones become", values if scales else ""),
        ("source", recording.source),
    ]
    facts += [(name, f"{getattr(recording, name):,}") for name in readers.COUNTS if getattr(recording, name)]
    part = recording.calls(0, max(1, _BYTES // max(recording.packed.shape[1], 1)))
    panel = cards.of_counts(np.bincount(part.mask_drops())) if trials and n else None
    first = "" if part.trials == trials else f", the first {part.trials:,} of them"
    return cards.card("Recording", facts, panel, f"How many neurons the masks drop{first}")
