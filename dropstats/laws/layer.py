"""A layer of neurons that are dropped independently, with exact or with low-precision drop rates.

Source: N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov (2014). Dropout: a simple way to
prevent neural networks from overfitting. Journal of Machine Learning Research 15, 1929-1958.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from dropstats import _validate
from dropstats.laws import rounding
from dropstats.laws.base import Floats
from dropstats.laws.independent import Independent

# A repr is evaluated back by readers and tests up to this many rates; beyond, it is for the eye only.
_REPR_RATES = 1000


@dataclass(frozen=True, eq=False, repr=False)
class Layer(Independent):
    """A layer of n neurons that are dropped independently.

    The number of dropped neurons is binomial, or Poisson-binomial where the rates differ.

    Parameters
    ----------
    n : int
        Number of neurons, 0 to 2^53.
    p : float or array_like of shape (n,)
        Probability that a neuron is dropped: one number for all neurons, or one per neuron. An array of equal
        numbers is the same as one number.

    Raises
    ------
    TypeError, ValueError
        If n is not an integer from 0 to 2^53, p is not in [0, 1], or an array p does not have the shape (n,).

    Examples
    --------
    >>> layer = Layer(1024, 0.5)
    >>> round(float(layer.dropped.pmf(512)), 6)
    0.024928
    >>> Layer(3, [0.1, 0.2, 0.3]).dropped.pmf([0, 1, 2, 3]).round(3)
    array([0.504, 0.398, 0.092, 0.006])
    """

    n: int
    p: float | Floats

    def __init__(self, n: int, p: Any) -> None:
        object.__setattr__(self, "n", _validate.neurons(n))
        object.__setattr__(self, "p", _validate.probabilities(p, self.n))

    @classmethod
    def keeping(cls, n: int, keep: Any) -> Self:
        """Return the layer whose neurons are kept with probability `keep`: p = 1 - keep.

        p is exact for keep >= 0.5 and correctly rounded below.

        Parameters
        ----------
        n : int
            Number of neurons.
        keep : float or array_like of shape (n,)
            Probability that a neuron is kept, the parameter of the papers and of TensorFlow 1.

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

    @classmethod
    def rounded(cls, n: int, p: Any, levels: int = rounding.LEVELS, rule: str | None = None) -> "Layer":
        """Return the layer with the drop rate that low-precision random numbers give for a declared p.

        Parameters
        ----------
        n : int
            Number of neurons.
        p : float or array_like of shape (n,)
            Declared drop probability.
        levels : int
            Number of values of the random integer r of the first two rules; 256 by default.
        rule : {'flash-attention-2', 'transformer-engine', 'bfloat16', 'float16'}
            The implementation. 'flash-attention-2' keeps a neuron if r <= floor((1 - p) (levels - 1));
            'transformer-engine' drops it if r < floor(p levels), r uniform over 0..levels - 1. The number formats are
            those of TensorFlow and JAX: a neuron is dropped if u < p, where u is uniform over the multiples of 2^-7
            (bfloat16) or 2^-10 (float16) in [0, 1) and p is rounded to the format.

        Returns
        -------
        Layer
            With the extra attributes ``declared`` (the declared p), ``bias`` (actual minus declared p) and
            ``mean_factor`` (mean output divided by the input, if kept neurons are scaled by 1 / (1 - declared p)).

        Raises
        ------
        ValueError
            If the rule is missing or unknown, or `levels` is given for a rule that does not use it.

        Notes
        -----
        The rules are those of flash-attention (commit 0251105a, ``p_dropout_in_uint8_t``) and TransformerEngine (commit
        d0067d0d, ``bytewise_drop_prob``), float32 roundings included.

        Examples
        --------
        >>> law = Layer.rounded(1024, 0.1, rule="flash-attention-2")
        >>> law.p, round(law.bias, 7), round(law.mean_factor, 7)
        (0.1015625, 0.0015625, 0.9982639)
        >>> [Layer.rounded(1, 0.1, rule=rule).p for rule in ("transformer-engine", "bfloat16", "float16")]
        [0.09765625, 0.1015625, 0.1005859375]
        """
        return RoundedLayer(n, p, levels, rule)

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


class RoundedLayer(Layer):
    """A layer whose drop rate is the one that low-precision random numbers give for a declared p.

    Create it with `Layer.rounded`. All methods use the actual rate; the declared one is the attribute ``declared``.

    Parameters
    ----------
    n : int
        Number of neurons.
    p : float or array_like of shape (n,)
        Declared drop probability.
    levels : int
        Number of values of the random integer.
    rule : str
        The implementation, as for `Layer.rounded`.
    """

    declared: float | Floats
    levels: int
    rule: str

    def __init__(self, n: int, p: Any, levels: int = rounding.LEVELS, rule: str | None = None) -> None:
        declared = _validate.probabilities(p, _validate.neurons(n))
        rounded = rounding.rates(np.atleast_1d(declared), levels, rule)
        super().__init__(n, rounded if isinstance(declared, np.ndarray) else rounded[0])
        for name, value in (("declared", declared), ("levels", int(levels)), ("rule", rule)):
            object.__setattr__(self, name, value)

    @property
    def nominal_rate(self) -> float | None:
        """The declared drop probability, by which implementations scale; None if each neuron has its own."""
        return self.declared if isinstance(self.declared, float) else None

    @property
    def bias(self) -> float | Floats:
        """Actual minus declared drop probability."""
        return self.p - self.declared

    @property
    def mean_factor(self) -> float | Floats:
        """Mean output divided by the input if kept neurons are scaled by 1 / (1 - declared p); 1 without a bias."""
        if np.any(np.asarray(self.declared) == 1):
            raise ValueError("mean_factor needs a declared p below 1: at 1 no neuron is kept")
        return (1 - self.p) / (1 - self.declared)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, others = ((law.n, law.levels, law.rule) for law in (self, other))
        return mine == others and np.array_equal(self.declared, other.declared)

    def __hash__(self) -> int:
        return hash((super().__hash__(), self.levels, self.rule))

    def __repr__(self) -> str:
        levels = f", {self.levels}" if self.rule in rounding.THRESHOLDS else ""
        declared = repr(Layer(self.n, self.declared)).removeprefix("Layer(").removesuffix(")")
        return f"Layer.rounded({declared}{levels}, rule={self.rule!r})"

    def _arguments(self) -> tuple[Any, ...]:
        return self.n, self.declared, self.levels, self.rule
