"""Monte Carlo dropout: how many passes an estimate takes."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dropstats import _validate


def passes_needed(std: ArrayLike, standard_error: ArrayLike) -> Any:
    """Return how many stochastic forward passes make the mean of a prediction as precise as wanted.

    The mean of K independent masks has standard error std / sqrt(K), so K = ceil((std / standard_error)^2).

    Parameters
    ----------
    std : array_like
        Standard deviation of one pass over masks, such as ``PreActivation(...).training.variance ** 0.5``.
    standard_error : array_like
        Wanted standard error, positive.

    Returns
    -------
    int or ndarray of int64

    Notes
    -----
    Y. Gal, Z. Ghahramani (2016). Dropout as a Bayesian approximation. Proc. 33rd International Conference on Machine
    Learning.

    Examples
    --------
    >>> passes_needed(2.0, 0.1)
    400
    """
    deviation = _validate.finite(std, "std", ndim=tuple(range(33)), shape="any")
    wanted = _validate.finite(standard_error, "standard_error", ndim=tuple(range(33)), shape="any")
    if (deviation < 0).any():
        raise ValueError(f"std must not be negative; got {std!r}")
    if (wanted <= 0).any():
        raise ValueError(f"standard_error must be positive; got {standard_error!r}")
    # (2 / 0.1)^2 may come out an ulp above 400
    passes = np.ceil((deviation / wanted) ** 2 * (1 - 1e-12))
    if (passes > _validate.MAX_TRIALS).any():
        raise ValueError(f"standard_error is too small: more than {_validate.MAX_TRIALS} passes would be needed")
    number = np.maximum(passes, 1).astype(np.int64)
    return int(number) if number.ndim == 0 else number
