"""Methods of the laws whose neurons are dropped independently."""

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dropstats import _validate, bits
from dropstats.laws.base import Floats, Ints, LawMethods, Masks, sampling

if TYPE_CHECKING:
    from dropstats.counts import Count


class Independent(LawMethods):
    """Methods of the laws whose neurons are dropped independently with the probabilities ``rates``."""

    if TYPE_CHECKING:

        @property
        def p(self) -> float | Floats:
            """Drop probability: one number for all neurons, or one per neuron."""

    @property
    def independent(self) -> bool:
        """Whether neurons are dropped independently of one another: True."""
        return True

    @property
    def rates(self) -> Floats:
        """Drop probability of each neuron, a read-only view of shape (n,)."""
        p = self.p
        return p if isinstance(p, np.ndarray) else np.broadcast_to(np.float64(p), (self.n,))

    @cached_property
    def dropped(self) -> "Count":
        """Number of dropped neurons, as a frozen scipy distribution."""
        from dropstats import counts

        return counts.of_each(self.rates)

    def sample(self, size: int = 1, rng: _validate.RNG = None) -> Masks:
        """Return independent masks.

        Parameters
        ----------
        size : int
            Number of masks; 1 by default.
        rng : None, int, SeedSequence or Generator
            Source of randomness. The same seed gives the same masks; None (default) draws new ones each time.

        Returns
        -------
        ndarray of bool, shape (size, n)
            True where a neuron is kept.

        Examples
        --------
        >>> from dropstats import Layer
        >>> Layer(4, [0, 0, 1, 1]).sample(2)
        array([[ True,  True, False, False],
               [ True,  True, False, False]])
        """
        size, generator = sampling(self.n, size, rng)
        return bits.kept_masks(self.rates, size, generator)

    def entropy_bits(self) -> float:
        """Return the Shannon entropy of a mask, in bits: the sum of h(p) = -p log2 p - q log2 q over neurons."""
        p, number = self._rate_counts()
        inside = (p > 0) & (p < 1)
        p, number = p[inside], number[inside]
        return 0.0 - float(number @ (p * np.log(p) + (1 - p) * np.log1p(-p))) / math.log(2)

    @property
    def log2_subnetworks(self) -> int:
        """Base-2 logarithm of the number of masks that can occur: the number of neurons with 0 < p < 1."""
        p, number = self._rate_counts()
        return int(number[(p > 0) & (p < 1)].sum())

    def _covariance(self, i: Ints, j: Ints) -> Floats:
        p = self.rates[i]
        return np.where(i == j, p * (1 - p), 0.0)


def drop_counts(law: Any, size: int, generator: np.random.Generator) -> tuple[Ints, Ints] | None:
    """Return how many neurons each of `size` masks drops, and how many masks each neuron, without the masks.

    None where the law samples otherwise than by its rates alone, as one that derives from `Layer` may.
    """
    by_rates = getattr(type(law), "sample", None) is Independent.sample
    return bits.count_drops(law.rates, size, generator) if by_rates else None
