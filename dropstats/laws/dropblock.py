"""DropBlock: squares of neurons dropped around random seeds."""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate, bits
from dropstats.laws.base import Floats, Ints, LawMethods, Masks, frozen, sampling

if TYPE_CHECKING:
    from dropstats.counts import Count


@dataclass(frozen=True, repr=False)
class DropBlock(LawMethods):
    """Squares of block x block neurons dropped around seeds, each position a seed with probability gamma.

    In the paper every square lies inside the map, so that (height - block + 1) (width - block + 1) positions can be
    seeds. In the first public DropBlock library and in timm every neuron can be a seed and squares are cut at the
    border (``seeds="map"``). A neuron within reach of n seed positions is dropped with probability 1 - (1 - gamma)^n.
    This is smaller near the border, and on average smaller than p because p counts overlaps of squares twice.

    Parameters
    ----------
    height, width : int
        Size of the map, in neurons.
    block : int
        Side of a square, in neurons; at most `height` and `width`.
    p : float, optional
        Nominal drop probability, converted as in the paper: gamma = p height width / (block^2 m), where m is the
        number of possible seed positions. The mean fraction dropped, `fraction`, is smaller.
    gamma : float, optional
        Probability of a seed, in place of p. Use `exactly` to drop the fraction p on average.
    seeds : {'inside', 'map'}
        'inside' (default): every square lies inside the map, m = (height - block + 1) (width - block + 1). 'map': every
        neuron can be a seed, m = height width and gamma = p / block^2, and squares are cut at the border. Along each
        axis a square covers the (block - 1) // 2 neurons before its seed and the block // 2 after it.

    Raises
    ------
    TypeError, ValueError
        If not exactly one of p and gamma is given, one is not in [0, 1], or the block does not fit in the map.

    Notes
    -----
    `rates`, `covariance`, `fraction`, `variance` and ``prob(dropped=0)`` are exact for every size. The distribution of
    the count, `dropped`, is exact too, by a transfer matrix over rows; where that is not feasible it raises ValueError,
    and `simulate` is the alternative. For 14 x 14 neurons and blocks of 7 it takes two seconds.

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

    timm's DropBlock2d uses the paper's gamma, meant for seeds inside, with seeds on the whole map:

    >>> [round(DropBlock(n, n, 7, gamma=DropBlock(n, n, 7, p=0.1).gamma, seeds="map").fraction, 2) for n in (7, 14, 28)]
    [0.93, 0.21, 0.13]
    """

    height: int
    width: int
    block: int
    gamma: float
    seeds: str
    count_normalised: ClassVar[bool] = True

    def __init__(
        self, height: int, width: int, block: int, p: Any = None, gamma: Any = None, seeds: str = "inside"
    ) -> None:
        for name, value in zip(("height", "width", "block"), _shape(height, width, block), strict=True):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "seeds", _validate.choice(seeds, "seeds", ("inside", "map")))
        if (p is None) == (gamma is None):
            raise TypeError("DropBlock takes either p= or gamma=")
        if gamma is None:
            # block times places along an axis are at least its length, so this is at most p but for its last digit
            gamma = min(_validate.probability(p) * self.n / (self.block**2 * self._places), 1.0)
        object.__setattr__(self, "gamma", _validate.probability(gamma, "gamma"))

    @classmethod
    def exactly(cls, height: int, width: int, block: int, p: Any, seeds: str = "inside") -> Self:
        """Return the law whose mean fraction dropped is exactly p.

        Parameters
        ----------
        height, width, block : int
            As for `DropBlock`.
        p : float
            Mean fraction of neurons dropped, in [0, 1].
        seeds : {'inside', 'map'}
            As for `DropBlock`.

        Examples
        --------
        >>> law = DropBlock.exactly(14, 14, 7, 0.1)
        >>> round(law.gamma, 10), round(law.fraction, 12)
        (0.0067643534, 0.1)
        """
        from scipy.optimize import brentq

        law = cls(height, width, block, gamma=p, seeds=seeds)
        if law.gamma in (0.0, 1.0):
            return law
        # log(1 - gamma) as the unknown keeps the digits of gammas next to 0 and to 1. A neuron that n seeds reach is
        # dropped with probability 1 - (1 - gamma)^n: too often for (1 - p)^2, too rarely for (1 - p)^(1 / 4 n)
        reach, low = np.unique(law._reach, return_counts=True), 2 * math.log1p(-law.gamma)
        share = reach[1] / reach[1].sum()
        high = low / (8 * reach[0][-1])
        root = brentq(lambda log_q: -np.expm1(reach[0] * log_q) @ share - law.gamma, low, high, xtol=1e-300, rtol=1e-15)
        return cls(height, width, block, gamma=-math.expm1(root), seeds=seeds)

    @property
    def n(self) -> int:
        """Number of neurons, height times width."""
        return self.height * self.width

    @property
    def p(self) -> float:
        """Nominal drop probability: what the mean fraction dropped would be if squares never overlapped."""
        return self.gamma * self.block**2 * self._places / self.n

    @property
    def independent(self) -> bool:
        """Whether neurons are independent: only for blocks of 1, or gamma 0 or 1."""
        return self.block == 1 or self.gamma in (0.0, 1.0)

    @property
    def _margin(self) -> tuple[int, int]:
        """How far squares reach beyond the map, before it and behind it."""
        return ((self.block - 1) // 2, self.block // 2) if self.seeds == "map" else (0, 0)

    @property
    def _shape(self) -> tuple[int, int]:
        """Numbers of places for seeds along both axes."""
        beyond = sum(self._margin) - self.block + 1
        return self.height + beyond, self.width + beyond

    @property
    def _places(self) -> int:
        return math.prod(self._shape)

    @property
    def _reach(self) -> Floats:
        """The number of seeds that reach each neuron, row by row."""
        rows, columns = (_reached(length, self.block, self._margin) for length in (self.height, self.width))
        return np.outer(rows, columns).reshape(-1).astype(np.float64)

    @property
    def _log_q(self) -> float:
        return math.log1p(-self.gamma) if self.gamma < 1 else -math.inf

    @cached_property
    def rates(self) -> Floats:
        """Drop probability of each neuron, row by row, read-only, of shape (n,)."""
        return frozen(-np.expm1(self._reach * self._log_q) if self.gamma else np.zeros(self.n))

    @property
    def fraction(self) -> float:
        """Exact mean fraction of dropped neurons."""
        return math.fsum(self.rates) / self.n

    @cached_property
    def variance(self) -> float:
        """Exact variance of the number of dropped neurons, the sum of all covariances."""
        if self.gamma in (0.0, 1.0):
            return 0.0
        a, b, c, number = _pairs(self.height, self.block, self._margin)[:, :, None]
        d, e, f, times = _pairs(self.width, self.block, self._margin)[:, None, :]
        pairs = (number * times).astype(np.float64)
        return float(np.sum(pairs * self._kept_covariance(a * d, b * e, c * f)))

    @property
    def overdispersion(self) -> float:
        """Variance of the number dropped, divided by that of independent neurons with drop rate `fraction`."""
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
        (a, b, c), (d, e, f) = (_overlap(length, self.block, self._margin, *places) for length, *places in sides)
        return self._kept_covariance(a * d, b * e, c * f)

    @cached_property
    def dropped(self) -> "Count":
        """Exact distribution of the number of dropped neurons; ValueError if it is not feasible at this size."""
        from dropstats import counts

        if self.block == 1 or self.gamma in (0.0, 1.0):
            return counts.Binomial(self.n, self.gamma)
        return counts.Table(counts.squares(self.height, self.width, self.block, self.gamma, self._margin))

    def prob(
        self, *, dropped: Any = None, kept: Any = None, fraction: Any = None, log: bool = False, progress: Any = None
    ) -> float:
        """Return the probability of a count, a fraction or an interval of dropped (or kept) neurons.

        See `Layer.prob`. The probability that nothing is dropped, (1 - gamma)^m for m seed positions, and that of the
        complement are available at every size.

        Examples
        --------
        >>> law = DropBlock(4, 4, 2, gamma=0.1)
        >>> round(law.prob(dropped=0), 6) == round(0.9**9, 6)
        True
        """
        if fraction is not None and dropped is None and kept is None:
            first, last = _validate.share_of(fraction, self.n, "fraction")
            if first is not None and last is not None and first > last:  # no whole number lies between the shares
                return -math.inf if log else 0.0
            dropped, fraction = (first, last), None
        if (dropped is None) != (kept is None) and fraction is None:
            low, high = _validate.closed_interval(*((dropped, "dropped") if kept is None else (kept, "kept")))
            low, high = 0 if low is None else low, self.n if high is None else high
            if dropped is None:
                low, high = self.n - high, self.n - low
            nothing = self._places * self._log_q if self.gamma else 0.0
            if low <= 0 == high:
                return nothing if log else math.exp(nothing)
            if low == 1 and high >= self.n and 0 < self.gamma < 1:
                something = -math.expm1(nothing)
                return math.log(something) if log else something
        return super().prob(dropped=dropped, kept=kept, fraction=fraction, log=log, progress=progress)

    @cached_property
    def apart(self) -> Ints | None:
        """Positions `block` apart along both axes, which are independent; None if all neurons are."""
        if self.independent:
            return None
        places = np.arange(self.n).reshape(self.height, self.width)
        grids = [places[i :: self.block, j :: self.block].ravel() for i, j in np.ndindex(self.block, self.block)]
        return frozen(max(grids, key=lambda grid: float((self.rates[grid] * (1 - self.rates[grid])).sum())))

    @property
    def mistaken(self) -> tuple[tuple[LawMethods, str], ...]:
        """DropBlock laws with the seeds or the gamma of another implementation, each with a description."""
        if self.block == 1 or self.p > 1:
            return ()
        sides, plain = (self.height, self.width, self.block), self.p / self.block**2
        if self.seeds == "map":
            inside = DropBlock(*sides, p=self.p), DropBlock(*sides, gamma=self.gamma)
            return tuple((law, "no seeds near the border") for law in inside)
        return (
            (
                DropBlock(*sides, gamma=self.gamma, seeds="map"),
                "seeds on the whole map, with the gamma for seeds inside",
            ),
            (DropBlock(*sides, gamma=plain, seeds="map"), "seeds on the whole map, with gamma = p / block^2"),
            (DropBlock(*sides, gamma=plain), "gamma = p / block^2, which is for seeds on the whole map"),
        )

    def _log_prob_mask(self, kept: Masks) -> Floats:
        """Return a bound: seeds whose square is not wholly dropped are none, those that alone drop a neuron are one."""
        if self.gamma in (0.0, 1.0):
            return super()._log_prob_mask(kept)
        dropped = ~kept.reshape(-1, self.height, self.width)
        # beyond the map all may be covered
        beyond = np.pad(dropped, ((0, 0), self._margin, self._margin), constant_values=True)
        seeds = _over_squares(beyond, self.block, np.bitwise_and)
        around = (self.block - 1 - self._margin[0], self.block - 1 - self._margin[1])
        number = np.min_scalar_type(self.block**2)
        reach = _over_squares(np.pad(seeds, ((0, 0), around, around)).astype(number), self.block, np.add)
        alone = _over_squares(np.pad(reach == 1, ((0, 0), self._margin, self._margin)), self.block, np.bitwise_or)
        forced, allowed = (np.count_nonzero(which, axis=(1, 2)) for which in (seeds & alone, seeds))
        logs = forced * math.log(self.gamma) + (self._places - allowed) * self._log_q
        return np.where(((reach > 0) == dropped).all(axis=(1, 2)), logs, -np.inf)

    def sample(self, size: int = 1, rng: _validate.RNG = None) -> Masks:
        """Return bool masks of shape (size, n), True = kept, row by row; see `Layer.sample`."""
        size, generator = sampling(self.n, size, rng)
        (high, wide), (before, behind) = self._shape, self._margin
        seedless = bits.kept_masks(np.broadcast_to(np.float64(self.gamma), (high * wide,)), size, generator)
        rows = np.ones((size, high, before + self.width + behind), np.bool_)
        for shift in range(self.block):
            rows[:, :, shift : shift + wide] &= seedless.reshape(size, high, wide)
        masks = np.ones((size, before + self.height + behind, self.width), np.bool_)
        for shift in range(self.block):
            masks[:, shift : shift + high] &= rows[:, :, before : before + self.width]
        return masks[:, before : before + self.height].reshape(size, self.n)

    def entropy_bits(self) -> float:
        """Raise NotImplementedError: different seeds can give the same mask, and no closed form is known."""
        raise NotImplementedError(
            "the entropy of DropBlock masks has no closed form: different seeds can give the same mask"
        )

    @property
    def log2_subnetworks(self) -> float:
        """Raise NotImplementedError, like `entropy_bits`."""
        raise NotImplementedError(
            "the number of DropBlock masks has no closed form: different seeds can give the same mask"
        )

    def __repr__(self) -> str:
        seeds = ", seeds='map'" if self.seeds == "map" else ""
        return f"{type(self).__name__}({self.height}, {self.width}, {self.block}, gamma={self.gamma!r}{seeds})"

    def _arguments(self) -> tuple[Any, ...]:
        return self.height, self.width, self.block, None, self.gamma, self.seeds


def _over_squares(cells: NDArray[Any], block: int, join: np.ufunc) -> NDArray[Any]:
    """Return what joins the cells of each square of block x block cells of each map: their sum, any of them, or all."""
    for axis in (1, 2):
        length, joined, run, size = cells.shape[axis], cells, cells, 0
        at: tuple[Any, ...] = (slice(None),) * axis
        # runs of 1, 2, 4, ... cells, put together by the binary digits of block
        for span in (1 << digit for digit in range(block.bit_length())):
            if block & span:
                places = length - size - span + 1
                joined = join(joined[(*at, slice(places))], run[(*at, slice(size, None))]) if size else run
                size += span
            if 2 * span <= block:
                run = join(run[(*at, slice(-span))], run[(*at, slice(span, None))])
        cells = joined
    return cells


def _shape(height: Any, width: Any, block: Any) -> tuple[int, int, int]:
    height = _validate.neurons(height, "height", minimum=1)
    width = _validate.neurons(width, "width", minimum=1)
    block = _validate.neurons(block, "block", minimum=1)
    if block > min(height, width):
        raise ValueError(f"block must fit in the map of {height} x {width}; got {block}")
    _validate.neurons(height * width, "height times width")
    _validate.memory(8 * height * width, f"the rates of {height} x {width} neurons")
    return height, width, block


def _reached(length: int, block: int, margin: tuple[int, int]) -> Ints:
    """Return along one axis the number of seeds that reach each place."""
    return _overlap(length, block, margin, np.arange(length), np.arange(length))[2]


def _overlap(length: int, block: int, margin: tuple[int, int], i: Ints, j: Ints) -> tuple[Ints, Ints, Ints]:
    """Return along one axis the number of seeds that reach place i, that reach j, and that reach both."""
    # the first place of the squares that begin first and last
    first, last = -margin[0], length + margin[1] - block

    def number(low: Ints, high: Ints) -> Ints:
        return np.asarray(np.maximum(np.minimum(low, last) - np.maximum(high - block + 1, first) + 1, 0))

    return number(i, i), number(j, j), number(np.minimum(i, j), np.maximum(i, j))


@lru_cache(maxsize=64)
def _pairs(length: int, block: int, margin: tuple[int, int]) -> Ints:
    """Return the columns (reach of i, of j, of both, number of such pairs) of all pairs that share seeds."""
    i = np.repeat(np.arange(length), 2 * block - 1)
    j = i + np.tile(np.arange(1 - block, block), length)
    inside = (j >= 0) & (j < length)
    overlap = np.stack(_overlap(length, block, margin, i[inside], j[inside]))
    found, number = np.unique(overlap, axis=1, return_counts=True)
    shared = found[2] > 0
    return np.vstack([found[:, shared], number[shared]])
