"""The law of the number of cells covered by random squares on a grid, by a transfer matrix over rows.

Going down the rows, what is above matters only through how many more rows each column stays covered. The states are
these numbers, one a column. Squares are added one place at a time, so that each state has two successors, and a column
that no further square of the row reaches is counted and goes on to the next row at once, so that states which no longer
differ are merged early. A state and its mirror image are one where the places are symmetric. Every step is a product
with a sparse matrix and adds positive terms.

Source: R. P. Stanley (2011), Enumerative Combinatorics, vol. 1, 2nd ed., Cambridge University Press, section 4.7
(transfer-matrix method).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dropstats import _progress

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

# A table of states times counts has at most 0.5 GB, and all steps together handle entries of it, at about 3 ns each,
# for at most 15 s. Feasible so are maps of 14 x 14 with any block (measured: 1.4 to 2.8 s; with seeds on the whole map
# 14 and 17 s), 12 x 12 (0.6 s), and any height up to widths of 8 (56 x 8, blocks of 3: 1.2 s, by logs); not feasible
# are 16 x 16 with blocks of 5 or 7 (31 and 50 s), or 28 x 28.
_MAX_TABLE = 6e7
_MAX_WORK = 5e9
_COST_OF_LOGS = 10.0
# Counts that are handled at a time, so that states times these stay in a cache.
_BLOCK = 16
# Where the smallest product of probabilities may be below the range of doubles, their logs are used.
_SMALLEST_LOG = -690.0


class _Step(NamedTuple):
    """A step along a row: the columns of the square that may begin, and the column that is then known."""

    span: tuple[int, int] | None
    column: int | None
    last: bool


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
    def places(self) -> range:
        """First columns of squares, below 0 before the map."""
        return range(-self.margin[0], self.width + self.margin[1] - self.block + 1)

    @property
    def steps(self) -> list[_Step]:
        """The steps along a row; squares are cut at the ends of the map."""
        steps = [
            _Step((max(place, 0), min(place + self.block, self.width)), place if place >= 0 else None, False)
            for place in self.places
        ]
        steps += [_Step(None, column, False) for column in range(self.places[-1] + 1, self.width)]
        return [*steps[:-1], steps[-1]._replace(last=True)]

    @property
    def unit(self) -> int:
        """The base of a state's digits, one a column: 0 to block."""
        return self.block + 1


@lru_cache(maxsize=16)
def squares(height: int, width: int, block: int, gamma: float, margin: tuple[int, int]) -> Floats:
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
    logs = _smallest_log(grid, gamma) < _SMALLEST_LOG
    states = _states(grid, _COST_OF_LOGS if logs else 1.0)
    table = _covered(grid, states, gamma, logs)
    with np.errstate(divide="ignore"):
        return table if logs else np.log(table)


def _smallest_log(grid: _Grid, gamma: float) -> float:
    """Return a bound on the log probability of any state that can occur with any count.

    Of three seeds in block + 1 successive places of a row, the one in the middle covers nothing by itself. So what any
    seeds cover, two in each block + 1 places cover as well, and where gamma <= 1/2 that is likelier than the seeds
    themselves. Products below the range of doubles are then lost beside sums that are within.
    """
    fewest = len(grid.rows) * min(2 * math.ceil(len(grid.places) / (grid.block + 1)), len(grid.places))
    none = math.log1p(-gamma)
    return len(grid.rows) * len(grid.places) * none + fewest * min(0.0, math.log(gamma) - none)


def _states(grid: _Grid, cost: float) -> Codes:
    """Return the states between two rows, and raise where there are too many."""
    if grid.width * math.log2(grid.unit) >= 62:
        raise _infeasible(grid, f"the state of {grid.width} columns does not fit in 64 bits")
    cells = grid.height * grid.width + 1
    limit, states = int(_MAX_TABLE / cells), np.zeros(1, np.int64)
    while True:
        work, codes = 0.0, states
        for step in grid.steps:
            work += codes.size * (1 if step.span is None else 2)
            codes = np.unique(_ways(codes, step, grid)[0])
        found = np.union1d(states, codes)
        if found.size > limit:
            raise _infeasible(grid, f"more than {limit} states")
        # a row handles half of the counts on average
        if cost * work * len(grid.rows) * cells / 2 > _MAX_WORK:
            raise _infeasible(grid, f"more than {_MAX_WORK:.0e} operations")
        if found.size == states.size:
            return states
        states = found


def _infeasible(grid: _Grid, why: str) -> ValueError:
    return ValueError(
        f"the exact law of the number of dropped neurons is not feasible for DropBlock of a {grid.height} x "
        f"{grid.width} map and blocks of {grid.block} ({why}); its rates, fraction, variance and covariance are exact, "
        "and simulate(law, trials) estimates its law"
    )


