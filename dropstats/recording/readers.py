"""What the values of masks and of dropout outputs say: which neurons were kept, and what else is seen."""

from collections import Counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate, formats
from dropstats.recording import arrays
from dropstats.recording.packing import Rows

Bits = NDArray[np.bool_]

# Distinct values of kept ones that are told apart; dropout makes one, a broken one a handful.
MAX_SCALES = 1000
# Distinct values of a piece that are looked for one by one in the array's library; beyond, the values move.
_QUICK_SCALES = 4
# Pairs (input, output) from which the scale is estimated where inputs are not ones.
_SAMPLE = 2**16


class Reader(Protocol):
    """Reads pieces of masks or outputs; sums up what else it saw."""

    def read(self, rows: slice, columns: slice, values: Any, inputs: Any = None) -> tuple[Bits, Bits]:
        """Return which neurons were kept, and of which it is known."""

    def found(self) -> dict[str, Any]:
        """Return the fields of a Recording that the values have filled."""


def read(blocks: arrays.Blocks, reader: Reader, p: float | None, source: str, inputs: Any = None) -> dict[str, Any]:
    """Return the fields of the Recording of blocks, packed piece by piece."""
    p = None if p is None else _validate.probability(p)
    given = Inputs(inputs, blocks.trials, blocks.shape)
    written = Rows(blocks.n, blocks.trials)
    for rows, columns, values in blocks.pieces():
        written.write(rows, columns, *reader.read(rows, columns, values, given.piece(rows, columns)))
    packed, known = written.read(blocks.trials)
    fields = {"trials": blocks.trials, "n": blocks.n, "shape": blocks.shape, "p": p, "packed": packed, "known": known}
    return {**fields, "source": source or arrays.origin(blocks.first), **reader.found()}


