"""The law that low-precision random numbers really give: p rounded to the grid of the generator.

Each rule is the arithmetic of an implementation, in its own number formats. A threshold out of `levels` values lets
through a multiple of 1 / levels, whatever p was declared.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropstats import _validate
from dropstats.laws.layers import Layer
from dropstats.power import neurons_needed

Floats = NDArray[np.float64]

_LEVELS = 256


def _flash_attention(p: Floats, levels: int) -> Floats:
    """Keep if r <= floor((1 - p) (levels - 1)), r uniform over 0..levels - 1; 1 - p in float32, the rest in double."""
    keep = (np.float32(1) - p.astype(np.float32)).astype(np.float64)
    return np.asarray((levels - 1 - np.floor(keep * (levels - 1))) / levels)


def _transformer_engine(p: Floats, levels: int) -> Floats:
    """Drop if r < floor(p levels), r uniform over 0..levels - 1, in float32."""
    return np.asarray(np.floor(p.astype(np.float32) * np.float32(levels)).astype(np.float64) / levels)


def _float16(p: Floats, _: int) -> Floats:
    """Drop if u < p, u uniform over the multiples of 2^-10 in [0, 1), p rounded to float16."""
    return _below(p.astype(np.float16).astype(np.float64), 2**10)


def _bfloat16(p: Floats, _: int) -> Floats:
    """Drop if u < p, u uniform over the multiples of 2^-7 in [0, 1), p rounded to bfloat16."""
    # a bfloat16 is the upper half of a float32, rounded to nearest, ties to even
    word = p.astype(np.float32).view(np.uint32)
    word = (word + np.uint32(0x7FFF) + ((word >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return _below(word.view(np.float32).astype(np.float64), 2**7)


def _below(p: Floats, grid: int) -> Floats:
    return np.ceil(p * grid) / grid


_RULES: dict[str, Callable[[Floats, int], Floats]] = {
    "flash-attention-2": _flash_attention,
    "transformer-engine": _transformer_engine,
    "bfloat16": _bfloat16,
    "float16": _float16,
}
_THRESHOLDS = ("flash-attention-2", "transformer-engine")


class RoundedLayer(Layer):
    """A layer whose neurons are dropped with the probability that low-precision random numbers give.

    It is made by `Layer.rounded` and answers as the layer that it really is; what was declared is kept beside it.

    Parameters
    ----------
    n : int
        Number of neurons.
    p : float or array_like of shape (n,)
        Declared drop probability.
    levels : int
        Number of values of a random integer.
    rule : str
        Whose arithmetic it is.
    """

    declared: float | Floats
    levels: int
    rule: str

    def __init__(self, n: int, p: Any, levels: int = _LEVELS, rule: str | None = None) -> None:
        declared = _validate.probabilities(p, _validate.neurons(n))
        rule = _validate.choice(rule, "rule", _RULES)
        # float32 holds the thresholds of up to 2^24 levels exactly
        levels = _validate.integer(levels, "levels", minimum=2, maximum=2**24)
        if rule not in _THRESHOLDS and levels != _LEVELS:
            raise ValueError(f"levels belongs to the rules {', '.join(_THRESHOLDS)}; got {levels} with rule {rule!r}")
        rounded: ArrayLike = _RULES[rule](np.atleast_1d(np.asarray(declared)), levels)
        super().__init__(n, rounded if isinstance(declared, np.ndarray) else np.asarray(rounded)[0])
        for name, value in (("declared", declared), ("levels", levels), ("rule", rule)):
            object.__setattr__(self, name, value)

    @property
    def bias(self) -> float | Floats:
        """Real minus declared drop probability."""
        return self.p - self.declared

    def neurons_needed(self, false_alarm: float = 0.01, power: float = 0.9) -> int:
        """Return how many neurons the test of the rate needs to see the bias; see `dropstats.neurons_needed`.

        Raises
        ------
        ValueError
            If p is one for each neuron, or there is no bias to be seen.

        Examples
        --------
        >>> Layer.rounded(1024, 0.1, rule="flash-attention-2").neurons_needed()
        553092
        """
        if not (isinstance(self.declared, float) and isinstance(self.bias, float)):
            raise ValueError("neurons_needed takes a layer of one p; got one for each neuron")
        if self.bias == 0:
            raise ValueError(f"there is no bias to be seen: {self!r} drops with the declared probability")
        return neurons_needed(self.declared, self.bias, false_alarm, power)

    @property
    def mean_factor(self) -> float | Floats:
        """Mean of an output over its input where kept neurons are scaled by 1 / (1 - declared p): 1 without a bias."""
        if np.any(np.asarray(self.declared) == 1):
            raise ValueError("mean_factor needs a declared p below 1: at 1 nothing is kept to be scaled")
        return (1 - self.p) / (1 - self.declared)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, others = ((law.n, law.levels, law.rule) for law in (self, other))
        return mine == others and np.array_equal(self.declared, other.declared)

    def __hash__(self) -> int:
        return hash((super().__hash__(), self.levels, self.rule))

    def __repr__(self) -> str:
        levels = f", {self.levels}" if self.rule in _THRESHOLDS else ""
        declared = repr(Layer(self.n, self.declared)).removeprefix("Layer(").removesuffix(")")
        return f"Layer.rounded({declared}{levels}, rule={self.rule!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.n, self.declared, self.levels, self.rule)
