"""The law of the number of cells covered by random squares on a grid, by a transfer matrix over rows.

Going down the rows, what is above matters only through how many more rows each column stays covered. The states are
these numbers, one a column; seeds are added one place at a time, so that each state has two successors, and states
that agree are merged. Every step adds positive terms.

Source: R. P. Stanley (2011), Enumerative Combinatorics, vol. 1, 2nd ed., Cambridge University Press, section 4.7
(transfer-matrix method).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dropstats import _progress

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

# Each place for a seed handles a table of states times counts, twice, at 5-10 ns an entry: all in all at most 40 s, and
# 1 GB of tables. Feasible so are maps of 14 x 14 with any block (measured: blocks of 7 take 6 s, of 5 take 9-18 s, of
# 3 take 30 s), 12 x 12 (1-2 s), and any height up to widths of 8 (56 x 8, blocks of 3: 0.2 s); not feasible are 16 x 16
# with blocks of 7, or 28 x 28.
_MAX_WORK = 5e9
_MAX_TABLE = 6e7
# Where the smallest product of probabilities may be below the range of doubles, their logs are used.
_SMALLEST_LOG = -690.0


@dataclass(frozen=True)
class _Grid:
    """A map, and where squares begin: their first rows, and the columns of the map that they span."""

    height: int
    width: int
    block: int
    margin: tuple[int, int]

    @property
    def rows(self) -> range:
        """First rows of squares, below 0 before the map."""
        return range(-self.margin[0], self.height + self.margin[1] - self.block + 1)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First column and the one after the last, of the squares that begin in a row."""
        places = range(-self.margin[0], self.width + self.margin[1] - self.block + 1)
        return [(max(place, 0), min(place + self.block, self.width)) for place in places]


@lru_cache(maxsize=16)
def squares(height: int, width: int, block: int, gamma: float, margin: tuple[int, int] = (0, 0)) -> Floats:
    """Return the log pmf of the number of cells covered, over 0..height * width.

    Seeds fall with probability gamma, 0 < gamma < 1, on each place where a square of side block fits in the map, grown
    by a margin before and behind along both axes; cells of the margin are not counted.

    Raises
    ------
    ValueError
        If the states, or the work, are beyond what is feasible.
    """
    # states grow with the width
    grid = _Grid(max(height, width), min(height, width), block, margin)
    # no product of probabilities is smaller than this one: where it is a normal double, no digit is lost
    smallest = len(grid.rows) * len(grid.spans) * min(math.log(gamma), math.log1p(-gamma))
    arithmetic = _LINEAR if smallest > _SMALLEST_LOG else _LOGARITHMIC
    _check(grid, arithmetic.cost)
    table = _covered(grid, gamma, arithmetic)
    with np.errstate(divide="ignore"):
        return np.log(table) if arithmetic is _LINEAR else table


def _check(grid: _Grid, cost: float) -> None:
    """Count the states without their tables, and raise where there are too many."""
    if grid.width * math.log2(grid.block + 1) >= 62:
        raise _infeasible(grid, f"the state of {grid.width} columns does not fit in 64 bits")
    cells = grid.height * grid.width + 1
    limit, work, states, codes = _MAX_TABLE / cells, 0.0, 0, np.zeros(1, np.int64)
    for row in grid.rows:
        before, size = work, codes.size
        codes = np.unique(_next_row(codes, grid.width, grid.block))
        for span in grid.spans:
            codes = np.unique(np.concatenate([codes, _with_square(codes, span, grid.block)]))
            work, states = work + 2.0 * codes.size * cells, max(states, codes.size)
            if states > limit or cost * work > _MAX_WORK:
                raise _infeasible(grid, f"more than {min(states, int(limit))} states")
        if row > grid.block and codes.size == size:  # the set of states no longer grows
            if cost * (work + (work - before) * (grid.rows[-1] - row)) > _MAX_WORK:
                raise _infeasible(grid, f"{states} states in each of {grid.height} rows")
            return


