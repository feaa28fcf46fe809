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
    is_noise: ClassVar[bool] = True
    two_valued: ClassVar[bool] = False

    def __init__(self, p: Any) -> None:
        object.__setattr__(self, "p", _validate.below_one(p))

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
