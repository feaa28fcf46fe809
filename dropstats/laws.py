"""Laws of dropout masks: a neuron, a layer, a network.

A law is a frozen value: it knows exactly how masks are distributed and can sample them. In a mask 1 (True) keeps a
neuron and 0 drops it; ``p`` is the probability that a neuron is dropped, ``q = 1 - p`` that it is kept.

Source: N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov (2014). Dropout: a simple way to
prevent neural networks from overfitting. Journal of Machine Learning Research 15, 1929-1958.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate, bits

if TYPE_CHECKING:
    from dropstats.counts import Count

# A repr is evaluated back by readers and tests up to this many rates; beyond, it is for the eye only.
_REPR_RATES = 1000


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

    def sample(self, size: int = 1, rng: _validate.RNG = None) -> NDArray[np.bool_]:
        """Return (size, n) masks, True = kept."""


class _Words:
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

    def entropy_bits(self) -> float:
        """Return the Shannon entropy of a mask with independent neurons, in bits: the sum of h(p) over neurons."""
        return float(sum(n * _neuron_entropy_bits(p) for p, n in self._rate_counts()))

    @property
    def log2_subnetworks(self) -> int:
        """Base-2 logarithm of the number of masks that can occur: the number of neurons with 0 < p < 1."""
        return sum(n for p, n in self._rate_counts() if 0 < p < 1)

    def _rate_counts(self) -> Iterator[tuple[float, int]]:
        raise NotImplementedError


def _neuron_entropy_bits(p: float) -> float:
    return 0.0 if p in (0.0, 1.0) else -(p * math.log(p) + (1 - p) * math.log1p(-p)) / math.log(2)


@dataclass(frozen=True)
class Neuron(_Words):
    """A single neuron, dropped with probability p: a Bernoulli law.

    Parameters
    ----------
    p : float
        Probability that the neuron is dropped, in [0, 1].

    Examples
    --------
    >>> neuron = Neuron(0.25)
    >>> float(neuron.dropped.mean()), float(neuron.kept.pmf(1))
    (0.25, 0.75)
    """

    p: float
    independent: ClassVar[bool] = True

    def __init__(self, p: float) -> None:
        object.__setattr__(self, "p", _validate.probability(p))

    @property
    def n(self) -> int:
        """Number of neurons: 1."""
        return 1

    @property
    def rates(self) -> NDArray[np.float64]:  # type: ignore[override]
        """Drop probability of each neuron, a read-only array of shape (1,)."""
        return np.broadcast_to(np.float64(self.p), (1,))

    @cached_property
    def dropped(self) -> "Count":  # type: ignore[override]
        """Law of the number of dropped neurons (0 or 1): ``scipy.stats.bernoulli``, frozen."""
        from dropstats import counts

        return counts.Bernoulli(self.p)

    def sample(self, size: int = 1, rng: _validate.RNG = None) -> NDArray[np.bool_]:
        """Return bool masks of shape (size, 1), True = kept; see `Layer.sample`."""
        size, generator = _sampling(self.n, size, rng)
        return bits.kept_masks(self.rates, size, generator)

    def _rate_counts(self) -> Iterator[tuple[float, int]]:
        yield self.p, 1

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), (self.p,)


@dataclass(frozen=True, eq=False)
class Layer(_Words):
    """A layer of n neurons that are dropped independently: a binomial law, or a Poisson-binomial one.

    Parameters
    ----------
    n : int
        Number of neurons, 0 to 2^53.
    p : float or array_like of shape (n,)
        Probability that a neuron is dropped, one for all or one for each. A layer of equal rates is the layer with
        that one rate.

    Raises
    ------
    TypeError, ValueError
        If n is no integer in 0..2^53, or p is no real number in [0, 1], or its shape is not (n,).

    Examples
    --------
    >>> layer = Layer(1024, 0.5)
    >>> round(float(layer.dropped.pmf(512)), 6)
    0.024928
    >>> Layer(3, [0.1, 0.2, 0.3]).dropped.pmf([0, 1, 2, 3]).round(3)
    array([0.504, 0.398, 0.092, 0.006])
    """

    n: int
    p: float | NDArray[np.float64]
    independent: ClassVar[bool] = True

    def __init__(self, n: int, p: Any) -> None:
        object.__setattr__(self, "n", _validate.neurons(n))
        object.__setattr__(self, "p", _validate.probabilities(p, self.n))

    @classmethod
    def keeping(cls, n: int, keep: Any) -> Self:
        """Return the layer whose neurons are kept with probability `keep`: p = 1 - keep.

        The difference is exact for keep >= 0.5 and correctly rounded below.

        Parameters
        ----------
        n : int
            Number of neurons.
        keep : float or array_like of shape (n,)
            Probability that a neuron is kept, as in the papers and in TensorFlow 1.

        Examples
        --------
        >>> Layer.keeping(10, keep=0.75)
        Layer(10, 0.25)
        """
        keep = _validate.probabilities(keep, _validate.neurons(n), "keep")
        lost = (np.asarray(keep) > 0) & (1 - np.asarray(keep) == 1)
        if lost.any():
            raise ValueError(f"keep must be 0 or at least 2^-53, or 1 - keep is 1 in floating point; got {keep!r}")
        return cls(n, 1 - keep)

    @property
    def rates(self) -> NDArray[np.float64]:  # type: ignore[override]
        """Drop probability of each neuron, a read-only view of shape (n,)."""
        return np.broadcast_to(np.asarray(self.p, dtype=np.float64), (self.n,))

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
        >>> Layer(4, [0, 0, 1, 1]).sample(2)
        array([[ True,  True, False, False],
               [ True,  True, False, False]])
        """
        size, generator = _sampling(self.n, size, rng)
        return bits.kept_masks(self.rates, size, generator)

    def _rate_counts(self) -> Iterator[tuple[float, int]]:
        if isinstance(self.p, float):
            yield self.p, self.n
        else:
            values, occurrences = np.unique(self.p, return_counts=True)
            yield from zip(values.tolist(), occurrences.tolist(), strict=True)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.n == other.n and np.array_equal(self.p, other.p)

    def __hash__(self) -> int:
        return hash((type(self), self.n, self.p if isinstance(self.p, float) else self.p.tobytes()))

    def __repr__(self) -> str:
        if isinstance(self.p, float):
            return f"{type(self).__name__}({self.n}, {self.p!r})"
        if self.n <= _REPR_RATES:
            return f"{type(self).__name__}({self.n}, {self.p.tolist()!r})"
        first, last = self.p[:3].tolist(), self.p[-1].item()
        return f"{type(self).__name__}({self.n}, [{', '.join(map(repr, first))}, ..., {last!r}])"

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), (self.n, self.p)