class Inputs:
    """What dropout was applied to: ones, one array for all calls, or an array for each."""

    def __init__(self, given: Any, trials: int, shape: tuple[int, ...]) -> None:
        self._given = given if given is None or arrays.listed(given) else arrays.array(given)
        if given is not None:
            self._check(trials, shape)

    def _check(self, trials: int, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless the inputs have the shape of the outputs or of one of them."""
        given = self._given
        if isinstance(given, list | tuple):
            shapes = {tuple(map(int, arrays.array(one).shape)) for one in given}
            if shapes == {shape} and len(given) == trials:
                return
            if len(shapes) > 1:
                raise ValueError(f"inputs must all have one shape, {shape}; got {sorted(shapes)}")
            given = self._given = np.asarray(given)
        got = tuple(map(int, given.shape))
        if got not in ((trials, *shape), shape):
            raise ValueError(f"inputs must have the outputs' shape {(trials, *shape)} or {shape}; got {got}")
        self._shared = got == shape

    def piece(self, rows: slice, columns: slice) -> Any:
        """Return the inputs of a piece of outputs, of as many rows or of one that serves all; None: ones."""
        if self._given is None:
            return None
        if not isinstance(self._given, list | tuple):
            return arrays.flat(self._given[None] if self._shared else self._given[rows])[:, columns]
        pieces = [arrays.flat(arrays.array(one)[None])[:, columns] for one in self._given[rows]]
        return pieces[0] if len(pieces) == 1 else np.concatenate([arrays.floats(piece) for piece in pieces])


def _all(shape: tuple[int, ...]) -> Bits:
    return np.broadcast_to(np.True_, shape)


def _count(bits: Bits) -> int:
    return int(np.count_nonzero(bits))


class MaskReader:
    """Reads masks: booleans, or 0 and 1."""

    def read(self, rows: slice, columns: slice, values: Any, inputs: Any = None) -> tuple[Bits, Bits]:
        """Return which neurons were kept; of all it is known."""
        if arrays.dtype(values) == "bool":  # which tensorflow does not compare with 0
            kept: Bits = arrays.host(values)
        else:
            kept = arrays.host(values != 0)
            wrong = arrays.host((values != 0) & (values != 1))  # NaN is wrong too
            if wrong.any():
                row, column = map(int, np.argwhere(wrong)[0])
                where = (rows.start + row, columns.start + column)
                number = float(arrays.floats(values[row, column]))
                raise ValueError(f"masks must hold 0 (dropped) and 1 (kept) only; got {number!r} at index {where}")
        return kept, _all(kept.shape)

    def found(self) -> dict[str, Any]:
        """Return nothing: masks carry no values."""
        return {}


class OutputReader:
    """Reads outputs of dropout on inputs of ones, or on given inputs."""

    def __init__(self) -> None:
        self._dtype = ""
        self._scales: Counter[float] = Counter()
        self._scale: float | None = None
        self._seen: Counter[str] = Counter()
        self._tolerance = 0.0

    def read(self, rows: slice, columns: slice, values: Any, inputs: Any = None) -> tuple[Bits, Bits]:
        """Return which neurons were kept, and of which it is known."""
        self._dtype = arrays.dtype(values)
        if inputs is None:
            return self._read_ones(values)
        if arrays.library(inputs) != arrays.library(values) or arrays.dtype(inputs) != self._dtype:
            inputs, values = arrays.floats(inputs), arrays.floats(values)
        with np.errstate(all="ignore"):  # infinite inputs, and products beyond the largest number
            return self._read_given(values, inputs)

    def found(self) -> dict[str, Any]:
        """Return the scales, the dtype and what broke a rule; nothing for boolean outputs."""
        if self._dtype == "bool":
            return {}
        return {
            "scales": dict(self._scales.most_common()),
            "scale_tolerance": self._tolerance,
            "dtype": self._dtype,
            **self._seen,
        }

    def _read_ones(self, y: Any) -> tuple[Bits, Bits]:
        if self._dtype == "bool":
            return arrays.host(y), _all(tuple(map(int, y.shape)))
        kept = arrays.host(y != 0)
        known = arrays.host(y == y)  # NaN alone is not itself: neither an exact 0 nor a scale
        self._seen["nans"] += known.size - _count(known)
        kept = kept & known
        self._count_scales(y, kept)
        return kept, known

    def _count_scales(self, y: Any, kept: Bits) -> None:
        """Count the distinct values at kept places, the first few without moving the others."""
        found: Counter[float] = Counter()
        rest = kept
        for _ in range(_QUICK_SCALES):
            at = int(rest.argmax()) if rest.size else 0
            if not rest.size or not rest.flat[at]:
                break
            value = y[divmod(at, rest.shape[1])]
            same = arrays.host(y == value) & rest
            found[float(arrays.floats(value))] += _count(same)
            rest = rest & ~same
        else:
            values, counts = np.unique(arrays.floats(y)[rest], return_counts=True)
            found.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        self._seen["infs"] += found[np.inf] + found[-np.inf]
        for number, count in found.items():
            if number in self._scales or len(self._scales) < MAX_SCALES:
                if count:
                    self._scales[number] += count
            else:
                self._seen["other_scales"] += count

    def _read_given(self, y: Any, x: Any) -> tuple[Bits, Bits]:
        nonzero = arrays.host(y != 0)

        def spread(bits: Any) -> Bits:
            return np.broadcast_to(arrays.host(bits), nonzero.shape)

        number, infinite = arrays.host(y == y), arrays.host(abs(y) == np.inf)  # NaN alone is not itself
        zero_input, number_input, infinite_input = spread(x == 0), spread(x == x), spread(abs(x) == np.inf)
        known = number & number_input & ~zero_input
        kept = nonzero & known
        self._seen["nonzero"] += _count(nonzero & zero_input & number)
        self._seen["nans"] += _count(~number & number_input)
        self._seen["infs"] += _count(infinite & number_input & ~infinite_input)
        self._seen["nan_inputs"] += _count(~number_input)
        self._seen["nan_inputs_dropped"] += _count(~number_input & ~nonzero)
        self._seen["unscaled"] += _count(kept & infinite_input & ~infinite)
        self._check_scale(y, x, kept & ~infinite & ~infinite_input)
        return kept, known

    def _check_scale(self, y: Any, x: Any, kept: Bits) -> None:
        """Count where kept outputs are scale * input within rounding, by the scale of the first of them."""
        if not kept.any():
            return
        dtype = self._dtype
        if self._scale is None:
            row = int(kept.any(axis=1).argmax())
            places = np.flatnonzero(kept[row])[:_SAMPLE]
            left, right = int(places[0]), int(places[-1]) + 1
            xs, ys = np.broadcast_arrays(
                arrays.floats(x[min(row, int(x.shape[0]) - 1), left:right]), arrays.floats(y[row, left:right])
            )
            chosen = kept[row, left:right]
            self._scale, self._tolerance = _scale(xs[chosen], ys[chosen], formats.resolution(dtype))
        wide_y, wide_x = arrays.wide(y), arrays.wide(x)
        # one rounding of the scale and one of the product, half a spacing each, at either side
        allowed = abs(wide_y) * (2 * formats.resolution(dtype)) + formats.smallest(dtype)
        right_ones = _count(arrays.host(abs(wide_y - wide_x * self._scale) <= allowed) & kept)
        self._scales[self._scale] += right_ones
        self._seen["unscaled"] += _count(kept) - right_ones


def _scale(x: NDArray[np.float64], y: NDArray[np.float64], resolution: float) -> tuple[float, float]:
    """Return the factor from inputs to kept outputs and its relative uncertainty."""
    large = np.abs(x) >= np.median(np.abs(x))  # away from subnormal numbers, whose products have few digits
    x, y = x[large], y[large]
    mantissas = np.unique(np.abs(np.frexp(x)[0]))
    middle = float(np.median(y / x))
    if mantissas.size == 1 and mantissas[0] == 0.5:  # powers of two: no product was rounded
        return middle, 0.0
    close = np.abs(y / x - middle) <= 2 * resolution * abs(middle)
    factor = float(np.sum(x[close] * y[close]) / np.sum(x[close] ** 2)) if close.any() else middle
    # A rounding error is uniform over a spacing, sd = resolution / sqrt(12), and independent for distinct
    # mantissas; four standard deviations of their mean, and never more than the largest error.
    # At least the rounding of these sums themselves.
    return factor, float(max(2.0**-50, min(resolution / 2, 4 * resolution / np.sqrt(12 * mantissas.size))))
