"""How a law of a count passes for a frozen distribution of scipy.

Of scipy.stats it inherits nothing, for nothing of it would be used, and the import takes most of a second: isinstance
sees a frozen distribution from the moment that scipy.stats is loaded, without which nobody can ask.
"""

import sys
from functools import cache
from typing import Any

import numpy as np


def seen_as(kind: Any) -> Any:
    """Return the class that isinstance takes an instance of this one for."""
    return _both(kind) if "scipy.stats" in sys.modules else kind


@cache
def _both(kind: Any) -> Any:
    """Return a class of both kinds: a law of a count, and a frozen discrete distribution."""
    from scipy import stats

    return type(kind.__name__, (kind, type(stats.bernoulli(0.5))), {"__module__": kind.__module__})


def source_of(seed: Any) -> np.random.Generator | np.random.RandomState:
    """Return what a seed stands for: as in scipy an integer starts a RandomState, which goes on from draw to draw."""
    if isinstance(seed, np.random.Generator | np.random.RandomState):
        return seed
    return np.random.RandomState(seed) if isinstance(seed, int | np.integer) else np.random.default_rng(seed)
