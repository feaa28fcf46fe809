"""The law of the number of cells covered by random squares on a grid, by a transfer matrix over rows.

Going down the rows, what is above matters only through how many more rows each column stays covered. The states are
these numbers, one a column; seeds are added one place at a time, so that each state has two successors, and states
that agree are merged. Every step adds positive terms.

Source: R. P. Stanley (2011), Enumerative Combinatorics, vol. 1, 2nd ed., Cambridge University Press, section 4.7
(transfer-matrix method); the state is that of a broken profile in A. Karavaev, S. Perepechko (2014), arXiv:1401.6988.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

# Each place for a seed handles a table of states times counts, twice, at 5-10 ns an entry: all in all at most 40 s, and
# 1 GB of tables. Feasible so are maps of 14 x 14 with any block (measured: blocks of 7 take 6 s, of 5 take 9-18 s, of
# 3 take 30 s), 12 x 12 (1-2 s), and any height up to widths of 8 (56 x 8, blocks of 3: 0.2 s); not feasible are 16 x 16
# with blocks of 7, or 28 x 28.
_MAX_WORK = 5e9
_MAX_TABLE = 6e7
# Probabilities below this are taken from a table tilted to larger counts.
_FLOOR = 1e-250


@lru_cache(maxsize=16)
def squares(height: int, width: int, block: int, gamma: float) -> Floats:
    """Return the log pmf of the number of cells covered, over 0..height * width.

    Seeds fall with probability gamma, 0 < gamma < 1, on each place where a square of side block fits in the map.

    Raises
    ------
    ValueError
        If the states, or the work, are beyond what is feasible.
    """
    height, width = max(height, width), min(height, width)  # states grow with the width
    _check(height, width, block)
    log_pmf = np.full(height * width + 1, -np.inf)
    theta = 0.0
    while True:
        table, log_scale = _covered(height, width, block, gamma, theta)
        large = table >= _FLOOR
        with np.errstate(divide="ignore"):
            logs = np.log(table) + log_scale - theta * np.arange(table.size)
        new = large & (log_pmf == -np.inf)
        log_pmf[new] = logs[new]
        # that all is covered is possible; once it has a probability, so has every smaller count
        if log_pmf[-1] > -np.inf:
            return log_pmf
        theta = _next_tilt(gamma, block, theta)


def _next_tilt(gamma: float, block: int, theta: float) -> float:
    # a square more multiplies by gamma and adds block cells or more: at the end, this tilt makes up for gamma
    return theta - math.log(gamma) / block / 4


def _check(height: int, width: int, block: int) -> None:
    """Count the states without their tables, and raise where there are too many."""
    limit = _MAX_TABLE / (height * width + 1)
    work, states = 0.0, 0
    if width * math.log2(block + 1) < 62:
        codes = np.zeros(1, np.int64)
        for row in range(height - block + 1):
            before, size = work, codes.size
            codes = np.unique(_next_row(codes, width, block))
            for place in range(width - block + 1):
                codes = np.unique(np.concatenate([codes, _with_square(codes, place, block)]))
                work, states = work + 2.0 * codes.size * (height * width + 1), max(states, codes.size)
                if states > limit or work > _MAX_WORK:
                    raise _infeasible(height, width, block, f"more than {min(states, int(limit))} states")
            if row > block and codes.size == size:  # the set of states no longer grows
                work += (work - before) * (height - block - row)
                if work > _MAX_WORK:
                    raise _infeasible(height, width, block, f"{states} states in each of {height} rows")
                return
        return
    raise _infeasible(height, width, block, f"states of {width} columns")


def _infeasible(height: int, width: int, block: int, why: str) -> ValueError:
    return ValueError(
        f"the exact law of the number of dropped neurons is not feasible for DropBlock of a {height} x {width} map and "
        f"blocks of {block} ({why}); its rates, fraction, variance and covariance are exact, and simulate(law, trials) "
        "estimates its law"
    )


def _next_row(codes: Codes, width: int, block: int) -> Codes:
    """Return the states one row further down: each column stays covered for one row less."""
    out = np.zeros_like(codes)
    for column in range(width):
        unit = (block + 1) ** column
        out += np.maximum(codes // unit % (block + 1) - 1, 0) * unit
    return out


def _with_square(codes: Codes, place: int, block: int) -> Codes:
    """Return the states with a square that begins in this row at this place."""
    unit, beyond = (block + 1) ** place, (block + 1) ** (place + block)
    full = beyond - unit  # all digits of these columns at their largest, block
    return np.asarray(codes - codes % beyond + codes % unit + full)


def _covered_columns(codes: Codes, width: int, block: int) -> NDArray[np.int64]:
    number = np.zeros(codes.size, np.int64)
    for column in range(width):
        number += codes // (block + 1) ** column % (block + 1) > 0
    return number


def _covered(height: int, width: int, block: int, gamma: float, theta: float) -> tuple[Floats, float]:
    """Return the tilted probabilities P(k) exp(theta k) / exp(log scale) of the number covered, and the log scale."""
    codes, tables, log_scale = np.zeros(1, np.int64), np.ones((1, 1)), 0.0
    for row in range(height):
        codes, tables = _merge(_next_row(codes, width, block), tables)
        for place in range(width - block + 1 if row <= height - block else 0):
            codes, tables = _draw(codes, tables, place, block, gamma)
        tables = _count(tables, _covered_columns(codes, width, block), width, theta)
        largest = tables.max()
        tables /= largest
        log_scale += math.log(largest)
    total = tables.sum(axis=0)
    return total, log_scale


def _draw(codes: Codes, tables: Floats, place: int, block: int, gamma: float) -> tuple[Codes, Floats]:
    """Let a square begin in this row at this place with probability gamma."""
    moved, squared = _merge(_with_square(codes, place, block), tables)  # far fewer: a square hides what was below it
    after = np.union1d(codes, moved)
    out = np.zeros((after.size, tables.shape[1]))
    out[np.searchsorted(after, codes)] = (1 - gamma) * tables
    out[np.searchsorted(after, moved)] += gamma * squared
    return after, out


def _merge(codes: Codes, tables: Floats) -> tuple[Codes, Floats]:
    """Add up the tables of equal states."""
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    first = np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))
    return codes[first], np.add.reduceat(tables[order], first, axis=0)


def _count(tables: Floats, covered: NDArray[np.int64], width: int, theta: float) -> Floats:
    """Shift each state's table by the number of cells covered in this row."""
    size = tables.shape[1]
    out = np.zeros((tables.shape[0], size + width))
    for number in np.unique(covered):
        states = np.flatnonzero(covered == number)
        out[states, number : number + size] = tables[states] * math.exp(theta * number)
    return out
