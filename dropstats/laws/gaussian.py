"""Gaussian dropout: normal noise in place of a mask."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from dropstats import _validate
from dropstats.laws.base import Floats


@dataclass(frozen=True)
class GaussianDropout:
    """Activations multiplied by normal noise with the mean 1 and variance p / q of inverted dropout.

    The output has the mean and the variance that it has under dropout. The third and fourth cumulants of the factor
    are 0, and it is negative with probability Phi(-sqrt(q / p)). Nothing is set to 0, so this is not a law of masks.

    Parameters
    ----------
    p : float
        Drop probability of the dropout that it replaces, in [0, 1).

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
    is_noise: ClassVar[bool] = True
    two_valued: ClassVar[bool] = False

    def __init__(self, p: Any) -> None:
        object.__setattr__(self, "p", _validate.below_one(p))

    @property
    def sigma(self) -> float:
        """Standard deviation of the factor, sqrt(p / q)."""
        return math.sqrt(self.p / (1 - self.p))

    def _repr_html_(self) -> str:
        from dropstats.rendering import cards

        reach = np.linspace(-4, 4, 121)
        panel = {"counts": 1 + reach * (self.sigma or 1e-9), "expected": np.exp(-reach * reach / 2)}
        low, high = (1 + sign * 2.5758293035489004 * self.sigma for sign in (-1, 1))
        negative = 0.5 * math.erfc(1 / self.sigma / math.sqrt(2)) if self.sigma else 0.0
        facts = [
            ("factor", f"normal with mean 1, standard deviation {self.sigma:.6g}"),
            ("99% interval", f"{low:.4g} to {high:.4g}"),
            ("below 0", f"with probability {negative:.4g}"),
        ]
        return cards.card(repr(self), facts, panel, "Density of the factor")

    @property
    def factor(self) -> Any:
        """Distribution of the factor: a frozen ``scipy.stats.norm``, with variance 0 for p = 0."""
        from scipy import stats

        return stats.norm(1.0, self.sigma)

    def apply(self, x: ArrayLike, rng: _validate.RNG = None) -> Floats:
        """Return x times fresh noise, an array of the shape of x.

        Examples
        --------
        >>> GaussianDropout(0.0).apply([1.0, 2.0])
        array([1., 2.])
        """
        x = np.asarray(x, dtype=np.float64)
        return np.asarray(x * _validate.generator(rng).normal(1.0, self.sigma, x.shape))
