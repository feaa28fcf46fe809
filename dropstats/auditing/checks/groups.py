"""Test `groups`: the neurons of a group are kept or dropped together."""

from typing import TYPE_CHECKING

import numpy as np

from dropstats.auditing import words
from dropstats.auditing.finding import Case, Check, Finding, not_applicable
from dropstats.laws import Channels

if TYPE_CHECKING:
    from dropstats.laws import Law

# Masks are compared with their groups' bits in blocks of about this many neurons (bytes).
_BLOCK = 2**24


def measure(case: Case) -> Finding:
    """Null: in each group all neurons are kept, or all are dropped. Exact.

    A single violation is a failure, so there is no p-value. Catches masks drawn for each element, groups along another
    axis, and groups cut in two. Needs a law that drops neurons in groups.
    """
    if case.whole is None:
        return not_applicable("the law drops single neurons")
    recording, group_of = case.whole.seen.recording, case.whole.law.group_of
    assert group_of is not None
    groups = case.n
    differing, first = 0, None
    step = max(1, _BLOCK // recording.n)
    for start in range(0, recording.trials, step):
        stop = min(start + step, recording.trials)
        bits = case.seen.recording.masks(start, stop)
        wrong = (recording.masks(start, stop) != bits[:, group_of]) & recording.known_masks(start, stop)
        if not wrong.any():
            continue
        call, neuron = np.nonzero(wrong)
        places = np.unique(call.astype(np.int64) * groups + group_of[neuron])
        differing += places.size
        first = (start + int(places[0]) // groups, int(places[0]) % groups) if first is None else first
    numbers = {"judged": case.trials * groups, "first": first}
    return Finding(None, float(differing), 0.0, broken=bool(differing), numbers=numbers)


def fitting(case: Case) -> "Law | None":
    """Return the law of the groups that masks drop as one; None where there are none, or rates differ."""
    seen, p = case.seen, case.law.rate
    if p is None or seen.recording.known is not None or not 0 < seen.rate < 1:
        return None
    kind, size = seen.together
    if kind == "neighbours" and case.n % size == 0:
        return Channels(case.n // size, size, p)
    if kind == "stride" and case.n % size == 0:
        return Channels.locked(case.n // size, size, p)
    return Channels(1, case.n, p) if kind == "all" else None


def explain(finding: Finding, case: Case, failed: bool) -> str:
    """Say which groups differ inside, and how."""
    whole, judged = case.whole, finding["judged"]
    assert whole is not None
    if not failed:
        return f"all neurons of a group agree, in each of {judged:,} groups"
    call, group = finding["first"]
    members = np.flatnonzero(whole.law.group_of == group)
    recording = whole.seen.recording
    known = recording.known_masks(call, call + 1)[0, members]
    dropped = int((~recording.masks(call, call + 1)[0, members] & known).sum())
    differing = int(finding.observed or 0)
    text = (
        f"groups were declared, but neurons inside them differ: in call {call} group {group} drops {dropped} of its "
        f"{int(known.sum())} neurons ({differing:,} of {judged:,} groups differ inside)"
    )
    other = fitting(whole)
    if other is not None:
        return f"{text}; {words.together(whole)} instead, as under {other!r}"
    return f"{text}; they look dropped one by one, as under Layer(n, p)" if differing > judged / 2 else text


CHECK = Check(
    "groups",
    measure,
    explain,
    about="whether the neurons of a group are dropped or kept together",
    quantity="groups whose neurons differ",
)
