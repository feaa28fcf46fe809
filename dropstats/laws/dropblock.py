"""DropBlock: squares of neurons dropped around random seeds."""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from dropstats import _validate, bits
from dropstats.laws.base import Floats, Ints, LawMethods, Masks, frozen, sampling

if TYPE_CHECKING:
    from dropstats.counts import Count


@dataclass(frozen=True, repr=False)
class DropBlock(LawMethods):
    """Squares of block x block neurons dropped around seeds, each seed with probability gamma.

    A square lies wholly inside the map, so there are (height - block + 1) (width - block + 1) places for a seed. A
    neuron that n seeds reach is dropped with probability 1 - (1 - gamma)^n: fewer at the borders, and on average less
    than p, since the paper's gamma counts overlapping squares twice.

    Parameters
    ----------
    height, width : int
        Size of the map.
    block : int
        Side of a square, at most height and width.
    p : float, optional
        Nominal drop probability; gamma = p height width / (block^2 (height - block + 1) (width - block + 1)), as in
        the paper. The mean fraction dropped is `fraction`, below p.
    gamma : float, optional
        Probability of a seed, instead of p. See `exactly` for the gamma that drops the fraction p on average.

    Notes
    -----
    `rates`, `covariance`, `fraction`, `variance` and ``prob(dropped=0)`` are exact for every size. The law of the
    count is exact, too, by a transfer matrix over rows, where that is feasible (six seconds for 14 x 14 neurons
    and blocks of 7); elsewhere `dropped` raises ValueError, and `simulate` answers with an error of its own.

    References
    ----------
    G. Ghiasi, T.-Y. Lin, Q. V. Le (2018). DropBlock: a regularization method for convolutional networks. Advances in
    Neural Information Processing Systems 31, 10727-10737, arXiv:1810.12890.

    Examples
    --------
    >>> law = DropBlock(14, 14, 7, p=0.1)
    >>> law
    DropBlock(14, 14, 7, gamma=0.00625)
    >>> round(law.fraction, 8), round(law.overdispersion, 2)
    (0.09294004, 44.74)
    >>> float(law.covariance(0, 1)) > 0  # neighbours are dropped together
    True
    """

    height: int
    width: int
    block: int
    gamma: float
    count_normalised: ClassVar[bool] = True

    def __init__(self, height: int, width: int, block: int, p: Any = None, *, gamma: Any = None) -> None:
        height, width, block = _shape(height, width, block)
        for name, value in zip(("height", "width", "block"), (height, width, block), strict=True):
            object.__setattr__(self, name, value)
        if (p is None) == (gamma is None):
            raise TypeError("DropBlock takes either p= or gamma=, one of the two")
        if gamma is None:
            # block (length - block + 1) >= length, so this is at most p but for its last digit
            gamma = min(_validate.probability(p) * self.n / (block**2 * self._seeds), 1.0)
        object.__setattr__(self, "gamma", _validate.probability(gamma, "gamma"))

    @classmethod
    def exactly(cls, height: int, width: int, block: int, p: Any) -> Self:
        """Return the law whose mean fraction dropped is exactly p.

        Examples
        --------
        >>> law = DropBlock.exactly(14, 14, 7, 0.1)
        >>> round(law.gamma, 10), round(law.fraction, 12)
        (0.0067643534, 0.1)
        """
        from scipy.optimize import brentq

        p, shape = _validate.probability(p), _shape(height, width, block)
        if p in (0.0, 1.0):
            return cls(*shape, gamma=p)
        # log(1 - gamma) as the unknown keeps the digits of gammas next to 0 and to 1. A neuron that n seeds reach is
        # dropped with probability 1 - (1 - gamma)^n: too often for (1 - p)^2, too rarely for (1 - p)^(1 / 4 n)
        reach, low = np.unique(_reach(*shape), return_counts=True), 2 * math.log1p(-p)
        share = reach[1] / reach[1].sum()
        high = low / (8 * reach[0][-1])
        root = brentq(lambda log_q: -np.expm1(reach[0] * log_q) @ share - p, low, high, xtol=1e-300, rtol=1e-15)
        return cls(*shape, gamma=-math.expm1(root))

    @property
    def n(self) -> int:
        """Number of neurons, height times width."""
        return self.height * self.width

    @property
    def p(self) -> float:
        """Nominal drop probability: squares times neurons of a square, per neuron, as if squares never overlapped."""
        return self.gamma * self.block**2 * self._seeds / self.n

    @property
    def independent(self) -> bool:
        """Whether neurons are independent: only for blocks of 1, or where all is certain."""
        return self.block == 1 or self.gamma in (0.0, 1.0)

    @property
    def _seeds(self) -> int:
        return (self.height - self.block + 1) * (self.width - self.block + 1)

    @property
    def _log_q(self) -> float:
        return math.log1p(-self.gamma) if self.gamma < 1 else -math.inf

    @cached_property
    def rates(self) -> Floats:
        """Drop probability of each neuron, row by row, read-only, of shape (n,)."""
        reach = _reach(self.height, self.width, self.block)
        return frozen(-np.expm1(reach * self._log_q) if self.gamma else np.zeros(self.n))

    @property
    def fraction(self) -> float:
        """Mean fraction of neurons that is dropped, exactly."""
        return math.fsum(self.rates) / self.n

    @cached_property
    def variance(self) -> float:
        """Variance of the number of dropped neurons, exactly, from the law of two neurons."""
        if self.gamma in (0.0, 1.0):
            return 0.0
        a, b, c, number = _pairs(self.height, self.block)[:, :, None]
        d, e, f, times = _pairs(self.width, self.block)[:, None, :]
        pairs = (number * times).astype(np.float64)
        return float(np.sum(pairs * self._kept_covariance(a * d, b * e, c * f)))

    @property
    def overdispersion(self) -> float:
        """Variance of the number dropped over that of independent neurons dropped with probability `fraction`."""
        fraction = self.fraction
        return self.variance / (self.n * fraction * (1 - fraction))

    def _kept_covariance(self, first: Any, second: Any, both: Any) -> Floats:
        """Return q^(first + second - both) - q^(first + second), without cancellation; q = 1 - gamma."""
        log_q = self._log_q
        return np.asarray(-np.exp(log_q * (first + second - both)) * np.expm1(log_q * both))

    def _covariance(self, i: Ints, j: Ints) -> Floats:
        if self.gamma in (0.0, 1.0):
            return np.zeros(i.shape)
        sides = (self.height, i // self.width, j // self.width), (self.width, i % self.width, j % self.width)
        (a, b, c), (d, e, f) = (_overlap(length, self.block, at, other) for length, at, other in sides)
        return self._kept_covariance(a * d, b * e, c * f)

    @cached_property
    def dropped(self) -> "Count":
        """Law of the number of dropped neurons, exact; ValueError where that is not feasible."""
        from dropstats import counts

        if self.block == 1 or self.gamma in (0.0, 1.0):
            return counts.Binomial(self.n, self.gamma)
        return counts.Table(counts.squares(self.height, self.width, self.block, self.gamma))

    def prob(self, *, dropped: Any = None, kept: Any = None, log: bool = False) -> float:
        """Return the probability of a number, or an interval of numbers, of dropped (or kept) neurons.

        As for every law, see `Layer.prob`; that nothing is dropped, (1 - gamma)^seeds, or something, needs no law of
        the count and is answered for every size.
        """
        if (dropped is None) != (kept is None):
            low, high = _validate.closed_interval(*((dropped, "dropped") if kept is None else (kept, "kept")))
            low, high = 0 if low is None else low, self.n if high is None else high
            if dropped is None:
                low, high = self.n - high, self.n - low
            nothing = self._seeds * self._log_q if self.gamma else 0.0
            if low <= 0 == high:
                return nothing if log else math.exp(nothing)
            if low == 1 and high >= self.n and 0 < self.gamma < 1:
                something = -math.expm1(nothing)
                return math.log(something) if log else something
        return super().prob(dropped=dropped, kept=kept, log=log)

    @cached_property
    def apart(self) -> Ints | None:
        """Neurons `block` apart along both axes, which share no seed: those that tell most; None where all are."""
        if self.independent:
            return None
        places = np.arange(self.n).reshape(self.height, self.width)
        grids = [places[i :: self.block, j :: self.block].ravel() for i, j in np.ndindex(self.block, self.block)]
        return frozen(max(grids, key=lambda grid: float((self.rates[grid] * (1 - self.rates[grid])).sum())))

    def _log_prob_mask(self, kept: Masks) -> Floats:
        """Return a bound: seeds whose square is not wholly dropped are none, those that alone drop a neuron are one."""
        if self.gamma in (0.0, 1.0):
            return super()._log_prob_mask(kept)
        dropped = ~kept.reshape(-1, self.height, self.width)
        seeds = _square_sums(dropped, self.block) == self.block**2
        around = self.block - 1
        reach = _square_sums(np.pad(seeds, ((0, 0), (around, around), (around, around))), self.block)
        alone = _square_sums(reach == 1, self.block) > 0
        forced, allowed = (np.count_nonzero(which, axis=(1, 2)) for which in (seeds & alone, seeds))
        logs = forced * math.log(self.gamma) + (self._seeds - allowed) * self._log_q
        return np.where(((reach > 0) == dropped).all(axis=(1, 2)), logs, -np.inf)

    def sample(self, size: int = 1, rng: _validate.RNG = None) -> Masks:
        """Return bool masks of shape (size, n), True = kept, row by row; see `Layer.sample`."""
        size, generator = sampling(self.n, size, rng)
        high, wide = self.height - self.block + 1, self.width - self.block + 1
        seedless = bits.kept_masks(np.broadcast_to(np.float64(self.gamma), (high * wide,)), size, generator)
        rows = np.ones((size, high, self.width), np.bool_)
        for shift in range(self.block):
            rows[:, :, shift : shift + wide] &= seedless.reshape(size, high, wide)
        masks = np.ones((size, self.height, self.width), np.bool_)
        for shift in range(self.block):
            masks[:, shift : shift + high] &= rows
        return masks.reshape(size, self.n)

    def entropy_bits(self) -> float:
        """Raise NotImplementedError: different seeds may drop the same neurons, and no closed form is known."""
        raise NotImplementedError(
            "the entropy of DropBlock masks has no closed form: different seeds may make one mask"
        )

    @property
    def log2_subnetworks(self) -> float:
        """Raise NotImplementedError, as `entropy_bits` does."""
        raise NotImplementedError("the number of DropBlock masks has no closed form: seeds may agree in their mask")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.height}, {self.width}, {self.block}, gamma={self.gamma!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.height, self.width, self.block, self.gamma)


