"""Several laws side by side."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate
from dropstats.laws.base import Law, Words, has, sampling

if TYPE_CHECKING:
    from dropstats.counts import Count


@dataclass(frozen=True)
class Network(Words):
    """Several laws, independent of each other, whose masks are concatenated in order.

    The number dropped is Poisson-binomial where all neurons are independent, else the exact sum of the parts' numbers.
    A network is itself a law, so networks nest.

    Parameters
    ----------
    *laws : Neuron, Layer, Network or any other law
        The parts, from the input on.

    Examples
    --------
    >>> from dropstats import Layer
    >>> net = Network(Layer(784, 0.2), Layer(1024, 0.5), Layer(1024, 0.5))
    >>> net.n, round(float(net.dropped.mean()), 1), round(net.entropy_bits(), 3)
    (2832, 1180.8, 2613.992)
    >>> round(float(net.dropped.logsf(1399)), 3)
    -40.255
    """

    laws: tuple[Law, ...]

    def __init__(self, *laws: Law) -> None:
        for index, law in enumerate(laws):
            if isinstance(law, type) or not all(has(law, word) for word in ("dropped", "sample")):
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
        size, generator = sampling(self.n, size, rng)
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
        >>> from dropstats import Layer
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
        """Yield the rates that occur, each with its number of neurons, of a network of independent neurons."""
        for law in self._leaves():
            yield from law._rate_counts()  # type: ignore[attr-defined]

    def _covariance(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
        ends = np.cumsum([law.n for law in self.laws])
        part, other = np.searchsorted(ends, i, side="right"), np.searchsorted(ends, j, side="right")
        out = np.zeros(i.shape)
        for index in np.unique(part):
            here = np.flatnonzero((part == index) & (other == index))
            if here.size:
                law, start = self.laws[index], ends[index] - self.laws[index].n
                out[here] = law.covariance(i[here] - start, j[here] - start)
        return out

    def entropy_bits(self) -> float:
        """Return the Shannon entropy of a mask, in bits: the sum over the parts."""
        return math.fsum(law.entropy_bits() for law in self._leaves())  # type: ignore[attr-defined]

    @property
    def log2_subnetworks(self) -> float:
        """Base-2 logarithm of the number of masks that can occur: the sum over the parts."""
        return sum(law.log2_subnetworks for law in self._leaves())  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.laws))})"

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), self.laws
