"""The size of a layer that makes an unwanted event unlikely: all its neurons dropped, or none."""

import math
from fractions import Fraction
from typing import Any

from dropstats import _validate

# Where the logarithms leave it open which of two neighbouring sizes is the one, exact powers decide up to this size.
_EXACT = 20_000


def size_for(p: float, *, all_dropped: float | None = None, all_kept: float | None = None, masks: int = 1) -> int:
    """Return the smallest layer size for which all neurons are dropped (or kept) with at most a given probability.

    It is the smallest n with 1 - (1 - p^n)^masks <= all_dropped and 1 - (1 - (1 - p)^n)^masks <= all_kept, where given.
    For `Channels` the result is the number of channels.

    Parameters
    ----------
    p : float
        Probability that a neuron is dropped.
    all_dropped : float, optional
        Largest acceptable probability that some mask drops all neurons, so that no signal passes; in (0, 1).
    all_kept : float, optional
        Largest acceptable probability that some mask drops no neuron; in (0, 1).
    masks : int
        Number of masks, such as the steps of a training run; 1 by default.

    Returns
    -------
    int
        Number of neurons, at least 1.

    Raises
    ------
    TypeError, ValueError
        If neither probability is given, or one is not in (0, 1); if no size is large enough, because p = 1 always
        drops (or p = 0 always keeps) all neurons; if more than 2^53 neurons would be needed.

    Examples
    --------
    >>> size_for(p=0.5, all_dropped=1e-9), size_for(p=0.5, all_dropped=1e-9, masks=10**6)
    (30, 50)
    >>> size_for(p=0.01, all_kept=0.05)
    299
    """
    p, masks = _validate.probability(p), _validate.trials(masks, "masks")
    asked = ((p, all_dropped, "all_dropped"), (1 - p, all_kept, "all_kept"))
    sizes = [_smallest(of_one, limit, masks, name) for of_one, limit, name in asked if limit is not None]
    if not sizes:
        raise TypeError("size_for needs all_dropped= or all_kept=")
    return max(sizes)


def _smallest(of_one: float, limit: Any, masks: int, name: str) -> int:
    """Return the smallest n such that in none of so many masks all n neurons do what one does with this probability."""
    limit = _validate.open_probability(limit, name)
    if of_one == 1:
        raise ValueError(f"{name} cannot be reached at any size: at this p it happens in every mask")
    if of_one == 0:
        return 1
    log_limit = math.log(limit) if masks == 1 else math.log(-math.expm1(math.log1p(-limit) / masks))
    size = log_limit / math.log(of_one)
    if size > _validate.MAX_NEURONS:
        raise ValueError(f"{name} = {limit!r} would need more than 2^53 neurons")
    near = round(size)
    if near and masks == 1 and near <= _EXACT and abs(size - near) < 1e-12 * size + 1e-12:
        return near if Fraction(of_one) ** near <= Fraction(limit) else near + 1
    return max(1, math.ceil(size))
