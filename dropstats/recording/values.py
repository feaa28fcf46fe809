"""What kept ones became: the distinct values, how often each, and which neuron took which."""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropstats.recording import arrays

Bits = NDArray[np.bool_]
Floats = NDArray[np.float64]

# Distinct values that are counted; dropout makes one, a broken one a handful.
MAX_SCALES = 1000
# Distinct values that are told apart at all, where there are more.
MAX_DISTINCT = 2**16
# Distinct values of a piece that are looked for one by one in the array's library; beyond, the values move.
_QUICK = 4


class Scales:
    """Counts of the values at kept places, over pieces of outputs on ones."""

    def __init__(self) -> None:
        self._counts: Counter[float] = Counter()
        self._distinct: Floats = np.empty(0)
        self._other = self._infinite = 0
        # by the first column of a piece, from left to right
        self._taken: dict[int, _One | _Each] = {}

    def add(self, columns: slice, y: Any, kept: Bits) -> None:
        """Count a piece."""
        values, counts = _values(y, kept)
        self._infinite += int(counts[np.isinf(values)].sum())
        counted = np.isin(values, list(self._counts))
        counted[np.flatnonzero(~counted)[: MAX_SCALES - len(self._counts)]] = True
        for value, count in zip(values[counted].tolist(), counts[counted].tolist(), strict=True):
            self._counts[value] += count
        self._other += int(counts[~counted].sum())
        if self._other and self._distinct.size < MAX_DISTINCT:
            self._distinct = np.union1d(self._distinct, np.append(values, list(self._counts)))[:MAX_DISTINCT]
        before = self._taken.get(columns.start) or _One(0.0, kept.shape[1])
        self._taken[columns.start] = before.add(y, kept, values)

    def found(self) -> dict[str, Any]:
        """Return the fields of a Recording."""
        return {
            "scales": dict(self._counts.most_common()),
            "other_scales": self._other,
            "distinct_scales": max(len(self._counts), self._distinct.size),
            "infs": self._infinite,
            "neuron_scales": self._by_neuron(),
        }

    def _by_neuron(self) -> Floats | None:
        if len(self._counts) < 2:
            return None
        each = np.concatenate([one.each() for one in self._taken.values()])
        each.flags.writeable = False
        return each if (np.nan_to_num(each) != 0).any() else None


class _One:
    """What the neurons of a piece took, while that was one value: the value, and which neurons took it."""

    def __init__(self, value: float, width: int) -> None:
        self.value, self.width = value, width
        self.kept: NDArray[np.uint8] | None = np.zeros(-(-width // 8), np.uint8)  # packed; None: all

    def add(self, y: Any, kept: Bits, values: Floats) -> "_One | _Each":
        if values.size > 1 or (values.size and self.value not in (0.0, values[0])):
            return _Each(self.each()).add(y, kept, values)
        if values.size and self.kept is not None:
            self.value = float(values[0])
            self.kept |= np.packbits(kept.any(axis=0))
            if int(np.bitwise_count(self.kept).sum()) == self.width:
                self.kept = None
        return self

    def each(self) -> Floats:
        kept = np.ones(self.width) if self.kept is None else np.unpackbits(self.kept, count=self.width)
        return np.where(kept, self.value, 0.0)


class _Each:
    """What each neuron of a piece took: 0 nothing yet, NaN several values."""

    def __init__(self, took: Floats) -> None:
        self.took = took

    def add(self, y: Any, kept: Bits, values: Floats) -> "_Each":
        if np.isnan(self.took).all():
            return self
        numbers = arrays.floats(y)
        low = np.where(kept, numbers, np.inf).min(axis=0)
        now = np.where(low == np.where(kept, numbers, -np.inf).max(axis=0), low, np.nan)
        now = np.where(kept.any(axis=0), now, self.took)
        self.took = np.where((now == self.took) | (self.took == 0), now, np.nan)
        return self

    def each(self) -> Floats:
        return self.took


def of_part(whole: Any, part: Any, columns: Any) -> dict[str, Any]:
    """Return the fields that say the scales of a part of a recording, of some calls or columns; none if not known."""
    each = whole.neuron_scales
    if each is None and len(whole.scales) == 1 and sum(whole.scales.values()) == whole.judged - whole.dropped:
        each = np.broadcast_to(next(iter(whole.scales)), (whole.n,))
    if each is None:
        return {}
    each, kept = each[columns], part.neuron_trials() - part.neuron_drops()
    took = each[kept > 0]
    if not np.isfinite(took).all():
        return {}
    scales = {value: int(kept[each == value].sum()) for value in np.unique(took).tolist()}
    fields = {"scales": scales, "distinct_scales": len(scales), "neuron_scales": each if len(scales) > 1 else None}
    return {**fields, "dtype": whole.dtype, "scale_tolerance": whole.scale_tolerance}


def _values(y: Any, kept: Bits) -> tuple[Floats, NDArray[np.int64]]:
    """Return the distinct values at kept places and how often each, the first few without moving the others."""
    found: dict[float, int] = {}
    rest = kept
    for _ in range(_QUICK):
        at = int(rest.argmax()) if rest.size else 0
        if not rest.size or not rest.flat[at]:
            return np.array([*found]), np.array([*found.values()], np.int64)
        value = y[divmod(at, rest.shape[1])]
        same = arrays.host(y == value) & rest
        found[float(arrays.floats(value))] = int(np.count_nonzero(same))
        rest = rest & ~same
    values, counts = np.unique(arrays.floats(y)[rest], return_counts=True)
    return np.append([*found], values), np.append([*found.values()], counts)
