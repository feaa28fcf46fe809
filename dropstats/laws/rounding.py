"""Drop rates that low-precision random numbers give: p rounded to the grid of the random numbers.

Each rule reproduces the arithmetic of an implementation in its own number formats. Comparing a random integer of
`levels` values with a threshold can only give a drop rate that is a multiple of 1 / levels.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate
from dropstats.formats import digits, rounded

Floats = NDArray[np.float64]

LEVELS = 256


def rates(p: Floats, levels: Any = LEVELS, rule: Any = None) -> Floats:
    """Return the rates at which neurons of declared rates p are dropped under a rule."""
    rule = _validate.choice(rule, "rule", _RULES)
    # float32 holds the thresholds of up to 2^24 levels exactly
    levels = _validate.integer(levels, "levels", minimum=2, maximum=2**24)
    if rule not in THRESHOLDS and levels != LEVELS:
        raise ValueError(f"levels applies only to the rules {', '.join(THRESHOLDS)}; got {levels} with rule {rule!r}")
    return _RULES[rule](p, levels)


def _flash_attention(p: Floats, levels: int) -> Floats:
    """Keep if r <= floor((1 - p) (levels - 1)), r uniform over 0..levels - 1; 1 - p in float32, the rest in double."""
    keep = (np.float32(1) - p.astype(np.float32)).astype(np.float64)
    return np.asarray((levels - 1 - np.floor(keep * (levels - 1))) / levels)


def _transformer_engine(p: Floats, levels: int) -> Floats:
    """Drop if r < floor(p levels), r uniform over 0..levels - 1, in float32."""
    return np.asarray(np.floor(p.astype(np.float32) * np.float32(levels)).astype(np.float64) / levels)


def _mantissa(p: Floats, dtype: str) -> Floats:
    """Drop if u < p, u uniform over the multiples of the format's spacing at 1 in [0, 1), p rounded to the format."""
    grid = 2 ** (digits(dtype) - 1)
    return np.asarray(np.ceil(rounded(p, dtype) * grid) / grid)


_RULES: dict[str, Callable[[Floats, int], Floats]] = {
    "flash-attention-2": _flash_attention,
    "transformer-engine": _transformer_engine,
    "bfloat16": lambda p, _: _mantissa(p, "bfloat16"),
    "float16": lambda p, _: _mantissa(p, "float16"),
}
THRESHOLDS = ("flash-attention-2", "transformer-engine")
