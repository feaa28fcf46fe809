"""Several independent laws, joined into one."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dropstats import _validate
from dropstats.laws.base import Floats, Ints, Law, LawMethods, Masks, frozen, rate_counts, sampling
from dropstats.laws.foreign import law_like

if TYPE_CHECKING:
    from dropstats.counts import Count


@dataclass(frozen=True, repr=False)
class Network(LawMethods):
    """Several independent laws whose masks are concatenated in order.

    The number of dropped neurons is Poisson-binomial if all neurons are independent; otherwise its distribution is the
    exact convolution of those of the parts. A network is itself a law, so networks can be nested.

    Parameters
    ----------
    *laws : Neuron, Layer, Network or any other law
        The parts, in the order of their neurons in the mask.

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
        """Whether implementations may scale by the fraction kept in each mask instead of by q."""
        return bool(self.parts) and all(law.count_normalised for law in self.parts)

    @property
    def independent(self) -> bool:
        """Whether all neurons are dropped independently: if they are in every part."""
        return all(law.independent for law in self.parts)

    @cached_property
    def n(self) -> int:
        """Number of neurons in all parts together."""
        return sum(law.n for law in self.parts)

    @cached_property
    def rates(self) -> Floats:
        """Drop probability of each neuron, read-only, of shape (n,)."""
        parts = [law.rates for law in self.parts if law.n]
        if len(parts) == 1:
            return parts[0]
        if {part.strides for part in parts} == {(0,)} and len({part[0].item() for part in parts}) == 1:
            return np.broadcast_to(parts[0][0], (self.n,))
        _validate.memory(8 * self.n, f"the rates of {self.n} neurons, not all equal,")
        return frozen(np.concatenate(parts) if parts else np.zeros(0))

    @cached_property
    def rate(self) -> float | None:
        """The common drop probability of all neurons; None if they differ or there are no neurons."""
        rates = {law.rate for law in self.parts if law.n}
        return rates.pop() if len(rates) == 1 else None

    @cached_property
    def dropped(self) -> "Count":
        """Number of dropped neurons in the whole network, as a frozen scipy distribution."""
        from dropstats import counts

        return counts.add(*(law.dropped for law in self.parts))

    @cached_property
    def variance(self) -> float:
        """Exact variance of the number of dropped neurons: the sum over the parts."""
        return math.fsum(law.variance for law in self.parts)

    def total(self, masks: int) -> "Count | None":
        """Return the distribution of the total number of neurons dropped over this many masks."""
        return _sum_of(law.total(masks) for law in self.parts)

    def shared(self, pairs: int = 1) -> "Count | None":
        """Return the distribution of the number of neurons dropped in both masks of a pair, summed over the pairs."""
        return _sum_of(law.shared(pairs) for law in self.parts)

    def _placed(self) -> Iterator[tuple[int, Law]]:
        """Yield each part with the place of its first neuron."""
        start = 0
        for law in self.parts:
            yield start, law
            start += law.n

    def sample(self, size: int = 1, rng: _validate.RNG = None) -> Masks:
        """Return bool masks of shape (size, n), the masks of the parts concatenated; see `Layer.sample`."""
        size, generator = sampling(self.n, size, rng)
        masks = np.empty((size, self.n), dtype=np.bool_)
        for start, law in self._placed():
            masks[:, start : start + law.n] = law.sample(size, generator)
        return masks

    @property
    def prob_mask_exact(self) -> bool:
        """Whether `log_prob_mask` is exact: if it is in every part."""
        return all(law.prob_mask_exact for law in self.parts)

    @property
    def prob_equal_exact(self) -> bool:
        """Whether `log_prob_equal` is exact: if it is in every part."""
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
        """Positions of mutually independent neurons, those of the parts; None if all are independent."""
        if self.independent:
            return None
        _validate.memory(8 * self.n, f"the places of {self.n} neurons")
        places = ((start, np.arange(law.n) if law.apart is None else law.apart) for start, law in self._placed())
        return frozen(np.concatenate([start + apart for start, apart in places]))

    @cached_property
    def group_of(self) -> Ints | None:
        """Group of each neuron, numbered through the parts; None if every group is one neuron."""
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
        """Network of the parts' groups, one bit per group."""
        return self if self.group_of is None else Network(*(law.reduced for law in self.parts))

    def prob_any_dead(self) -> float:
        """Return the probability that at least one part loses all its neurons, so that no signal passes.

        It is d = 1 - prod(1 - P(all neurons of the part dropped)), accurate for small probabilities too. Parts without
        neurons are ignored; a nested network contributes each of its parts.

        Returns
        -------
        float
            Probability d for one mask; for T independent masks it is 1 - (1 - d)^T.

        Raises
        ------
        ValueError
            If the number of dropped neurons of a part has no feasible distribution at its size.

        See Also
        --------
        size_for : how large a layer must be to make this unlikely.

        Examples
        --------
        >>> from dropstats import Channels, Layer
        >>> round(Network(Layer(2, 0.5), Layer(3, 0.5)).prob_any_dead(), 6)
        0.34375

        The narrowest parts decide, here a bottleneck of 16 neurons and 8 channels:

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

    def _rate_counts(self) -> tuple[Floats, Ints]:
        rates = [law._rate_counts() for law in self.parts] or [rate_counts(np.zeros(0))]
        p, number = map(np.concatenate, zip(*rates, strict=True))
        return p, number

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
