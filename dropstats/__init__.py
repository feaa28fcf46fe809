"""Exact laws, simulation and audits of dropout masks.

A law says what masks should look like, a tally what they did look like; everything else compares the two.
In a mask 1 (True) keeps a neuron and 0 drops it; ``p`` is always the probability that a neuron is dropped.

>>> import dropstats as ds
>>> layer = ds.Layer(1024, 0.5)
>>> round(float(layer.prob(dropped=512)), 6)
0.024928
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dropstats import plots, testing
    from dropstats.activation import (
        EffectiveLearningRate,
        PreActivation,
        effective_learning_rate,
        ridge_penalty,
        ridge_solution,
        variance_shift,
    )
    from dropstats.auditing import Report, Result, audit, audit_streams
    from dropstats.laws import (
        AlphaDropout,
        AttentionDropout,
        Channels,
        DropBlock,
        DropConnect,
        DropPath,
        FixedCount,
        GaussianDropout,
        Layer,
        Network,
        Neuron,
    )
    from dropstats.models import ModelReport, audit_model, watch
    from dropstats.power import detectable_shift, neurons_needed
    from dropstats.recording import Recording, record
    from dropstats.simulation import precise_to, simulate
    from dropstats.tallies import Tally, tally
    from dropstats.training import TrainingRun, passes_needed

__version__ = "0.1.0"

# Public name -> the module that defines it. Modules load when a name of theirs is first asked for, so that
# `import dropstats` is quick: neither scipy.stats nor matplotlib is loaded by it.
_HOMES = {
    "AlphaDropout": "laws",
    "AttentionDropout": "laws",
    "Channels": "laws",
    "DropBlock": "laws",
    "DropConnect": "laws",
    "DropPath": "laws",
    "EffectiveLearningRate": "activation",
    "FixedCount": "laws",
    "GaussianDropout": "laws",
    "Layer": "laws",
    "ModelReport": "models",
    "Network": "laws",
    "Neuron": "laws",
    "PreActivation": "activation",
    "Recording": "recording",
    "Report": "auditing",
    "Result": "auditing",
    "Tally": "tallies",
    "TrainingRun": "training",
    "audit": "auditing",
    "audit_model": "models",
    "audit_streams": "auditing",
    "detectable_shift": "power",
    "effective_learning_rate": "activation",
    "neurons_needed": "power",
    "passes_needed": "training",
    "precise_to": "simulation",
    "record": "recording",
    "ridge_penalty": "activation",
    "ridge_solution": "activation",
    "simulate": "simulation",
    "tally": "tallies",
    "variance_shift": "activation",
    "watch": "models",
}
_MODULES = ("plots", "testing")

__all__ = [
    "AlphaDropout",
    "AttentionDropout",
    "Channels",
    "DropBlock",
    "DropConnect",
    "DropPath",
    "EffectiveLearningRate",
    "FixedCount",
    "GaussianDropout",
    "Layer",
    "ModelReport",
    "Network",
    "Neuron",
    "PreActivation",
    "Recording",
    "Report",
    "Result",
    "Tally",
    "TrainingRun",
    "audit",
    "audit_model",
    "audit_streams",
    "detectable_shift",
    "effective_learning_rate",
    "neurons_needed",
    "passes_needed",
    "plots",
    "precise_to",
    "record",
    "ridge_penalty",
    "ridge_solution",
    "simulate",
    "tally",
    "testing",
    "variance_shift",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"dropstats.{name}")
    if name in _HOMES:
        return getattr(import_module(f"dropstats.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'dropstats' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