def _infeasible(grid: _Grid, why: str) -> ValueError:
    return ValueError(
        f"the exact law of the number of dropped neurons is not feasible for DropBlock of a {grid.height} x "
        f"{grid.width} map and blocks of {grid.block} ({why}); its rates, fraction, variance and covariance are exact, "
        "and simulate(law, trials) estimates its law"
    )


def _next_row(codes: Codes, width: int, block: int) -> Codes:
    """Return the states one row further down: each column stays covered for one row less."""
    out = np.zeros_like(codes)
    for column in range(width):
        unit = (block + 1) ** column
        out += np.maximum(codes // unit % (block + 1) - 1, 0) * unit
    return out


def _with_square(codes: Codes, span: tuple[int, int], block: int) -> Codes:
    """Return the states with a square that begins in this row and spans these columns."""
    unit, beyond = ((block + 1) ** column for column in span)
    full = beyond - unit  # all digits of these columns at their largest, block
    return np.asarray(codes - codes % beyond + codes % unit + full)


def _covered_columns(codes: Codes, width: int, block: int) -> NDArray[np.int64]:
    number = np.zeros(codes.size, np.int64)
    for column in range(width):
        number += codes // (block + 1) ** column % (block + 1) > 0
    return number


def _covered(grid: _Grid, gamma: float, arithmetic: "_Arithmetic") -> Floats:
    """Return the probabilities of the number of cells covered, or their logs."""
    weights = arithmetic.of(1 - gamma, math.log1p(-gamma)), arithmetic.of(gamma, math.log(gamma))
    codes, tables = np.zeros(1, np.int64), np.full((1, 1), arithmetic.of(1.0, 0.0))
    rows = range(grid.rows[0], grid.height)
    for row in _progress.shown(rows, len(rows), "covering rows", "row", delay=1):
        codes, tables = _merge(_next_row(codes, grid.width, grid.block), tables, arithmetic)
        for span in grid.spans if row in grid.rows else ():
            codes, tables = _draw(codes, tables, _with_square(codes, span, grid.block), weights, arithmetic)
        if row >= 0:
            tables = _count(tables, _covered_columns(codes, grid.width, grid.block), grid.width, arithmetic)
    return np.asarray(arithmetic.plus.reduce(tables, axis=0))


@dataclass(frozen=True)
class _Arithmetic:
    """Numbers themselves, or their logs: what adds, what multiplies, and zero; cost is relative."""

    logs: bool
    plus: np.ufunc
    times: np.ufunc
    zero: float
    cost: float

    def of(self, number: float, log: float) -> float:
        return log if self.logs else number


_LINEAR = _Arithmetic(False, np.add, np.multiply, 0.0, 1.0)
_LOGARITHMIC = _Arithmetic(True, np.logaddexp, np.add, -np.inf, 5.0)


def _draw(
    codes: Codes, tables: Floats, squared: Codes, weights: tuple[float, float], arithmetic: _Arithmetic
) -> tuple[Codes, Floats]:
    """Let a square begin with probability gamma; `squared` are the states if it does."""
    moved, grown = _merge(squared, tables, arithmetic)  # far fewer: a square hides what was below it
    after = np.union1d(codes, moved)
    out = np.full((after.size, tables.shape[1]), arithmetic.zero)
    out[np.searchsorted(after, codes)] = arithmetic.times(tables, weights[0])
    where = np.searchsorted(after, moved)
    out[where] = arithmetic.plus(out[where], arithmetic.times(grown, weights[1]))
    return after, out


def _merge(codes: Codes, tables: Floats, arithmetic: _Arithmetic) -> tuple[Codes, Floats]:
    """Add up the tables of equal states."""
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    first = np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))
    return codes[first], arithmetic.plus.reduceat(tables[order], first, axis=0)


def _count(tables: Floats, covered: NDArray[np.int64], width: int, arithmetic: _Arithmetic) -> Floats:
    """Shift each state's table by the number of cells covered in this row."""
    size = tables.shape[1]
    out = np.full((tables.shape[0], size + width), arithmetic.zero)
    for number in np.unique(covered):
        states = np.flatnonzero(covered == number)
        out[states, number : number + size] = tables[states]
    return out
