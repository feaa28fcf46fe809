"""Masks with a fixed number of zeros."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dropstats import _validate, bits
from dropstats.laws.base import Floats, Ints, LawMethods, Masks, sampling

if TYPE_CHECKING:
    from dropstats.counts import Count


# Masks of so few neurons are permuted.
_NARROW = 16
# Masks drop so many standard deviations too few at first: one of 700 then has to be drawn again.
_FEWER = 3.0
# Beyond this many masks each chooses one place at a time, else all that it still lacks.
_ONE_BY_ONE = 2**10


@dataclass(frozen=True, repr=False)
class FixedCount(LawMethods):
    """Exactly k of n neurons dropped, every choice of k equally probable.

    The number dropped is constant, and two neurons have correlation -1 / (n - 1). The number dropped among m neurons
    chosen beforehand, `among`, is hypergeometric.

    Parameters
    ----------
    n : int
        Number of neurons.
    k : int
        Number of neurons dropped in each mask, at most n.

    References
    ----------
    A mask with a fixed number of zeros is a simple random sample without replacement: W. G. Cochran (1977). Sampling
    Techniques, 3rd ed., Wiley, chapter 2.

    Examples
    --------
    >>> law = FixedCount(64, 6)
    >>> law.dropped.var(), law.covariance(0, 1) / law.covariance(0, 0) == -1 / 63
    (np.float64(0.0), np.True_)
    >>> round(float(law.among(16).pmf(0)), 6)
    0.163676
    """

    n: int
    k: int

    def __init__(self, n: int, k: int) -> None:
        object.__setattr__(self, "n", _validate.neurons(n))
        k = _validate.neurons(k, "k")
        if k > self.n:
            raise ValueError(f"k must be at most n = {self.n}, the number of neurons; got {k}")
        object.__setattr__(self, "k", k)

    @property
    def independent(self) -> bool:
        """Whether neurons are independent: only if all or none of them are dropped."""
        return self.k in (0, self.n)

    @property
    def rates(self) -> Floats:
        """Drop probability of each neuron, k / n, read-only, of shape (n,)."""
        return np.broadcast_to(np.float64(self.k / self.n if self.n else 0.0), (self.n,))

    @cached_property
    def dropped(self) -> "Count":
        """Number of dropped neurons, always k, as a frozen scipy distribution."""
        from dropstats import counts

        return counts.point_mass(self.n, self.k)

    def total(self, masks: int) -> "Count":
        """Return the distribution of the total number of neurons dropped over this many masks, always k times masks."""
        from dropstats import counts

        return counts.point_mass(self.n * masks, self.k * masks)

    def shared(self, pairs: int = 1) -> "Count | None":
        """Return the distribution of the number dropped in both masks of a pair: hypergeometric; None for several."""
        return self.among(self.k) if pairs == 1 else None

    def among(self, m: int) -> "Count":
        """Return the distribution of the number dropped among m neurons chosen beforehand: hypergeometric.

        Parameters
        ----------
        m : int
            Number of chosen neurons, at most n.

        Examples
        --------
        >>> FixedCount(4, 2).among(2).pmf([0, 1, 2]).round(4)
        array([0.1667, 0.6667, 0.1667])
        """
        from dropstats import counts

        m = _validate.integer(m, "m", minimum=0, maximum=self.n)
        return counts.hypergeometric(self.n, self.k, m)

    def sample(self, size: int = 1, rng: _validate.RNG = None) -> Masks:
        """Return bool masks of shape (size, n), True = kept; see `Layer.sample`.

        Masks of independent neurons that drop a few too few, and then drop one after the other at random.
        """
        size, generator = sampling(self.n, size, rng)
        if self.n <= _NARROW:
            masks = np.tile(np.arange(self.n) >= self.k, (size, 1))
            return generator.permuted(masks, axis=1, out=masks)
        rarer = min(self.k, self.n - self.k)
        masks = _chosen(size, self.n, rarer, generator) if rarer else np.ones((size, self.n), dtype=np.bool_)
        return masks if rarer == self.k else np.logical_not(masks, out=masks)

    def _covariance(self, i: Ints, j: Ints) -> Floats:
        variance = self.k * (self.n - self.k) / self.n**2
        return np.where(i == j, variance, -variance / max(self.n - 1, 1))

    @property
    def prob_mask_exact(self) -> bool:
        """Whether `log_prob_mask` is exact: True."""
        return True

    prob_equal_exact = prob_mask_exact

    def _log_prob_mask(self, kept: Masks) -> Floats:
        possible = np.count_nonzero(kept, axis=1) == self.n - self.k
        return np.where(possible, self.log_prob_equal, -np.inf)

    @cached_property
    def log_prob_equal(self) -> float:
        """Natural log of the probability that two independent masks are equal, 1 / (n choose k)."""
        return 0.0 - self.log2_subnetworks * math.log(2)

    def entropy_bits(self) -> float:
        """Return the Shannon entropy of a mask, in bits: log2 of n choose k."""
        return self.log2_subnetworks

    @property
    def log2_subnetworks(self) -> float:
        """Base-2 logarithm of the number of masks that can occur, n choose k."""
        if self.k in (0, self.n):
            return 0.0
        from dropstats.counts import Binomial

        rate = self.k / self.n
        log_mass = self.k * math.log(rate) + (self.n - self.k) * math.log1p(-rate)
        return float(Binomial(self.n, rate).logpmf(self.k) - log_mass) / math.log(2)


def _chosen(size: int, n: int, k: int, generator: np.random.Generator) -> Masks:
    """Return masks with k places False, every choice of k equally probable.

    Given how many independent draws chose, all choices of that many are equally probable; so they stay when more places
    are chosen among the others, each with the same chance.
    """
    rate = np.broadcast_to(np.float64(max(k - _FEWER * math.sqrt(k * (1 - k / n)), 0.0) / n), (n,))
    masks = bits.kept_masks(rate, size, generator)
    missing = k - n + np.count_nonzero(masks, axis=1)
    while (rows := np.flatnonzero(missing < 0)).size:  # those that have chosen more than k draw again
        masks[rows] = again = bits.kept_masks(rate, rows.size, generator)
        missing[rows] = k - n + np.count_nonzero(again, axis=1)
    flat, rows = masks.reshape(-1), np.flatnonzero(missing)
    while rows.size:
        if rows.size > _ONE_BY_ONE:
            places = rows * n + generator.integers(n, size=rows.size)
        else:  # a place that comes twice counts once
            each = np.repeat(rows, missing[rows])
            places = np.unique(each * n + generator.integers(n, size=each.size))
        fresh = places[flat[places]]
        flat[fresh] = False
        missing -= np.bincount(fresh // n, minlength=size)
        rows = rows[missing[rows] > 0]
    return masks
