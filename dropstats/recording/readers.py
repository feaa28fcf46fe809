"""What the values of masks and of dropout outputs say: which neurons were kept, and what else is seen."""

import math
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate, formats
from dropstats.recording import arrays, moved
from dropstats.recording.factor import Factor
from dropstats.recording.inputs import InputBins, Inputs, binned, edges
from dropstats.recording.packing import Rows
from dropstats.recording.values import Scales

Bits = NDArray[np.bool_]

# Counts of values that broke a rule, or were too many; and all fields that values fill, where nothing is known of them.
COUNTS = ("other_scales", "unscaled", "nonzero", "nans", "nans_of_infs", "infs", "nan_inputs", "nan_inputs_dropped")
NO_VALUES: dict[str, Any] = {
    **dict.fromkeys(COUNTS, 0),
    **dict.fromkeys(("scales", "dtype", "neuron_scales", "input_bins", "moved")),
    "scale_tolerance": 0.0,
    "distinct_scales": 0,
}
_WORDS = "; give 16-bit words of bfloat16 or float16 numbers in that dtype, as by array.view('float16')"
# What arrays of integers that are no masks often are, by dtype.
_MISREAD = {
    "uint16": _WORDS,
    "int16": _WORDS,
    "uint8": "; unpack packed bits (numpy.unpackbits), and compare masks of 0 and 255 with 0 (array != 0)",
}
# Pairs (input, output) from which the scale is estimated where inputs are not ones.
_SAMPLE = 2**16


def read(
    blocks: arrays.Blocks, reader: "MaskReader | OutputReader", p: float | None, source: str, inputs: Any = None
) -> dict[str, Any]:
    """Return the fields of the Recording of blocks, packed piece by piece."""
    p = None if p is None else _validate.probability(p)
    given = Inputs(inputs, blocks.trials, blocks.shape)
    written = Rows(blocks.n, blocks.trials)
    for rows, columns, values in blocks.pieces():
        written.write(rows, columns, *reader.read(rows, columns, values, given.piece(rows, columns)))
    packed, known = written.read(blocks.trials)
    fields = {"trials": blocks.trials, "n": blocks.n, "shape": blocks.shape, "p": p, "packed": packed, "known": known}
    return {**fields, "source": source or arrays.origin(blocks.first), **reader.found(blocks.shape)}


def _all(shape: tuple[int, ...]) -> Bits:
    return np.broadcast_to(np.True_, shape)


def _count(bits: Bits) -> int:
    return int(np.count_nonzero(bits))


