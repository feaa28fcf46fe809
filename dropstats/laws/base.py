"""What every law of dropout masks has: its words, and where its neurons are independent, all that follows."""

import math
from collections.abc import Iterator
from functools import cached_property
from inspect import getattr_static
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate, bits

if TYPE_CHECKING:
    from dropstats.counts import Count


class Law(Protocol):
    """What tallies, plots, audits and simulation ask of a law; every class of this module has it."""

    @property
    def n(self) -> int:
        """Number of neurons."""

    @property
    def rates(self) -> NDArray[np.float64]:
        """Drop probability of each neuron, read-only, of shape (n,)."""

    @property
    def dropped(self) -> "Count":
        """Law of the number of dropped neurons."""

    @property
    def kept(self) -> "Count":
        """Law of the number of kept neurons."""

    def prob(self, *, dropped: Any = None, kept: Any = None, log: bool = False) -> float:
        """Return the probability of a number, or an interval of numbers, of dropped (or kept) neurons."""

    def covariance(self, i: Any, j: Any) -> Any:
        """Return the covariance of "neuron i is dropped" and "neuron j is dropped"."""

    def sample(self, size: int = 1, rng: _validate.RNG = None) -> NDArray[np.bool_]:
        """Return (size, n) masks, True = kept."""


class Words:
    """What follows for any law from its ``rates`` and its law of dropped neurons."""

    rates: NDArray[np.float64]
    dropped: "Count"

    @cached_property
    def kept(self) -> "Count":
        """Law of the number of kept neurons: the exact mirror of ``dropped``, a frozen scipy distribution."""
        return self.dropped.mirror()

    def prob(self, *, dropped: Any = None, kept: Any = None, log: bool = False) -> float:
        """Return the probability of a number, or an interval of numbers, of dropped (or kept) neurons.

        Parameters
        ----------
        dropped, kept : int or (low, high)
            Exactly one of the two. An int is a count; a pair is a closed interval, to which both ends belong and in
            which None leaves an end open.
        log : bool
            Return the natural logarithm, which is finite where the probability itself is below 1e-308.

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            If none or both are given, if a count is no integer, if an interval is upside down.

        Examples
        --------
        >>> from dropstats import Layer
        >>> layer = Layer(1024, 0.5)
        >>> round(layer.prob(dropped=512), 6), round(layer.prob(dropped=(480, 544)), 6)
        (0.024928, 0.957823)
        >>> round(layer.prob(kept=(1000, None), log=True), 3)
        -598.459
        """
        if (dropped is None) == (kept is None):
            raise TypeError("prob takes either dropped= or kept=, an int or an interval (low, high)")
        if dropped is not None:
            return self.dropped.between(*_validate.closed_interval(dropped, "dropped"), log=log)
        return self.kept.between(*_validate.closed_interval(kept, "kept"), log=log)

    def covariance(self, i: Any, j: Any) -> Any:
        """Return the covariance of "neuron i is dropped" and "neuron j is dropped".

        Of one neuron with itself it is the variance p q.

        Parameters
        ----------
        i, j : int or array_like of int
            Places of neurons in a mask, from 0 to n - 1; arrays are broadcast.

        Returns
        -------
        float or ndarray

        Examples
        --------
        >>> from dropstats import Layer
        >>> Layer(3, [0.1, 0.2, 0.5]).covariance(2, [0, 1, 2])
        array([0.  , 0.  , 0.25])
        """
        n = self.rates.shape[0]
        first, second = np.broadcast_arrays(_validate.indices(i, n, "i"), _validate.indices(j, n, "j"))
        return self._covariance(first.ravel(), second.ravel()).reshape(first.shape)[()]

    def _covariance(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
        raise NotImplementedError

    def entropy_bits(self) -> float:
        """Return the Shannon entropy of a mask, in bits."""
        raise NotImplementedError

    @property
    def log2_subnetworks(self) -> float:
        """Base-2 logarithm of the number of masks that can occur."""
        raise NotImplementedError


class Independent(Words):
    """What follows for any law whose neurons are dropped independently, from its ``rates``."""

    independent: ClassVar[bool] = True

    @cached_property
    def dropped(self) -> "Count":  # type: ignore[override]
        """Law of the number of dropped neurons, a frozen scipy distribution."""
        from dropstats import counts

        return counts.of_rates(self._rate_counts())

    def sample(self, size: int = 1, rng: _validate.RNG = None) -> NDArray[np.bool_]:
        """Return independent masks.

        Parameters
        ----------
        size : int
            Number of masks.
        rng : None, int, SeedSequence or Generator
            Source of randomness; the same one gives the same masks.

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
        size, generator = sampling(self.rates.shape[0], size, rng)
        return bits.kept_masks(self.rates, size, generator)

    def entropy_bits(self) -> float:
        """Return the Shannon entropy of a mask, in bits: the sum of h(p) over neurons."""
        return float(sum(n * _neuron_entropy_bits(p) for p, n in self._rate_counts()))

    @property
    def log2_subnetworks(self) -> int:
        """Base-2 logarithm of the number of masks that can occur: the number of neurons with 0 < p < 1."""
        return sum(n for p, n in self._rate_counts() if 0 < p < 1)

    def _covariance(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
        p = self.rates[i]
        return np.where(i == j, p * (1 - p), 0.0)

    def _rate_counts(self) -> Iterator[tuple[float, int]]:
        """Yield the rates that occur, each with its number of neurons."""
        if self.rates.strides == (0,):
            yield from ((rate, self.rates.shape[0]) for rate in self.rates[:1].tolist())
        else:
            values, occurrences = np.unique(self.rates, return_counts=True)
            yield from zip(values.tolist(), occurrences.tolist(), strict=True)


def _neuron_entropy_bits(p: float) -> float:
    return 0.0 if p in (0.0, 1.0) else -(p * math.log(p) + (1 - p) * math.log1p(-p)) / math.log(2)


def has(law: Any, word: str) -> bool:
    """Return whether an object has an attribute, without computing it, as hasattr would."""
    missing = object()
    return getattr_static(law, word, missing) is not missing


def sampling(n: int, size: Any, rng: _validate.RNG) -> tuple[int, np.random.Generator]:
    """Return a checked number of masks of n neurons, and the generator that `rng` stands for."""
    size = _validate.integer(size, "size", minimum=0, maximum=_validate.MAX_TRIALS)
    _validate.memory(size * n, f"{size} masks of {n} neurons")
    return size, _validate.generator(rng)
