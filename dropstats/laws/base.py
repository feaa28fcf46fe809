"""What every law of dropout masks answers: what follows from its rates, and where neurons are independent, all."""

import dataclasses
import math
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from dropstats import _progress, _validate

if TYPE_CHECKING:
    from dropstats.counts import Count

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Masks = NDArray[np.bool_]

_T = TypeVar("_T")

# Masks whose probability is asked are gone through in blocks of about this many neurons (8 bytes each).
BLOCK = 2**22


class LawMethods:
    """What a law answers: a subclass supplies ``n``, ``rates``, ``dropped`` and ``sample``; the rest follows, or it is
    sharpened by what the subclass knows.
    """  # noqa: D205

    is_noise: ClassVar[bool] = False
    # whether implementations may divide what they keep by the share that this very mask keeps
    count_normalised: ClassVar[bool] = False

    if TYPE_CHECKING:

        @property
        def n(self) -> int:
            """Number of neurons."""

        @property
        def rates(self) -> Floats:
            """Drop probability of each neuron, read-only, of shape (n,)."""

        @property
        def dropped(self) -> "Count":
            """Law of the number of dropped neurons, a frozen scipy distribution."""

        @property
        def parts(self) -> tuple["LawMethods", ...]:
            """The laws side by side that a network is made of; none of any other law."""

        def sample(self, size: int = 1, rng: _validate.RNG = None) -> Masks:
            """Return (size, n) masks, True = kept."""

    else:
        parts = ()

    @property
    def independent(self) -> bool:
        """Whether neurons are dropped independently of one another."""
        return False

    @cached_property
    def kept(self) -> "Count":
        """Law of the number of kept neurons: the exact mirror of ``dropped``, a frozen scipy distribution."""
        return self.dropped.mirror()

    @cached_property
    def rate(self) -> float | None:
        """The one drop probability of all neurons; None where they differ, or where there are none."""
        rates = self.rates
        alike = rates.size and (rates.strides == (0,) or bool((rates == rates[0]).all()))
        return float(rates[0]) if alike else None

    @cached_property
    def variance(self) -> float:
        """Variance of the number of dropped neurons, exact."""
        return float(self.dropped.var())

    @cached_property
    def has_counts(self) -> bool:
        """Whether ``dropped`` is feasible at this size; as costly as computing it, once."""
        try:
            self.dropped  # noqa: B018
        except (ValueError, MemoryError):
            return False
        return True

    def prob(
        self, *, dropped: Any = None, kept: Any = None, fraction: Any = None, log: bool = False, progress: Any = None
    ) -> float:
        """Return the probability of a number, a share, or an interval of them, of dropped (or kept) neurons.

        Parameters
        ----------
        dropped, kept : int or (low, high)
            An int is a count; a pair is a closed interval, to which both ends belong and in which None leaves an end
            open.
        fraction : float or (low, high)
            Share of the neurons that is dropped, in [0, 1], as its decimal digits say: 0.07 of 100 neurons is 7. A
            pair is a closed interval, as above.
        log : bool
            Return the natural logarithm, which is finite where the probability itself is below 1e-308.
        progress : bool or callable, optional
            True shows a progress bar after a second, for a law of a count may take long to compute (`DropBlock`); a
            callable such as ``tqdm.notebook.tqdm`` wraps what is gone through.

        Raises
        ------
        TypeError, ValueError
            If not one of the three is given, if a count or a share is no whole number, if an interval is upside down.

        Examples
        --------
        >>> from dropstats import Layer
        >>> layer = Layer(1024, 0.5)
        >>> round(layer.prob(dropped=512), 6), round(layer.prob(fraction=(0.45, 0.55)), 6)
        (0.024928, 0.998723)
        >>> round(layer.prob(kept=(1000, None), log=True), 3)
        -598.459
        """
        if (dropped is None) + (kept is None) + (fraction is None) != 2:
            raise TypeError("prob takes one of dropped=, kept= and fraction=, a number or an interval (low, high)")
        with _progress.asked(progress):
            if kept is not None:
                return self.kept.between(*_validate.closed_interval(kept, "kept"), log=log)
            if dropped is not None:
                return self.dropped.between(*_validate.closed_interval(dropped, "dropped"), log=log)
            return self.dropped.between(*_validate.share_of(fraction, self.n, "fraction"), log=log)

    def quantile(self, q: Any, of: str = "dropped", progress: Any = None) -> Any:
        """Return the smallest number of neurons k such that at most k are dropped with probability q or more.

        Parameters
        ----------
        q : float or array_like
            Probabilities in [0, 1]; others raise ValueError.
        of : {'dropped', 'kept'}
            Which neurons are counted.
        progress : bool or callable, optional
            As for `prob`.

        Returns
        -------
        int, or ndarray of int64 of q's shape

        Examples
        --------
        >>> from dropstats import Channels, Layer
        >>> Layer(1024, 0.5).quantile(0.95), Layer(1024, 0.1).quantile([0.05, 0.5, 0.95], of="kept")
        (538, array([906, 922, 937]))
        >>> Channels(64, 8 * 8, 0.2).quantile(0.95)
        1152
        """
        name, levels = _validate.choice(of, "of", ("dropped", "kept")), _validate.unit_interval(q, "q")
        with _progress.asked(progress):
            # the smallest count is 0, where scipy has -1 for q = 0
            found = np.maximum(getattr(self, name).ppf(levels), 0).astype(np.int64)
        return found if levels.ndim else int(found)

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
        first, second = np.broadcast_arrays(_validate.indices(i, self.n, "i"), _validate.indices(j, self.n, "j"))
        return self._covariance(first.ravel(), second.ravel()).reshape(first.shape)[()]

    def _covariance(self, i: Ints, j: Ints) -> Floats:
        raise NotImplementedError(f"{self!r} does not know the covariance of its neurons")

    def entropy_bits(self) -> float:
        """Return the Shannon entropy of a mask, in bits."""
        raise NotImplementedError(f"{self!r} does not know the entropy of its masks")

    @property
    def log2_subnetworks(self) -> float:
        """Base-2 logarithm of the number of masks that can occur."""
        raise NotImplementedError(f"{self!r} does not know the number of its masks")

    @cached_property
    def apart(self) -> Ints | None:
        """Neurons that are independent of one another, as many as can easily be had; None where all of them are."""
        return None if self.independent else np.zeros(min(self.n, 1), np.int64)

    @property
    def prob_mask_exact(self) -> bool:
        """Whether `log_prob_mask` is exact; else it is an upper bound."""
        return self.independent

    @property
    def prob_equal_exact(self) -> bool:
        """Whether `log_prob_equal` is exact; else it is an upper bound."""
        return self.independent

    def log_prob_mask(self, masks: Any) -> Floats:
        """Return the natural log of the probability of each mask, or an upper bound of it, see `prob_mask_exact`.

        Parameters
        ----------
        masks : array_like of bool, shape (k, n)
            True where a neuron is kept.

        Returns
        -------
        ndarray, shape (k,)
            -inf where a mask cannot occur.

        Examples
        --------
        >>> from dropstats import Layer
        >>> np.exp(Layer(3, [0.1, 0.2, 0.5]).log_prob_mask([[1, 1, 1], [0, 1, 1], [0, 0, 0]])).round(4)
        array([0.36, 0.04, 0.01])
        """
        kept = np.asarray(masks)
        if kept.ndim != 2 or kept.shape[1] != self.n or kept.dtype.kind not in "biu":
            raise ValueError(f"masks must be booleans of shape (k, {self.n}); got {kept.dtype} of shape {kept.shape}")
        out, step = np.empty(kept.shape[0]), max(1, BLOCK // max(self.n, 1))
        for start in range(0, kept.shape[0], step):
            out[start : start + step] = self._log_prob_mask(kept[start : start + step] != 0)
        return out

    def _log_prob_mask(self, kept: Masks) -> Floats:
        """Return the log probability of what a block of masks holds at the neurons `apart`."""
        p = np.asarray(self.rate) if self.rate is not None else self.rates
        if self.apart is not None:
            kept, p = kept[:, self.apart], self.rates[self.apart]
        with np.errstate(divide="ignore"):
            log_p, log_q = np.log(p), np.log1p(-p)
        return np.asarray(np.where(kept, log_q, log_p).sum(axis=1))

    @property
    def nominal_rate(self) -> float | None:
        """The one drop probability that implementations scale by; None where it differs from neuron to neuron."""
        return self.rate

    @property
    def mistaken(self) -> tuple[tuple["LawMethods", str], ...]:
        """Laws that implementations are known to draw from in place of this one, each with what they do."""
        return ()

    def part_of(self, n: int) -> Ints | None:
        """Return the neurons of a recording of n that the law is about; None where it knows of no such recording."""
        return None

    @cached_property
    def log_prob_equal(self) -> float:
        """Natural log of the probability that two independent masks are equal, or an upper bound of it."""
        of = self._rate_counts() if self.apart is None else rate_counts(self.rates[self.apart])
        # p^2 + q^2 = 1 - 2 p q
        return math.fsum(number * math.log1p(-2 * p * (1 - p)) for p, number in of)

    def _rate_counts(self) -> Iterator[tuple[float, int]]:
        """Yield the rates that occur, each with its number of neurons."""
        return rate_counts(self.rates)

    def total(self, masks: int) -> "Count | None":
        """Return the law of the number of neurons dropped over so many masks; None where it has no closed form."""
        from dropstats import counts

        if self.independent:
            return counts.of_rates((p, number * masks) for p, number in self._rate_counts())
        return self.dropped if masks == 1 and self.has_counts else None

    def shared(self, pairs: int = 1) -> "Count | None":
        """Return the law of the number of neurons dropped in both of two masks, over so many pairs of masks.

        None where it has no closed form.
        """
        from dropstats import counts

        if self.independent:
            return counts.of_rates((p * p, number * pairs) for p, number in self._rate_counts())
        return None

    @cached_property
    def group_of(self) -> Ints | None:
        """The group of each neuron, 0 to m - 1, where groups are dropped as one; None where none has two neurons."""
        return None

    @property
    def reduced(self) -> "LawMethods":
        """The law of one bit a group; the law itself where no neurons are dropped as one."""
        return self

    def reduce(self, recording: Any) -> tuple[Any, "LawMethods"]:
        """Return the recording with one bit a group, and the law of these bits."""
        if self.group_of is None:
            return recording, self
        return recording.by_group(self.group_of), self.reduced

    def _arguments(self) -> tuple[Any, ...]:
        """Return what the law is made from."""
        return tuple(getattr(self, field.name) for field in dataclasses.fields(cast(Any, self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._arguments()))})"

    def _repr_html_(self) -> str:
        from dropstats.laws.cards import card

        return card(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments()


Law = LawMethods


def rate_counts(rates: Floats) -> Iterator[tuple[float, int]]:
    """Yield the rates that occur, each with its number of neurons; of a view of one rate without looking at all."""
    if rates.strides == (0,):
        yield from ((rate, rates.shape[0]) for rate in rates[:1].tolist())
    else:
        values, occurrences = np.unique(rates, return_counts=True)
        yield from zip(values.tolist(), occurrences.tolist(), strict=True)


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array, made read-only."""
    array.flags.writeable = False
    return array


def sampling(n: int, size: Any, rng: _validate.RNG) -> tuple[int, np.random.Generator]:
    """Return a checked number of masks of n neurons, and the generator that `rng` stands for."""
    size = _validate.integer(size, "size", minimum=0, maximum=_validate.MAX_TRIALS)
    _validate.memory(size * n, f"{size} masks of {n} neurons")
    return size, _validate.generator(rng)
