"""Methods that every law of dropout masks has."""

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from dropstats import _progress, _validate
from dropstats.laws import other_names

if TYPE_CHECKING:
    from dropstats.counts import Count

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Masks = NDArray[np.bool_]

# Masks whose probability is asked are gone through in blocks of about this many neurons (8 bytes each).
BLOCK = 2**22


class LawMethods:
    """Methods of a law; a subclass supplies ``n``, ``rates``, ``dropped`` and ``sample`` and may refine the others."""

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
            """Number of dropped neurons, as a frozen scipy distribution."""

        @property
        def parts(self) -> tuple["LawMethods", ...]:
            """The laws that a network consists of; empty for every other law."""

        def sample(self, size: int = 1, rng: _validate.RNG = None) -> Masks:
            """Return masks of shape (size, n), True where a neuron is kept."""

    else:
        parts = ()

        def __getattr__(self, name: str) -> Any:
            message = f"{type(self).__name__!r} object has no attribute {name!r}{other_names.instead_of(name)}"
            raise AttributeError(message, name=name, obj=self)

    @property
    def independent(self) -> bool:
        """Whether neurons are dropped independently of one another."""
        return False

    @cached_property
    def kept(self) -> "Count":
        """Number of kept neurons, n minus the number dropped, as a frozen scipy distribution."""
        return self.dropped.mirror()

    @cached_property
    def rate(self) -> float | None:
        """The common drop probability of all neurons; None if they differ or there are no neurons."""
        rates = self.rates
        alike = rates.size and (rates.strides == (0,) or bool((rates == rates[0]).all()))
        return float(rates[0]) if alike else None

    @cached_property
    def variance(self) -> float:
        """Exact variance of the number of dropped neurons."""
        return float(self.dropped.var())

    @cached_property
    def has_counts(self) -> bool:
        """Whether ``dropped`` can be computed at this size; the first look computes it."""
        try:
            self.dropped  # noqa: B018
        except (ValueError, MemoryError):
            return False
        return True

    def prob(
        self, *, dropped: Any = None, kept: Any = None, fraction: Any = None, log: bool = False, progress: Any = None
    ) -> float:
        """Return the probability of a count, a fraction or an interval of dropped (or kept) neurons.

        Parameters
        ----------
        dropped, kept : int or (low, high)
            A count, or a closed interval of counts that includes both ends; None stands for an open end.
        fraction : float or (low, high)
            Fraction of the neurons that is dropped, in [0, 1], or a closed interval of fractions. It is read as the
            decimal number that was written: 0.07 of 100 neurons is exactly 7.
        log : bool
            Return the natural logarithm, which stays finite for probabilities below 1e-308. False by default.
        progress : bool or callable, optional
            True shows a progress bar after a second (the distribution of some laws, such as `DropBlock`, takes long to
            compute); a callable such as ``tqdm.notebook.tqdm`` wraps the steps.

        Returns
        -------
        float

        Raises
        ------
        TypeError
            If not exactly one of the three is given.
        ValueError
            If a count or a fraction times n is not a whole number, or if an interval has low > high.

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
        """Return the smallest k such that at most k neurons are dropped (or kept) with probability q or more.

        Parameters
        ----------
        q : float or array_like
            Probabilities in [0, 1].
        of : {'dropped', 'kept'}
            Which neurons are counted; 'dropped' by default.
        progress : bool or callable, optional
            As for `prob`.

        Returns
        -------
        int, or ndarray of int64 of the shape of q

        Raises
        ------
        ValueError
            If a probability is not in [0, 1], or `of` is neither word.

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
        """Return the covariance of the drop indicators of neurons i and j (1 = dropped, 0 = kept).

        For i = j it is the variance p q.

        Parameters
        ----------
        i, j : int or array_like of int
            Positions of neurons in a mask, from 0 to n - 1; arrays are broadcast.

        Returns
        -------
        float or ndarray

        Raises
        ------
        TypeError, ValueError
            If a position is not an integer from 0 to n - 1.

        Examples
        --------
        >>> from dropstats import Layer
        >>> Layer(3, [0.1, 0.2, 0.5]).covariance(2, [0, 1, 2])
        array([0.  , 0.  , 0.25])
        """
        first, second = np.broadcast_arrays(_validate.indices(i, self.n, "i"), _validate.indices(j, self.n, "j"))
        return self._covariance(first.ravel(), second.ravel()).reshape(first.shape)[()]

    def _covariance(self, i: Ints, j: Ints) -> Floats:
        raise NotImplementedError(f"{self!r} has no covariance of neurons: the law does not define it")

    def entropy_bits(self) -> float:
        """Return the Shannon entropy of a mask, in bits.

        Examples
        --------
        >>> from dropstats import Channels, Layer
        >>> Layer(64, 0.5).entropy_bits(), Channels(4, 16, 0.5).entropy_bits()
        (64.0, 4.0)
        """
        raise NotImplementedError(f"{self!r} has no entropy: the law does not define it")

    @property
    def log2_subnetworks(self) -> float:
        """Base-2 logarithm of the number of masks that can occur."""
        raise NotImplementedError(f"{self!r} has no number of possible masks: the law does not define it")

    @cached_property
    def apart(self) -> Ints | None:
        """Positions of mutually independent neurons, as many as are easily found; None if all are independent."""
        return None if self.independent else np.zeros(min(self.n, 1), np.int64)

    @property
    def prob_mask_exact(self) -> bool:
        """Whether `log_prob_mask` is exact; if not, it is an upper bound."""
        return self.independent

    @property
    def prob_equal_exact(self) -> bool:
        """Whether `log_prob_equal` is exact; if not, it is an upper bound."""
        return self.independent

    def log_prob_mask(self, masks: Any) -> Floats:
        """Return the natural log of the probability of each mask, or an upper bound (see `prob_mask_exact`).

        Parameters
        ----------
        masks : array_like of bool, shape (k, n)
            True where a neuron is kept.

        Returns
        -------
        ndarray, shape (k,)
            -inf for a mask that cannot occur.

        Raises
        ------
        ValueError
            If the masks are not booleans (or 0 and 1) of shape (k, n).

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
        """The drop probability by which implementations scale; None if it differs between neurons."""
        return self.rate

    @property
    def mistaken(self) -> tuple[tuple["LawMethods", str], ...]:
        """Laws that implementations are known to draw from by mistake, each with a description of the mistake."""
        return ()

    def part_of(self, n: int) -> Ints | None:
        """Return the positions that the law describes in a recording of n neurons; None if it knows none."""
        return None

    @cached_property
    def log_prob_equal(self) -> float:
        """Natural log of the probability that two independent masks are equal, or an upper bound."""
        p, number = self._rate_counts() if self.apart is None else rate_counts(self.rates[self.apart])
        return float(number @ np.log1p(-2 * p * (1 - p)))  # p^2 + q^2 = 1 - 2 p q

    def _rate_counts(self) -> tuple[Floats, Ints]:
        """Return the rates that occur, some perhaps twice, and how many neurons have each."""
        return rate_counts(self.rates)

    def total(self, masks: int) -> "Count | None":
        """Return the distribution of the total number dropped in this many masks; None if it has no closed form.

        Examples
        --------
        >>> from dropstats import Layer
        >>> Layer(10, 0.5).total(masks=100).mean()
        np.float64(500.0)
        """
        from dropstats import counts

        if self.independent:
            return counts.of_each(self.rates, masks)
        return self.dropped if masks == 1 and self.has_counts else None

    def shared(self, pairs: int = 1) -> "Count | None":
        """Return the distribution of the number of neurons dropped in both masks of a pair, summed over the pairs.

        None if it has no closed form.

        Examples
        --------
        >>> from dropstats import Layer
        >>> Layer(100, 0.5).shared().mean()
        np.float64(25.0)
        """
        from dropstats import counts

        if self.independent:
            square = self.rates[:1] ** 2 if self.rates.strides == (0,) else self.rates**2
            return counts.of_each(np.broadcast_to(square, self.rates.shape), pairs)
        return None

    @cached_property
    def group_of(self) -> Ints | None:
        """Group of each neuron, 0 to m - 1; None if each group is one neuron."""
        return None

    @property
    def reduced(self) -> "LawMethods":
        """Law of the groups, one bit per group; the law itself if neurons are not dropped in groups."""
        return self

    def reduce(self, recording: Any) -> tuple[Any, "LawMethods"]:
        """Return the recording with one bit per group, and the law of these bits.

        Examples
        --------
        >>> from dropstats import Channels, Recording
        >>> recording, law = Channels(2, 2, 0.5).reduce(Recording.from_masks([[1, 1, 0, 0]]))
        >>> recording.masks(), law
        (array([[ True, False]]), Layer(2, 0.5))
        """
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


def rate_counts(rates: Floats) -> tuple[Floats, Ints]:
    """Return the different rates, rising, and how many neurons have each; of a view of one rate looking at that."""
    if rates.strides == (0,):
        return rates[:1], np.full(rates[:1].shape, rates.shape[0])
    return np.unique(rates, return_counts=True)


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array, made read-only."""
    array.flags.writeable = False
    return array


def sampling(n: int, size: Any, rng: _validate.RNG) -> tuple[int, np.random.Generator]:
    """Return a checked number of masks of n neurons, and the generator that `rng` stands for."""
    size = _validate.integer(size, "size", minimum=0, maximum=_validate.MAX_TRIALS)
    _validate.memory(size * n, f"{size} masks of {n} neurons")
    return size, _validate.generator(rng)