def _ways(codes: Codes, step: _Step, grid: _Grid) -> tuple[Codes, NDArray[np.bool_]]:
    """Return the states after a step, without and then with a square, and whether the known column is covered."""
    if step.span is not None:
        codes = np.concatenate([codes, _with_square(codes, step.span, grid)])
    covered = np.zeros(codes.size, np.bool_)
    if step.column is not None:
        covered = _digit(codes, step.column, grid) > 0
        codes = codes - covered * np.int64(grid.unit**step.column)
    if step.last and grid.margin[0] == grid.margin[1]:
        mirrored = sum(_digit(codes, k, grid) * grid.unit ** (grid.width - 1 - k) for k in range(grid.width))
        codes = np.maximum(codes, mirrored)  # the larger of the two leads to fewer states along the row
    return codes, covered


def _digit(codes: Codes, column: int, grid: _Grid) -> Codes:
    """Return how many more rows a column stays covered."""
    return np.asarray(codes // grid.unit**column % grid.unit)


def _with_square(codes: Codes, span: tuple[int, int], grid: _Grid) -> Codes:
    """Return the states with a square that begins in this row and spans these columns."""
    first, beyond = (grid.unit**column for column in span)
    full = beyond - first  # all digits of these columns at their largest, block
    return np.asarray(codes - codes % beyond + codes % first + full)


def _covered(grid: _Grid, states: Codes, gamma: float, logs: bool) -> Floats:
    """Return the probabilities of the number of cells covered, or their logs."""
    matrices = list(_matrices(grid, states, gamma, logs))
    plus: np.ufunc = np.logaddexp if logs else np.add
    nothing = -np.inf if logs else 0.0
    table = np.full((states.size, grid.height * grid.width + 1), nothing)
    table[0, 0] = 0.0 if logs else 1.0
    for row in _progress.shown(grid.rows, len(grid.rows), "covering rows", "row", delay=1):
        # of each step, the last count of the counts before: a covered column adds one to it
        before = [np.full(uncovered.shape[1], nothing) for uncovered, _ in matrices]
        most = grid.width * max(row + 1, 0)
        for start in range(0, most + 1, _BLOCK):
            counts = slice(start, min(start + _BLOCK, most + 1))
            part = table[:, counts]
            for place, (uncovered, covered) in enumerate(matrices):
                part = np.concatenate([before[place][:, None], part], axis=1)
                before[place] = part[:, -1].copy()
                one_more = _product(covered, part, logs)
                part = _product(uncovered, part, logs)[:, 1:]
                plus(part, one_more[:, :-1] if row >= 0 else one_more[:, 1:], out=part)
            table[:, counts] = part
    left = grid.height - 1 - grid.rows[-1]
    still = sum(np.minimum(_digit(states, column, grid), left) for column in range(grid.width))
    law = np.full(table.shape[1], nothing)
    for number in np.unique(still):
        some = plus.reduce(table[still == number], axis=0)
        law[number:] = plus(law[number:], some[: some.size - number])
    return law


def _matrices(grid: _Grid, states: Codes, gamma: float, logs: bool) -> Iterator[tuple[Any, Any]]:
    """Yield the probabilities of each step from state to state: where the known column is not covered, and where it is.

    Of logs, those of the probabilities.
    """
    from scipy import sparse

    codes = states
    for step in grid.steps:
        ways, covered = _ways(codes, step, grid)
        after = states if step.last else np.unique(ways)
        times = ways.size // codes.size
        weights = np.repeat([1 - gamma, gamma] if times == 2 else [1.0], codes.size)
        places = np.searchsorted(after, ways), np.tile(np.arange(codes.size), times)
        matrices = [
            sparse.csr_array((weights[which], tuple(p[which] for p in places)), shape=(after.size, codes.size))
            for which in (~covered, covered)
        ]
        if logs:
            for matrix in matrices:
                matrix.data = np.log(matrix.data)
        yield matrices[0], matrices[1]
        codes = after


def _product(matrix: Any, table: Floats, logs: bool) -> Floats:
    """Return the product of a sparse matrix and a table, or of logs its log."""
    if not logs:
        return np.asarray(matrix @ table)
    out = np.full((matrix.shape[0], table.shape[1]), -np.inf)
    rows = np.flatnonzero(np.diff(matrix.indptr))
    if rows.size:
        terms = table[matrix.indices] + matrix.data[:, None]
        out[rows] = np.logaddexp.reduceat(terms, matrix.indptr[rows], axis=0)
    return out