def _rebuilt(cls: type[DropBlock], height: int, width: int, block: int, gamma: float) -> DropBlock:
    return cls(height, width, block, gamma=gamma)


def _square_sums(cells: Masks, block: int) -> Ints:
    """Return the sums over all squares of block x block cells of each map."""
    sums = np.pad(cells, ((0, 0), (1, 0), (1, 0))).cumsum(axis=1, dtype=np.int64).cumsum(axis=2)
    rows = sums[:, block:] - sums[:, :-block]
    return np.asarray(rows[:, :, block:] - rows[:, :, :-block])


def _shape(height: Any, width: Any, block: Any) -> tuple[int, int, int]:
    height = _validate.neurons(height, "height", minimum=1)
    width = _validate.neurons(width, "width", minimum=1)
    block = _validate.neurons(block, "block", minimum=1)
    if block > min(height, width):
        raise ValueError(f"block must fit in the map of {height} x {width}; got {block}")
    _validate.neurons(height * width, "height times width")
    _validate.memory(8 * height * width, f"the rates of {height} x {width} neurons")
    return height, width, block


def _reached(length: int, block: int) -> Ints:
    """Return along one axis the number of seeds that reach each place."""
    at = np.arange(length)
    return np.minimum(at, length - block) - np.maximum(0, at - block + 1) + 1


def _reach(height: int, width: int, block: int) -> Floats:
    """Return the number of seeds that reach each neuron, row by row."""
    return np.outer(_reached(height, block), _reached(width, block)).reshape(-1).astype(np.float64)


def _overlap(length: int, block: int, i: Ints, j: Ints) -> tuple[Ints, Ints, Ints]:
    """Return along one axis the number of seeds that reach place i, that reach j, and that reach both."""
    reached = _reached(length, block)
    first, last = np.maximum(np.maximum(i, j) - block + 1, 0), np.minimum(np.minimum(i, j), length - block)
    return reached[i], reached[j], np.maximum(last - first + 1, 0)


@lru_cache(maxsize=64)
def _pairs(length: int, block: int) -> Ints:
    """Return the columns (reach of i, of j, of both, number of such pairs) of all pairs that share seeds."""
    i = np.repeat(np.arange(length), 2 * block - 1)
    j = i + np.tile(np.arange(1 - block, block), length)
    inside = (j >= 0) & (j < length)
    found, number = np.unique(np.stack(_overlap(length, block, i[inside], j[inside])), axis=1, return_counts=True)
    shared = found[2] > 0
    return np.vstack([found[:, shared], number[shared]])
