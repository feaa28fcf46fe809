"""Effects of a mask on the input of the next neuron: its distribution, its scaling, and consequences for training."""

from dropstats.activation.lattice import LatticeLaw
from dropstats.activation.masked_sum import MaskedSum
from dropstats.activation.preactivation import PreActivation
from dropstats.activation.scaling import (
    EffectiveLearningRate,
    effective_learning_rate,
    ridge_penalty,
    ridge_solution,
    variance_shift,
)

__all__ = [
    "EffectiveLearningRate",
    "LatticeLaw",
    "MaskedSum",
    "PreActivation",
    "effective_learning_rate",
    "ridge_penalty",
    "ridge_solution",
    "variance_shift",
]