@dataclass(frozen=True)
class Network(_Words):
    """Several laws, independent of each other, whose masks are concatenated in order: a Poisson-binomial law.

    A network is itself a law, so networks nest.

    Parameters
    ----------
    *laws : Neuron, Layer, Network or any other law
        The parts, from the input on.

    Examples
    --------
    >>> net = Network(Layer(784, 0.2), Layer(1024, 0.5), Layer(1024, 0.5))
    >>> net.n, round(float(net.dropped.mean()), 1), round(net.entropy_bits(), 3)
    (2832, 1180.8, 2613.992)
    >>> round(float(net.dropped.logsf(1399)), 3)
    -40.255
    """

    laws: tuple[Law, ...]

    def __init__(self, *laws: Law) -> None:
        for index, law in enumerate(laws):
            if isinstance(law, type) or not hasattr(law, "dropped") or not hasattr(law, "sample"):
                raise TypeError(
                    f"Network takes laws such as Layer(n, p); got {law!r} of type {type(law).__name__} at index {index}"
                )
        object.__setattr__(self, "laws", laws)
        _validate.neurons(sum(law.n for law in laws), "the network's n")

    @property
    def independent(self) -> bool:
        """Whether every neuron is dropped independently of the others: whether that holds in every part."""
        return all(getattr(law, "independent", False) for law in self.laws)

    @cached_property
    def n(self) -> int:
        """Number of neurons in all parts together."""
        return sum(law.n for law in self.laws)

    @cached_property
    def rates(self) -> NDArray[np.float64]:  # type: ignore[override]
        """Drop probability of each neuron, read-only, of shape (n,); a view where all rates are equal."""
        parts = [law.rates for law in self.laws if law.n]
        strides = {part.strides for part in parts}
        if len(parts) == 1:
            return parts[0]
        if strides == {(0,)} and len({part[0].item() for part in parts}) == 1:
            return np.broadcast_to(parts[0][0], (self.n,))
        _validate.memory(8 * self.n, f"the rates of {self.n} neurons, not all equal,")
        rates = np.concatenate(parts) if parts else np.zeros(0)
        rates.flags.writeable = False
        return rates

    @cached_property
    def dropped(self) -> "Count":  # type: ignore[override]
        """Law of the number of dropped neurons in the whole network, a frozen scipy distribution."""
        from dropstats import counts

        return counts.add(*(law.dropped for law in self.laws))

    def sample(self, size: int = 1, rng: _validate.RNG = None) -> NDArray[np.bool_]:
        """Return bool masks of shape (size, n), the parts' masks side by side; see `Layer.sample`."""
        size, generator = _sampling(self.n, size, rng)
        masks = np.empty((size, self.n), dtype=np.bool_)
        start = 0
        for law in self.laws:
            masks[:, start : start + law.n] = law.sample(size, generator)
            start += law.n
        return masks

    def prob_any_dead(self) -> float:
        """Return the probability that some part loses all its neurons, so that nothing passes.

        A part without neurons has none to lose. Parts of a nested network count one by one. It is
        1 - prod(1 - P(part dropped whole)), formed without loss of small probabilities.

        Examples
        --------
        >>> round(Network(Layer(2, 0.5), Layer(3, 0.5)).prob_any_dead(), 6)
        0.34375
        """
        dead = [law.prob(dropped=law.n) for law in self._leaves() if law.n]
        if any(probability == 1 for probability in dead):
            return 1.0
        # below 2^-1022 expm1(log1p(x)) is x itself
        return 0.0 - math.expm1(math.fsum(math.log1p(-probability) for probability in dead))

    def _leaves(self) -> Iterator[Law]:
        for law in self.laws:
            if isinstance(law, Network):
                yield from law._leaves()
            else:
                yield law

    def _rate_counts(self) -> Iterator[tuple[float, int]]:
        for law in self._leaves():
            yield from law._rate_counts()  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.laws))})"

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), self.laws


def _sampling(n: int, size: Any, rng: _validate.RNG) -> tuple[int, np.random.Generator]:
    size = _validate.integer(size, "size", minimum=0, maximum=_validate.MAX_TRIALS)
    _validate.memory(size * n, f"{size} masks of {n} neurons")
    return size, _validate.generator(rng)
