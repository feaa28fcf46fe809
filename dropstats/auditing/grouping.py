"""Laws of groups: neurons must agree inside a group; one bit a group is then judged like a layer."""

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dropstats.auditing import wording
from dropstats.auditing.evidence import Evidence, uniform_rate
from dropstats.auditing.report import Result
from dropstats.laws import Channels, Law

if TYPE_CHECKING:
    from dropstats.recording import Recording

Ints = NDArray[np.int64]

# Masks are reduced in blocks of about this many neurons (bytes).
_BLOCK = 2**24

# The words of a layer's findings, and those of the same finding on groups.
_WORDS = (
    (r"groups of (\d+) neighbours", r"groups of \1 neighbouring channels"),
    (r"positions apart", "apart"),
    (r"NaN inputs", "groups of NaN inputs"),
    (r"\b(neurons|positions|elements)\b", "groups"),
    (r"\b(neuron|position|element)\b", "group"),
)


def grouped(law: Law) -> bool:
    """Return whether a law drops groups of several neurons as one."""
    return isinstance(law, Channels) and law.size > 1


@dataclass(frozen=True)
class Split:
    """Groups whose neurons differ: how many, and the first of them."""

    count: int = 0
    call: int = 0
    group: int = 0
    dropped: int = 0
    known: int = 0


def reduced(recording: "Recording", law: Channels) -> tuple["Recording", Split]:
    """Return the recording with one bit a group, that of its first neuron known, and where groups differ inside."""
    order = np.argsort(law.group(np.arange(law.n)), kind="stable")
    groups, packed, known = law.groups.n, [], []
    split = Split()
    step = max(1, _BLOCK // law.n)
    for start in range(0, recording.trials, step):
        stop = min(start + step, recording.trials)
        shape = (stop - start, groups, law.size)
        kept = recording.masks(start, stop)[:, order].reshape(shape)
        sure = recording.known_masks(start, stop)[:, order].reshape(shape) if recording.known is not None else None
        split = _split(split, start, kept, sure)
        first = kept[:, :, 0]
        if sure is not None:
            first = np.take_along_axis(kept, sure.argmax(axis=2)[:, :, None], axis=2)[:, :, 0]
            known.append(np.packbits(sure.any(axis=2), axis=1))
        packed.append(np.packbits(first, axis=1))
    part = replace(
        recording,
        n=groups,
        shape=(groups,),
        packed=np.concatenate(packed),
        known=np.concatenate(known) if known else None,
        # NaN inputs of one group become 0 together: as many as there are groups of them at least
        nan_inputs=-(-recording.nan_inputs // law.size),
    )
    return part if part.known is None or part.judged < part.trials * part.n else replace(part, known=None), split


def _split(before: Split, start: int, kept: NDArray[np.bool_], sure: NDArray[np.bool_] | None) -> Split:
    """Count the groups of a block of calls whose neurons differ."""
    if sure is None:
        alike = (kept == kept[:, :, :1]).all(axis=2)
    else:
        alike = ~((kept & sure).any(axis=2) & (~kept & sure).any(axis=2))
    differ = np.argwhere(~alike)
    if not len(differ) or before.count:
        return replace(before, count=before.count + len(differ))
    call, group = map(int, differ[0])
    inside = np.ones(kept.shape[2], bool) if sure is None else sure[call, group]
    return Split(len(differ), start + call, group, int((~kept[call, group] & inside).sum()), int(inside.sum()))


def agreement(seen: Evidence, law: Channels, split: Split) -> Result:
    """Null: all neurons of a group are kept, or all are dropped. Exact.

    A failure is certain: there is no p-value. Catches masks drawn by element, groups along another axis, a group
    cut in two.
    """
    judged = seen.trials * law.groups.n
    if not split.count:
        message = f"all neurons of a group agree, in {judged:,} groups of {law.size}"
        return Result("groups", "pass", None, None, 0.0, 0.0, None, message)
    message = (
        f"groups were declared, but neurons inside them differ: in call {split.call} group {split.group} drops "
        f"{split.dropped} of its {split.known} neurons ({split.count:,} of {judged:,} groups differ inside)"
    )
    other = fitting(seen, law) if seen.recording.known is None else None
    if other is not None:
        message += f"; {wording.groups(seen)} instead, as under {other!r}"
    elif split.count > judged / 2:
        message += "; they look dropped one by one, as under Layer(n, p)"
    return Result("groups", "fail", None, None, float(split.count), 0.0, None, message)


def in_groups(result: Result) -> Result:
    """Return the finding of a reduced recording in words of groups."""
    message = result.message
    for pattern, words in _WORDS:
        message = re.sub(pattern, words, message)
    return replace(result, message=message)


def fitting(seen: Evidence, law: Law) -> Channels | None:
    """Return the law of the groups that masks drop as one; None where there are none, or rates differ."""
    p = uniform_rate(law)
    if p is None or seen.recording.known is not None or not 0 < seen.rate < 1:
        return None
    kind, size = seen.together
    if kind == "neighbours":
        return Channels(seen.n // size, size, p)
    if kind == "stride" and seen.n % size == 0:
        return Channels.locked(seen.n // size, size, p)
    return Channels(1, seen.n, p) if kind == "all" else None
