"""Neurons that are dropped in groups: channels, frames, heads, blocks of layers, time steps under one mask."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from dropstats import _validate
from dropstats.laws.base import Floats, Ints, LawMethods, Masks, frozen, sampling
from dropstats.laws.layer import Layer

if TYPE_CHECKING:
    from dropstats.counts import Count


@dataclass(frozen=True, repr=False)
class Channels(LawMethods):
    """Groups of neurons that are kept or dropped together, each group independently: spatial dropout.

    The number of dropped neurons is `size` times a binomial count, so its variance is `size` times that of the same
    number of independent neurons. The same law holds wherever neurons are dropped in groups: LayerDrop (groups are
    layers; Fan, Grave, Joulin 2020, arXiv:1909.11556), DropHead (heads; Zhou et al. 2020, arXiv:2004.13342), tokens,
    patches, frames.

    Parameters
    ----------
    channels : int
        Number of groups.
    size : int
        Number of neurons in a group; height times width for a channel of an image.
    p : float or array_like of shape (channels,)
        Probability that a group is dropped: one number for all groups, or one per group.

    Notes
    -----
    A mask lists the neurons of the first channel, then those of the second, as PyTorch does (C, H, W). Use
    `with_noise_shape` for any other layout and `locked` for a mask that is the same at all time steps.

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
        """Return the law of dropout with a noise shape, as defined by Keras and TensorFlow.

        Parameters
        ----------
        shape : sequence of int
            Shape of the array that is masked.
        noise_shape : sequence of int or None
            Shape of the random bits. Each entry is 1 (one bit for the whole axis), or the length of the axis; None
            stands for that length.
        p : float or array_like
            Probability that a group is dropped: one number, or one per group in the order of the random bits.

        Raises
        ------
        TypeError, ValueError
            If `noise_shape` does not fit `shape`, or p is not a probability.

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
        """Return the law of a mask of n neurons that is the same at all time steps of a sequence.

        The mask lists the neurons of the first step, then those of the second. A neuron is dropped at all steps with
        probability p, not p^steps.

        Parameters
        ----------
        steps : int
            Number of time steps.
        n : int
            Number of neurons at each step.
        p : float or array_like of shape (n,)
            Probability that a neuron is dropped: one number, or one per neuron.

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
        """Number of neurons in a group."""
        return math.prod(length for length, noise in zip(self.shape, self.noise_shape, strict=True) if noise != length)

    @property
    def independent(self) -> bool:
        """Whether all neurons are independent: if each group is one neuron, or every p is 0 or 1."""
        return self.size == 1 or self.groups.log2_subnetworks == 0

    @cached_property
    def rates(self) -> Floats:
        """Drop probability of each neuron, read-only, of shape (n,)."""
        if self.groups.rates.strides == (0,):
            return np.broadcast_to(np.float64(self.groups.p), (self.n,))
        _validate.memory(8 * self.n, f"the rates of {self.n} neurons, not all equal,")
        return frozen(np.broadcast_to(self.groups.rates.reshape(self.noise_shape), self.shape).reshape(-1))

    @cached_property
    def dropped(self) -> "Count":
        """Distribution of the number of dropped neurons: `size` times the number of dropped groups."""
        return cast("Count", self._scaled(self.groups.dropped))

    def total(self, masks: int) -> "Count | None":
        """Return the distribution of the total number of neurons dropped over this many masks."""
        return self._scaled(self.groups.total(masks))

    def shared(self, pairs: int = 1) -> "Count | None":
        """Return the distribution of the number of neurons dropped in both masks of a pair, summed over the pairs."""
        return self._scaled(self.groups.shared(pairs))

    def _scaled(self, groups: "Count | None") -> "Count | None":
        from dropstats import counts

        return groups if groups is None or self.size == 1 else counts.Scaled(groups, self.size)

    def sample(self, size: int = 1, rng: _validate.RNG = None) -> Masks:
        """Return bool masks of shape (size, n), True = kept; see `Layer.sample`."""
        size, generator = sampling(self.n, size, rng)
        bits = self.groups.sample(size, generator).reshape(size, *self.noise_shape)
        return np.broadcast_to(bits, (size, *self.shape)).reshape(size, self.n)

    def group(self, i: Any) -> Any:
        """Return the group of neuron i, 0 to groups.n - 1; i may be an array.

        Examples
        --------
        >>> Channels(3, 4, 0.5).group([0, 3, 4, 11])
        array([0, 0, 1, 2])
        """
        places = np.unravel_index(_validate.indices(i, self.n, "i"), self.shape)
        inside = [np.minimum(at, bits - 1) for at, bits in zip(places, self.noise_shape, strict=True)]
        return np.ravel_multi_index(tuple(inside), self.noise_shape)

    @cached_property
    def group_of(self) -> Ints | None:
        """Group of each neuron, 0 to m - 1; None if each group is one neuron."""
        if self.size == 1:
            return None
        _validate.memory(32 * self.n, f"the groups of {self.n} neurons")
        return frozen(self.group(np.arange(self.n)))

    @property
    def reduced(self) -> LawMethods:
        """Layer of the groups, one bit per group."""
        return self if self.size == 1 else self.groups

    @cached_property
    def apart(self) -> Ints | None:
        """Position of the first neuron of each group; None if all neurons are independent."""
        if self.independent:
            return None
        bits = np.unravel_index(np.arange(self.groups.n), self.noise_shape)
        return frozen(np.ravel_multi_index(bits, self.shape))

    @property
    def prob_mask_exact(self) -> bool:
        """Whether `log_prob_mask` is exact: True."""
        return True

    prob_equal_exact = prob_mask_exact

    def _log_prob_mask(self, kept: Masks) -> Floats:
        shape = kept.shape[0], *self.shape
        # the first neuron of each group stands for it
        first = kept.reshape(shape)[(slice(None), *(slice(None, bits) for bits in self.noise_shape))]
        agree = (kept.reshape(shape) == first).reshape(kept.shape).all(axis=1)
        return np.where(agree, self.groups._log_prob_mask(first.reshape(kept.shape[0], self.groups.n)), -np.inf)

    @property
    def log_prob_equal(self) -> float:
        """Natural log of the probability that two independent masks are equal."""
        return self.groups.log_prob_equal

    def _covariance(self, i: Ints, j: Ints) -> Floats:
        return self.groups._covariance(self.group(i), self.group(j))

    def entropy_bits(self) -> float:
        """Return the Shannon entropy of a mask, in bits: the sum over the groups."""
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