class MaskReader:
    """Reads masks: booleans, or 0 and 1."""

    def read(self, rows: slice, columns: slice, values: Any, inputs: Any = None) -> tuple[Bits, Bits]:
        """Return which neurons were kept; of all it is known."""
        values = arrays.wide(values)
        if arrays.dtype(values) == "bool":  # which tensorflow does not compare with 0
            kept: Bits = arrays.host(values)
        else:
            kept = arrays.host(values != 0)
            wrong = arrays.host((values != 0) & (values != 1))  # NaN is wrong too
            if wrong.any():
                row, column = map(int, np.argwhere(wrong)[0])
                where = (rows.start + row, columns.start + column)
                number = float(arrays.floats(values[row, column]))
                got = f"got {number!r} at index {where}{_MISREAD.get(arrays.dtype(values), '')}"
                raise ValueError(f"masks must hold 0 (dropped) and 1 (kept) only; {got}")
        return kept, _all(kept.shape)

    def found(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return nothing: masks carry no values."""
        return {}


class OutputReader:
    """Reads outputs of dropout on inputs of ones, or on given inputs."""

    def __init__(self) -> None:
        self._dtype = ""
        self._scales = Scales()
        self._factor: Factor | None = None
        self._scaled = 0
        self._bins: InputBins | None = None
        self._seen: Counter[str] = Counter()
        # inputs and outputs of the first call in which kept values are not the scale times their own input
        self._odd: tuple[Any, Any] | None = None

    def read(self, rows: slice, columns: slice, values: Any, inputs: Any = None) -> tuple[Bits, Bits]:
        """Return which neurons were kept, and of which it is known."""
        dtype = arrays.dtype(values)
        if dtype == "bool" and inputs is None:
            self._dtype = self._dtype or dtype
            return arrays.host(values), _all(tuple(map(int, values.shape)))
        # of several dtypes the coarsest, which says how far rounding may go
        before, self._dtype = self._dtype, max(self._dtype or dtype, dtype, key=formats.resolution)
        values = arrays.wide(values)
        if inputs is None:
            return self._read_ones(columns, values)
        if self._factor is None or self._dtype != before:
            # an input of more digits may have been rounded to the outputs' dtype before it was multiplied, by half a
            # spacing at the input, which can be a whole one at the output
            self._factor = Factor(self._dtype, 3 if _finer(arrays.dtype(inputs), self._dtype) else 1)
        inputs = arrays.wide(inputs)
        if arrays.library(inputs) != arrays.library(values) or arrays.dtype(inputs) != arrays.dtype(values):
            inputs, values = arrays.floats(inputs), arrays.floats(values)
        with np.errstate(all="ignore"):  # infinite inputs, and products beyond the largest number
            return self._read_given(columns, values, inputs, self._factor)

    def found(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return the scales, the dtype and what broke a rule; nothing for boolean outputs."""
        if self._dtype == "bool":
            return {}
        if self._factor is None:
            return {"dtype": self._dtype, **self._scales.found(), **self._seen}
        factor, tolerance = self._factor.value()
        whole = self._odd is not None and self._odd[0].size == math.prod(shape)
        several = self._bins is not None and np.count_nonzero(self._bins.known) > 1
        return {
            "dtype": self._dtype,
            "scales": {factor: self._scaled} if self._scaled else {},
            "scale_tolerance": tolerance,
            "distinct_scales": int(self._scaled > 0),
            "input_bins": self._bins if several else None,
            "moved": moved.order(*self._odd, shape, self._dtype) if self._odd and whole else None,
            **self._seen,
        }

    def _read_ones(self, columns: slice, y: Any) -> tuple[Bits, Bits]:
        kept = arrays.host(y != 0)
        known = arrays.host(y == y)  # NaN alone is not itself: neither an exact 0 nor a scale
        self._seen["nans"] += known.size - _count(known)
        kept = kept & known
        self._scales.add(columns, y, kept)
        return kept, known

    def _read_given(self, columns: slice, y: Any, x: Any, factor: Factor) -> tuple[Bits, Bits]:
        nonzero = arrays.host(y != 0)

        def spread(bits: Any) -> Bits:
            return np.broadcast_to(arrays.host(bits), nonzero.shape)

        number, infinite = arrays.host(y == y), arrays.host(abs(y) == np.inf)  # NaN alone is not itself
        zero_input, number_input, infinite_input = spread(x == 0), spread(x == x), spread(abs(x) == np.inf)
        known = number & number_input & ~zero_input
        kept = nonzero & known
        self._seen["nonzero"] += _count(nonzero & zero_input & number)
        self._seen["nans"] += _count(~number & number_input)
        self._seen["nans_of_infs"] += _count(~number & infinite_input)
        self._seen["infs"] += _count(infinite & number_input & ~infinite_input)
        self._seen["nan_inputs"] += _count(~number_input)
        self._seen["nan_inputs_dropped"] += _count(~number_input & ~nonzero)
        self._seen["unscaled"] += _count(kept & infinite_input & ~infinite)
        finite = kept & ~infinite & ~infinite_input
        right = self._check_scale(y, x, finite, factor)
        if self._odd is None and columns.start == 0 and columns.stop <= moved.LARGEST and not right.all():
            row = int((~right).any(axis=1).argmax())
            self._odd = _row(x, row), np.where(finite[row], _row(y, row), 0)
        self._bin(x, kept, known)
        return kept, known

    def _check_scale(self, y: Any, x: Any, kept: Bits, factor: Factor) -> Bits:
        """Count where kept outputs are scale * input within rounding; return where they are, or nothing was kept."""
        if not kept.any():
            return ~kept
        if factor.pairs < _SAMPLE:
            factor.add(*_pairs(y, x, kept, _SAMPLE - factor.pairs))
        scale, tolerance = factor.value()
        # the rounding of the product, that of an input given in more digits, and those of what is formed here
        wide, least = formats.resolution(arrays.dtype(y)), formats.smallest(self._dtype) * (1 + abs(scale))
        allowed = abs(y) * (formats.resolution(self._dtype) + wide + tolerance) + least
        right = arrays.host(abs(y - x * scale) <= allowed) & kept
        self._scaled += _count(right)
        self._seen["unscaled"] += _count(kept) - _count(right)
        return right | ~kept

    def _bin(self, x: Any, kept: Bits, known: Bits) -> None:
        """Count by the value of the input; the first call says where the bins are."""
        values = arrays.host(x)
        at = edges(values[0][known[0]]) if self._bins is None else self._bins.edges
        found = binned(values, kept, known, at)
        self._bins = found if self._bins is None else self._bins + found


def _row(values: Any, row: int) -> NDArray[np.float64]:
    """Return a row of values, or the one that serves all."""
    return np.array(arrays.floats(values[min(row, int(values.shape[0]) - 1)]))


def _finer(dtype: str, other: str) -> bool:
    return formats.resolution(dtype) < formats.resolution(other)


def _pairs(y: Any, x: Any, kept: Bits, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return some of a piece's inputs and kept outputs, from the first kept one on, at most about `count`."""
    row = int(kept.any(axis=1).argmax())
    columns = slice(int(kept[row].argmax()), kept.shape[1])
    columns = slice(columns.start, min(columns.stop, columns.start + count))
    rows = slice(row, row + max(1, count // (columns.stop - columns.start)))
    chosen = kept[rows, columns]
    shared = int(x.shape[0]) == 1
    xs = np.broadcast_to(arrays.floats(x[0:1] if shared else x[rows])[:, columns], chosen.shape)
    return xs[chosen], arrays.floats(y[rows, columns])[chosen]
