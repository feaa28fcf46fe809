"""Several laws side by side."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dropstats import _validate
from dropstats.laws.base import Floats, Ints, Law, LawMethods, Masks, frozen, sampling
from dropstats.laws.foreign import law_like

if TYPE_CHECKING:
    from dropstats.counts import Count


@dataclass(frozen=True, repr=False)
class Network(LawMethods):
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

    parts: tuple[Law, ...]

    def __init__(self, *laws: Law) -> None:
        parts = tuple(law_like(law, f"law {index} of a network") for index, law in enumerate(laws))
        object.__setattr__(self, "parts", parts)
        _validate.neurons(sum(law.n for law in parts), "the network's n")

    @property
    def count_normalised(self) -> bool:  # type: ignore[override]
        """Whether implementations may divide what they keep by the share that this very mask keeps."""
        return bool(self.parts) and all(law.count_normalised for law in self.parts)

    @property
    def independent(self) -> bool:
        """Whether every neuron is dropped independently of the others: whether that holds in every part."""
        return all(law.independent for law in self.parts)

    @cached_property
    def n(self) -> int:
        """Number of neurons in all parts together."""
        return sum(law.n for law in self.parts)

    @cached_property
    def rates(self) -> Floats:
        """Drop probability of each neuron, read-only, of shape (n,); a view where all rates are equal."""
        parts = [law.rates for law in self.parts if law.n]
        if len(parts) == 1:
            return parts[0]
        if {part.strides for part in parts} == {(0,)} and len({part[0].item() for part in parts}) == 1:
            return np.broadcast_to(parts[0][0], (self.n,))
        _validate.memory(8 * self.n, f"the rates of {self.n} neurons, not all equal,")
        return frozen(np.concatenate(parts) if parts else np.zeros(0))

    @cached_property
    def rate(self) -> float | None:
        """The one drop probability of all neurons; None where they differ, or where there are none."""
        rates = {law.rate for law in self.parts if law.n}
        return rates.pop() if len(rates) == 1 else None

    @cached_property
    def dropped(self) -> "Count":
        """Law of the number of dropped neurons in the whole network, a frozen scipy distribution."""
        from dropstats import counts

        return counts.add(*(law.dropped for law in self.parts))

    @cached_property
    def variance(self) -> float:
        """Variance of the number of dropped neurons, exact: the sum over the parts."""
        return math.fsum(law.variance for law in self.parts)

    def total(self, masks: int) -> "Count | None":
        """Return the law of the number of neurons dropped over so many masks: that of the sum over the parts."""
        return _sum_of(law.total(masks) for law in self.parts)

    def shared(self, pairs: int = 1) -> "Count | None":
        """Return the law of the number of neurons dropped in both of two masks: that of the sum over the parts."""
        return _sum_of(law.shared(pairs) for law in self.parts)

    def _placed(self) -> Iterator[tuple[int, Law]]:
        """Yield each part with the place of its first neuron."""
        start = 0
        for law in self.parts:
            yield start, law
            start += law.n

    def sample(self, size: int = 1, rng: _validate.RNG = None) -> Masks:
        """Return bool masks of shape (size, n), the parts' masks side by side; see `Layer.sample`."""
        size, generator = sampling(self.n, size, rng)
        masks = np.empty((size, self.n), dtype=np.bool_)
        for start, law in self._placed():
            masks[:, start : start + law.n] = law.sample(size, generator)
        return masks

    @property
    def prob_mask_exact(self) -> bool:
        """Whether `log_prob_mask` is exact: whether it is in every part."""
        return all(law.prob_mask_exact for law in self.parts)

    @property
    def prob_equal_exact(self) -> bool:
        """Whether `log_prob_equal` is exact: whether it is in every part."""
        return all(law.prob_equal_exact for law in self.parts)

    def _log_prob_mask(self, kept: Masks) -> Floats:
        logs = (law._log_prob_mask(kept[:, start : start + law.n]) for start, law in self._placed())
        return sum(logs, np.zeros(kept.shape[0]))

    @cached_property
    def log_prob_equal(self) -> float:
        """Natural log of the probability that two independent masks are equal, or a bound: the sum over the parts."""
        return math.fsum(law.log_prob_equal for law in self.parts)

    @cached_property
    def apart(self) -> Ints | None:
        """Neurons that are independent of one another: those of the parts; None where all of them are."""
        if self.independent:
            return None
        _validate.memory(8 * self.n, f"the places of {self.n} neurons")
        places = ((start, np.arange(law.n) if law.apart is None else law.apart) for start, law in self._placed())
        return frozen(np.concatenate([start + apart for start, apart in places]))

    @cached_property
    def group_of(self) -> Ints | None:
        """The group of each neuron, those of the parts side by side; None where none has two neurons."""
        if all(law.group_of is None for law in self.parts):
            return None
        _validate.memory(16 * self.n, f"the groups of {self.n} neurons")
        groups, first = [], 0
        for law in self.parts:
            groups.append(first + (np.arange(law.n) if law.group_of is None else law.group_of))
            first += law.reduced.n
        return frozen(np.concatenate(groups))

    @cached_property
    def reduced(self) -> Law:
        """The network of the parts' laws of one bit a group."""
        return self if self.group_of is None else Network(*(law.reduced for law in self.parts))

    def prob_any_dead(self) -> float:
        """Return the probability that some part loses all its neurons, so that nothing passes.

        A part without neurons has none to lose. Parts of a nested network count one by one. It is
        1 - prod(1 - P(part dropped whole)), formed without loss of small probabilities.

        Returns
        -------
        float
            Of one mask; over T masks it is 1 - (1 - this)^T.

        Raises
        ------
        ValueError
            If the law of the number of dropped neurons of a part is not feasible at its size.

        See Also
        --------
        size_for : how large a layer must be for this to hardly happen.

        Examples
        --------
        >>> from dropstats import Channels, Layer
        >>> round(Network(Layer(2, 0.5), Layer(3, 0.5)).prob_any_dead(), 6)
        0.34375

        A narrow layer is what counts: a bottleneck of 16 neurons, and 8 channels that are dropped whole.

        >>> net = Network(Layer(784, 0.2), Layer(16, 0.5), Channels(8, 4 * 4, 0.2))
        >>> dead = net.prob_any_dead()
        >>> print(f"{dead:.4g} in a mask, {1 - (1 - dead) ** 10_000:.4g} in 10,000 steps")
        1.782e-05 in a mask, 0.1632 in 10,000 steps
        """
        dead = [law.prob(dropped=law.n) for law in self._leaves() if law.n]
        if any(probability == 1 for probability in dead):
            return 1.0
        # below 2^-1022 expm1(log1p(x)) is x itself
        return 0.0 - math.expm1(math.fsum(math.log1p(-probability) for probability in dead))

    def _leaves(self) -> Iterator[Law]:
        for law in self.parts:
            if isinstance(law, Network):
                yield from law._leaves()
            else:
                yield law

    def _rate_counts(self) -> Iterator[tuple[float, int]]:
        for law in self.parts:
            yield from law._rate_counts()

    def _covariance(self, i: Ints, j: Ints) -> Floats:
        out = np.zeros(i.shape)
        for start, law in self._placed():
            (here,) = np.nonzero((np.minimum(i, j) >= start) & (np.maximum(i, j) < start + law.n))
            if here.size:
                out[here] = law.covariance(i[here] - start, j[here] - start)
        return out

    def entropy_bits(self) -> float:
        """Return the Shannon entropy of a mask, in bits: the sum over the parts."""
        return math.fsum(law.entropy_bits() for law in self.parts)

    @property
    def log2_subnetworks(self) -> float:
        """Base-2 logarithm of the number of masks that can occur: the sum over the parts."""
        return sum(law.log2_subnetworks for law in self.parts)

    def _arguments(self) -> tuple[Law, ...]:
        return self.parts


def drawn_in_turn(law: Any) -> tuple[Law, ...]:
    """Return the laws that are sampled one after the other, their masks side by side; none of any other law."""
    return law.parts if getattr(type(law), "sample", None) is Network.sample else ()


def _sum_of(laws: "Iterator[Count | None]") -> "Count | None":
    """Return the law of a sum of independent counts; None where one of them is."""
    from dropstats import counts

    parts = list(laws)
    return None if any(law is None for law in parts) else counts.add(*(law for law in parts if law is not None))
