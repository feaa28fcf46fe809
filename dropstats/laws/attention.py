"""Dropout of attention probabilities, and how many queries lose all their keys."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dropstats import _validate
from dropstats.laws.base import Ints
from dropstats.laws.independent import Independent

if TYPE_CHECKING:
    from dropstats.counts import Count


@dataclass(frozen=True, repr=False)
class AttentionDropout(Independent):
    """Attention probabilities, dropped independently with probability p after the softmax.

    All keys of a query are dropped with probability p^keys, so that it attends to nothing; under a causal mask the
    i-th query has i keys and loses them all with probability p^i. The number of such queries, `empty_rows`, has a
    Poisson-binomial distribution. The probabilities a of a row sum to 1 before dropout; after inverted dropout the
    sum has mean 1 and variance (p / q) sum a^2.

    Parameters
    ----------
    queries, keys : int
        Number of rows and columns of the attention matrix.
    p : float
        Probability that an element is dropped.
    causal : bool
        Whether query i sees only keys 1 to i; `keys` must then equal `queries`. The mask holds the lower triangle
        only, row by row, in the order of ``numpy.tril_indices``. False by default.

    References
    ----------
    A. Vaswani et al. (2017). Attention is all you need. Advances in Neural Information Processing Systems 30,
    5998-6008, arXiv:1706.03762. The dropout is that of its code and of later libraries.

    Examples
    --------
    >>> law = AttentionDropout(1024, 1024, 0.1, causal=True)
    >>> round(float(law.empty_rows.mean()), 6), round(float(law.empty_rows.pmf(0)), 6)
    (0.111111, 0.89001)
    """

    queries: int
    keys: int
    p: float
    causal: bool = False

    def __init__(self, queries: int, keys: int, p: Any, causal: bool = False) -> None:
        object.__setattr__(self, "queries", _validate.neurons(queries, "queries"))
        object.__setattr__(self, "keys", _validate.neurons(keys, "keys"))
        object.__setattr__(self, "p", _validate.probability(p))
        object.__setattr__(self, "causal", bool(causal))
        if self.causal and self.queries != self.keys:
            # libraries disagree about which corner a rectangular causal mask starts from
            raise ValueError(f"causal=True needs keys = queries; got {self.queries} queries and {self.keys} keys")
        _validate.neurons(self.n, "the number of attention probabilities")

    @property
    def n(self) -> int:
        """Number of attention probabilities that are not hidden by the causal mask."""
        return self.queries * (self.queries + 1) // 2 if self.causal else self.queries * self.keys

    def part_of(self, n: int) -> Ints | None:
        """Return the lower triangle of a causal mask that was recorded whole; see `LawMethods.part_of`.

        Examples
        --------
        >>> AttentionDropout(2, 2, 0.1, causal=True).part_of(4)
        array([0, 2, 3])
        """
        if not self.causal or n != self.queries * self.keys:
            return None
        rows, columns = np.tril_indices(self.queries)
        return np.asarray(rows * self.keys + columns, dtype=np.int64)

    @cached_property
    def empty_rows(self) -> "Count":
        """Distribution of the number of queries that lose all their keys."""
        from dropstats import counts

        if not self.causal:
            return counts.Binomial(self.queries, float(self.p**self.keys))
        return counts.of_rates((float(p), 1) for p in self.p ** np.arange(1.0, self.queries + 1))

    def __repr__(self) -> str:
        causal = ", causal=True" if self.causal else ""
        return f"{type(self).__name__}({self.queries}, {self.keys}, {self.p!r}{causal})"
