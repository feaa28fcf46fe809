"""Random Bernoulli bits."""

import numpy as np
from numpy.typing import NDArray


def kept_masks(rates: NDArray[np.float64], size: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Return (size, n) bool masks whose neuron j is False with probability rates[j]."""
    return generator.random((size, rates.shape[0])) >= rates
