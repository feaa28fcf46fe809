"""Monte Carlo dropout: the number of forward passes for a given standard error."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dropstats import _validate


def passes_needed(std: ArrayLike, standard_error: ArrayLike) -> Any:
    """Return the number of stochastic forward passes after which the mean prediction has a given standard error.

    The mean of K independent masks has standard error std / sqrt(K), so K = ceil((std / standard_error)^2).

    Parameters
    ----------
    std : array_like
        Standard deviation of a single pass, over masks, such as ``PreActivation(...).training.variance ** 0.5``.
    standard_error : array_like
        Desired standard error, positive.

    Returns
    -------
    int or ndarray of int64

    Raises
    ------
    ValueError
        If `std` is negative or `standard_error` is not positive, or more than 2^63 - 1 passes would be needed.

    References
    ----------
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
