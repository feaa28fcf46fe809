"""Multiplicative noise that is no mask: laws of the factor that an activation is multiplied by."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropstats import _validate, bits

Floats = NDArray[np.float64]

# The constants of SELU to the digits of a double (Klambauer et al. 2017).
SELU_ALPHA = 1.6732632423543772848
SELU_LAMBDA = 1.0507009873554804934


@dataclass(frozen=True)
class GaussianDropout:
    """Activations multiplied by normal noise of mean 1 and variance p / q, those of inverted dropout.

    Mean and variance of the output agree with dropout's; the third and fourth cumulants are 0, and the factor is
    negative with probability Phi(-sqrt(q / p)). There is no zero to see, so it is no law of masks.

    Parameters
    ----------
    p : float
        Drop probability of the dropout it stands for, in [0, 1).

    References
    ----------
    N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov (2014). Dropout: a simple way to prevent
    neural networks from overfitting. Journal of Machine Learning Research 15, 1929-1958, section 10; S. Wang, C.
    Manning (2013). Fast dropout training. Proceedings of Machine Learning Research 28(2), 118-126.

    Examples
    --------
    >>> noise = GaussianDropout(0.5)
    >>> noise.sigma, round(float(noise.factor.cdf(0)), 9)
    (1.0, 0.158655254)
    """

    p: float

    def __init__(self, p: Any) -> None:
        object.__setattr__(self, "p", _below_one(p))

    @property
    def sigma(self) -> float:
        """Standard deviation of the factor, sqrt(p / q)."""
        return math.sqrt(self.p / (1 - self.p))

    @property
    def factor(self) -> Any:
        """Law of the factor: a frozen ``scipy.stats.norm`` (for p = 0 of variance 0)."""
        from scipy import stats

        return stats.norm(1.0, self.sigma)

    def apply(self, x: ArrayLike, rng: _validate.RNG = None) -> Floats:
        """Return x times fresh noise, of x's shape."""
        x = np.asarray(x, dtype=np.float64)
        return np.asarray(x * _validate.generator(rng).normal(1.0, self.sigma, x.shape))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.p,)


@dataclass(frozen=True)
class AlphaDropout:
    """Dropout for SELU networks: a dropped activation becomes the value alpha' instead of 0, then all are rescaled.

    The output is a x + b where an input x is kept and the constant a alpha' + b where it is dropped, with
    alpha' = -lambda alpha, a = (q + alpha'^2 p q)^(-1/2) and b = -a p alpha', so that mean 0 and variance 1 are
    preserved. Outputs hold no zeros: an audit must look for `dropped_value`.

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

    def __init__(self, p: Any) -> None:
        object.__setattr__(self, "p", _below_one(p))

    @property
    def alpha_prime(self) -> float:
        """Value that a dropped activation takes before rescaling, SELU's limit at minus infinity."""
        return -SELU_LAMBDA * SELU_ALPHA

    @property
    def a(self) -> float:
        """Factor of the affine map."""
        q = 1 - self.p
        return 1.0 / math.sqrt(q + self.alpha_prime**2 * self.p * q)

    @property
    def b(self) -> float:
        """Offset of the affine map."""
        return -self.a * self.p * self.alpha_prime

    @property
    def dropped_value(self) -> float:
        """Output where an activation is dropped, a alpha' + b."""
        return self.a * self.alpha_prime * (1 - self.p)

    def output_moments(self, mean: float = 0.0, variance: float = 1.0) -> tuple[float, float]:
        """Return mean and variance of the output for an input of this mean and variance."""
        q, step = 1 - self.p, mean - self.alpha_prime
        return self.a * (q * mean + self.p * self.alpha_prime) + self.b, self.a**2 * q * (variance + self.p * step**2)

    def apply(self, x: ArrayLike, rng: _validate.RNG = None) -> Floats:
        """Return the output for inputs x under a fresh mask, of x's shape."""
        x = np.asarray(x, dtype=np.float64)
        rates = np.broadcast_to(np.float64(self.p), (x.size,))
        kept = bits.kept_masks(rates, 1, _validate.generator(rng)).reshape(x.shape)
        return np.where(kept, self.a * x + self.b, self.dropped_value)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.p,)


def _below_one(p: Any) -> float:
    rate = _validate.probability(p)
    if rate == 1:
        raise ValueError("p must be in [0, 1): at p = 1 nothing is left to scale; got 1.0")
    return rate
