"""Alpha dropout: a dropped activation takes SELU's limit at minus infinity, then all are rescaled."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from dropstats import _validate, bits
from dropstats.laws.base import Floats

# The constants of SELU to the digits of a double (Klambauer et al. 2017).
SELU_ALPHA = 1.6732632423543772848
SELU_LAMBDA = 1.0507009873554804934


@dataclass(frozen=True)
class AlphaDropout:
    """Dropout for SELU networks: a dropped activation becomes the value alpha' instead of 0, then all are rescaled.

    The output is a x + b where an input x is kept and the constant a alpha' + b where it is dropped, with
    alpha' = -lambda alpha, a = (q + alpha'^2 p q)^(-1/2) and b = -a p alpha', so that mean 0 and variance 1 are
    preserved. No output is 0: to recognise dropped neurons, look for `dropped_value`.

    Parameters
    ----------
    p : float
        Probability that an activation is dropped, in [0, 1).

    References
    ----------
    G. Klambauer, T. Unterthiner, A. Mayr, S. Hochreiter (2017). Self-normalizing neural networks. Advances in Neural
    Information Processing Systems 30, 971-980, arXiv:1706.02515.

    Examples
    --------
    >>> noise = AlphaDropout(0.1)
    >>> round(noise.a, 6), round(noise.b, 6), round(noise.dropped_value, 6)
    (0.921285, 0.161971, -1.457739)
    >>> mean, variance = noise.output_moments(mean=0.0, variance=1.0)
    >>> abs(mean) < 1e-15, abs(variance - 1) < 1e-15
    (True, True)
    """

    p: float
    is_noise: ClassVar[bool] = True
    two_valued: ClassVar[bool] = True

    def __init__(self, p: Any) -> None:
        object.__setattr__(self, "p", _validate.below_one(p))

    @property
    def alpha_prime(self) -> float:
        """Value that a dropped activation takes before rescaling, SELU's limit at minus infinity."""
        return -SELU_LAMBDA * SELU_ALPHA

    @property
    def a(self) -> float:
        """Factor a of the affine map a x + b."""
        q = 1 - self.p
        return 1.0 / math.sqrt(q + self.alpha_prime**2 * self.p * q)

    @property
    def b(self) -> float:
        """Offset b of the affine map a x + b."""
        return -self.a * self.p * self.alpha_prime

    @property
    def dropped_value(self) -> float:
        """Output of a dropped activation, a alpha' + b."""
        return self.a * self.alpha_prime * (1 - self.p)

    def _repr_html_(self) -> str:
        from dropstats.rendering import cards

        x, q = np.repeat([self.dropped_value, self.a + self.b], 3), 1 - self.p
        heights = np.array([0, 0, self.p, 0, 0, q, 0, 0])
        panel = {"counts": np.array([x[0] - 0.5, *x, x[-1] + 0.5]), "expected": heights}
        facts = [
            ("kept", f"{self.a:.6g} x + {self.b:.6g}, with probability {q:.6g}"),
            ("dropped", f"{self.dropped_value:.6g}, with probability {self.p:.6g}"),
            ("mean and variance", "those of the input, where these are 0 and 1"),
        ]
        return cards.card(repr(self), facts, panel, "The two outputs of an input of 1")

    def output_moments(self, mean: float = 0.0, variance: float = 1.0) -> tuple[float, float]:
        """Return the mean and the variance of the output, given those of the input.

        Examples
        --------
        >>> mean, variance = AlphaDropout(0.5).output_moments(mean=1.0, variance=1.0)
        >>> round(mean, 6), round(variance, 6)
        (0.443202, 1.88711)
        """
        q, step = 1 - self.p, mean - self.alpha_prime
        return self.a * (q * mean + self.p * self.alpha_prime) + self.b, self.a**2 * q * (variance + self.p * step**2)

    def apply(self, x: ArrayLike, rng: _validate.RNG = None) -> Floats:
        """Return the output for inputs x under a fresh mask, an array of the shape of x.

        Examples
        --------
        >>> noise = AlphaDropout(0.5)
        >>> y = noise.apply(np.zeros(1000), rng=0)
        >>> set(y.round(6).tolist()) == {round(noise.dropped_value, 6), round(noise.b, 6)}
        True
        """
        x = np.asarray(x, dtype=np.float64)
        rates = np.broadcast_to(np.float64(self.p), (x.size,))
        kept = bits.kept_masks(rates, 1, _validate.generator(rng)).reshape(x.shape)
        return np.where(kept, self.a * x + self.b, self.dropped_value)
