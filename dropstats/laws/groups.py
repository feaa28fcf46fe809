"""Neurons that are dropped as a group: channels, frames, heads, blocks of layers, time steps under one mask."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate
from dropstats.laws.base import Words, sampling
from dropstats.laws.layers import Layer

if TYPE_CHECKING:
    from dropstats.counts import Count


@dataclass(frozen=True)
class Channels(Words):
    """Groups of neurons that are kept or dropped together, each group independently: spatial dropout.

    The number dropped is `size` times a binomial: its variance is `size` times that of as many independent neurons.
    The same law holds wherever a group is dropped as one: LayerDrop (groups are layers; Fan, Grave, Joulin 2020,
    arXiv:1909.11556), DropHead (heads; Zhou et al. 2020, arXiv:2004.13342), tokens, patches, frames.

    Parameters
    ----------
    channels : int
        Number of groups.
    size : int
        Number of neurons of a group, height times width for a channel of an image.
    p : float or array_like of shape (channels,)
        Probability that a group is dropped, one for all or one for each.

    Notes
    -----
    A mask holds the neurons of the first channel, then those of the second, as in PyTorch (C, H, W). `with_noise_shape`
    takes any other layout, `locked` a mask that is the same at all time steps.

    References
    ----------
    J. Tompson, R. Goroshin, A. Jain, Y. LeCun, C. Bregler (2015). Efficient object localization using convolutional
    networks. CVPR, doi:10.1109/CVPR.2015.7298664.

    Examples
    --------
    >>> law = Channels(64, 8 * 8, 0.2)
    >>> round(float(law.dropped.mean()), 2), round(float(law.dropped.var()), 2)
    (819.2, 41943.04)
    >>> round(law.groups.prob(dropped=10), 6) == round(law.prob(dropped=640), 6)
    True
    """

    shape: tuple[int, ...]
    noise_shape: tuple[int, ...]
    groups: Layer

    def __init__(self, channels: int, size: int, p: Any) -> None:
        channels, size = _validate.neurons(channels, "channels"), _validate.neurons(size, "size", minimum=1)
        self._set((channels, size), (channels, 1), p)

    def _set(self, shape: tuple[int, ...], noise_shape: tuple[int, ...], p: Any) -> None:
        _validate.neurons(math.prod(shape), "the number of neurons")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "noise_shape", noise_shape)
        object.__setattr__(self, "groups", Layer(math.prod(noise_shape), p))

    @classmethod
    def with_noise_shape(cls, shape: Any, noise_shape: Any, p: Any) -> Self:
        """Return the law of dropout with a noise shape, as Keras and TensorFlow spell it.

        Parameters
        ----------
        shape : sequence of int
            Shape of what is masked.
        noise_shape : sequence of int or None
            Shape of the random bits: along each axis 1, where one bit serves the whole axis, or the length of the
            axis, which None stands for.
        p : float or array_like
            Probability that a group is dropped: one, or one for each in the order of the random bits.

        Examples
        --------
        Keras' ``SpatialDropout2D`` of a batch of 32 images of 8 x 8 pixels with 64 channels, channels last:

        >>> law = Channels.with_noise_shape((32, 8, 8, 64), (None, 1, 1, None), 0.2)
        >>> law.n, law.groups.n, law.size
        (131072, 2048, 64)
        """
        shape = _lengths(shape)
        noise = tuple(noise_shape) if isinstance(noise_shape, tuple | list) else (noise_shape,)
        if len(noise) != len(shape):
            raise ValueError(f"noise_shape must have {len(shape)} entries, as shape has; got {noise!r}")
        for axis, (bits, length) in enumerate(zip(noise, shape, strict=True)):
            if bits is not None and (isinstance(bits, bool) or bits not in (1, length)):
                raise ValueError(f"noise_shape must be 1, {length} or None at index {axis}; got {bits!r}")
        law = cls.__new__(cls)
        law._set(shape, tuple(length if b is None else int(b) for b, length in zip(noise, shape, strict=True)), p)
        return law

    @classmethod
    def locked(cls, steps: int, n: int, p: Any) -> Self:
        """Return the law of a mask of n neurons that is locked over time: the same at all steps of a sequence.

        The mask of all steps holds step after step. A neuron is off at all of them with probability p, not p^steps.

        Parameters
        ----------
        steps : int
            Number of time steps.
        n : int
            Number of neurons at each.
        p : float or array_like of shape (n,)
            Probability that a neuron is dropped.

        References
        ----------
        Y. Gal, Z. Ghahramani (2016). A theoretically grounded application of dropout in recurrent neural networks.
        Advances in Neural Information Processing Systems 29, 1019-1027.

        Examples
        --------
        >>> law = Channels.locked(steps=35, n=100, p=0.25)
        >>> law.dropped.var() / Layer(35 * 100, 0.25).dropped.var()
        np.float64(35.0)
        """
        steps = _validate.neurons(steps, "steps", minimum=1)
        return cls.with_noise_shape((steps, _validate.neurons(n)), (1, None), p)

    @property
    def n(self) -> int:
        """Number of neurons."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Number of neurons of a group."""
        return math.prod(length for length, noise in zip(self.shape, self.noise_shape, strict=True) if noise != length)

    @property
    def independent(self) -> bool:
        """Whether all neurons are independent: whether groups are single neurons, or certain."""
        return self.size == 1 or self.groups.log2_subnetworks == 0

    @cached_property
    def rates(self) -> NDArray[np.float64]:  # type: ignore[override]
        """Drop probability of each neuron, read-only, of shape (n,)."""
        if self.groups.rates.strides == (0,):
            return np.broadcast_to(np.float64(self.groups.p), (self.n,))
        _validate.memory(8 * self.n, f"the rates of {self.n} neurons, not all equal,")
        rates = np.broadcast_to(self.groups.rates.reshape(self.noise_shape), self.shape).reshape(-1)
        rates.flags.writeable = False
        return rates

    @cached_property
    def dropped(self) -> "Count":  # type: ignore[override]
        """Law of the number of dropped neurons: `size` times that of dropped groups."""
        from dropstats import counts

        return self.groups.dropped if self.size == 1 else counts.Lattice(self.groups.dropped, self.size)

    def sample(self, size: int = 1, rng: _validate.RNG = None) -> NDArray[np.bool_]:
        """Return bool masks of shape (size, n), True = kept; see `Layer.sample`."""
        size, generator = sampling(self.n, size, rng)
        bits = self.groups.sample(size, generator).reshape(size, *self.noise_shape)
        return np.broadcast_to(bits, (size, *self.shape)).reshape(size, self.n)

    def group(self, i: Any) -> Any:
        """Return the group that neuron i belongs to, of 0 to groups.n - 1; i may be an array."""
        places = np.unravel_index(_validate.indices(i, self.n, "i"), self.shape)
        inside = [np.minimum(at, bits - 1) for at, bits in zip(places, self.noise_shape, strict=True)]
        return np.ravel_multi_index(tuple(inside), self.noise_shape)

    def _covariance(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.groups._covariance(self.group(i), self.group(j))

    def entropy_bits(self) -> float:
        """Return the Shannon entropy of a mask, in bits: that of its groups."""
        return self.groups.entropy_bits()

    @property
    def log2_subnetworks(self) -> int:
        """Base-2 logarithm of the number of masks that can occur: the number of groups with 0 < p < 1."""
        return self.groups.log2_subnetworks

    def __repr__(self) -> str:
        rate = repr(self.groups).removeprefix(f"Layer({self.groups.n}, ").removesuffix(")")
        if self.noise_shape == (self.shape[0], 1) and len(self.shape) == 2:
            return f"{type(self).__name__}({self.shape[0]}, {self.shape[1]}, {rate})"
        return f"{type(self).__name__}.with_noise_shape({self.shape}, {self.noise_shape}, {rate})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).with_noise_shape, (self.shape, self.noise_shape, self.groups.p)


def _lengths(shape: Any) -> tuple[int, ...]:
    entries = shape if isinstance(shape, tuple | list) else (shape,)
    return tuple(_validate.neurons(length, f"shape[{axis}]") for axis, length in enumerate(entries))


@dataclass(frozen=True)
class FixedCount(Words):
    """Exactly k of n neurons dropped, all choices equally probable.

    The number dropped does not vary; two neurons are correlated by -1 / (n - 1). Of m neurons chosen beforehand a
    hypergeometric number is dropped: `among`.

    Parameters
    ----------
    n : int
        Number of neurons.
    k : int
        Number of them that are dropped in each mask, at most n.

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
        """Whether neurons are independent: only where all of them, or none, are dropped."""
        return self.k in (0, self.n)

    @property
    def rates(self) -> NDArray[np.float64]:  # type: ignore[override]
        """Drop probability of each neuron, k / n, read-only, of shape (n,)."""
        return np.broadcast_to(np.float64(self.k / self.n if self.n else 0.0), (self.n,))

    @cached_property
    def dropped(self) -> "Count":  # type: ignore[override]
        """Law of the number of dropped neurons: always k."""
        from dropstats import counts

        return counts.certain(self.n, self.k)

    def among(self, m: int) -> "Count":
        """Return the law of the number dropped among m neurons chosen beforehand: a hypergeometric law.

        Parameters
        ----------
        m : int
            Number of chosen neurons, at most n.
        """
        from dropstats import counts

        m = _validate.integer(m, "m", minimum=0, maximum=self.n)
        return counts.hypergeometric(self.n, self.k, m)

    def sample(self, size: int = 1, rng: _validate.RNG = None) -> NDArray[np.bool_]:
        """Return bool masks of shape (size, n), True = kept; see `Layer.sample`."""
        size, generator = sampling(self.n, size, rng)
        masks = np.tile(np.arange(self.n) >= self.k, (size, 1))
        return generator.permuted(masks, axis=1, out=masks)

    def _covariance(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
        variance = self.k * (self.n - self.k) / self.n**2
        return np.where(i == j, variance, -variance / max(self.n - 1, 1))

    def entropy_bits(self) -> float:
        """Return the Shannon entropy of a mask, in bits: log2 of the number of choices."""
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

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n}, {self.k})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.n, self.k)
