"""Laws of counts (being written)."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy import stats
from scipy.stats._distn_infrastructure import rv_discrete_frozen


class Count(rv_discrete_frozen):  # interim
    def __init__(self, frozen, pieces):
        self.__dict__.update(frozen.__dict__)
        self.pieces = pieces

    def mirror(self):
        n = sum(m for _, m in self.pieces)
        return of_rates([(1 - p, m) for p, m in self.pieces])

    def between(self, low, high, log=False):
        low = -1 if low is None else low - 1
        value = float((self.cdf(high) if high is not None else 1.0) - self.cdf(low))
        if high is None:
            value = float(self.sf(low))
        return float(np.log(value)) if log else value


def Bernoulli(p):
    return Count(stats.bernoulli(p), [(p, 1)])


def of_rates(pieces: Iterable[tuple[float, int]]) -> Any:
    pieces = list(pieces)
    if len(pieces) == 1:
        return Count(stats.binom(pieces[0][1], pieces[0][0]), pieces)
    pmf = np.ones(1)
    for p, m in pieces:
        pmf = np.convolve(pmf, stats.binom(m, p).pmf(np.arange(m + 1)))
    return Count(stats.rv_discrete(values=(np.arange(pmf.size), pmf / pmf.sum()))(), pieces)


def add(*counts):
    return of_rates([piece for c in counts for piece in c.pieces])
