"""Exact laws, simulation and audits of dropout masks.

A law is the exact distribution of masks; a tally is what was counted in observed masks; plots, audits and tests
compare the two. In a mask 1 (True) keeps a neuron and 0 drops it; ``p`` is always the probability that a neuron is
dropped.

>>> import dropstats as ds
>>> layer = ds.Layer(1024, 0.5)
>>> round(float(layer.prob(dropped=512)), 6)
0.024928
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dropstats import plots as plots
    from dropstats import testing as testing
    from dropstats.activation import EffectiveLearningRate as EffectiveLearningRate
    from dropstats.activation import PreActivation as PreActivation
    from dropstats.activation import effective_learning_rate as effective_learning_rate
    from dropstats.activation import ridge_penalty as ridge_penalty
    from dropstats.activation import ridge_solution as ridge_solution
    from dropstats.activation import variance_shift as variance_shift
    from dropstats.auditing import Report as Report
    from dropstats.auditing import Result as Result
    from dropstats.auditing import audit as audit
    from dropstats.auditing import audit_streams as audit_streams
    from dropstats.laws import *  # noqa: F403
    from dropstats.laws.sizes import size_for as size_for
    from dropstats.models import ModelReport as ModelReport
    from dropstats.models import audit_model as audit_model
    from dropstats.models import watch as watch
    from dropstats.monitoring import Monitor as Monitor
    from dropstats.power import detectable_shift as detectable_shift
    from dropstats.power import neurons_needed as neurons_needed
    from dropstats.recording import Recorder as Recorder
    from dropstats.recording import Recording as Recording
    from dropstats.recording import record as record
    from dropstats.simulation import precise_to as precise_to
    from dropstats.simulation import simulate as simulate
    from dropstats.tallies import Tally as Tally
    from dropstats.tallies import tally as tally
    from dropstats.training import TrainingRun as TrainingRun
    from dropstats.training import passes_needed as passes_needed

__version__ = "0.1.0"

# Public name -> the module that defines it. Modules load when a name of theirs is first asked for, so that
# `import dropstats` is quick: neither NumPy nor scipy.stats nor matplotlib is loaded by it. The names of the laws are
# those of their table, `dropstats.laws`.
_HOMES = {
    "EffectiveLearningRate": "activation",
    "ModelReport": "models",
    "Monitor": "monitoring",
    "PreActivation": "activation",
    "Recorder": "recording",
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
    "size_for": "laws.sizes",
    "tally": "tallies",
    "variance_shift": "activation",
    "watch": "models",
}
_MODULES = ("plots", "testing")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"dropstats.{name}")
    if name in _HOMES:
        return getattr(import_module(f"dropstats.{_HOMES[name]}"), name)
    # no look at the laws for what Python asks of any module
    if name == "__all__" or not name.startswith("_"):
        laws = import_module("dropstats.laws")
        if name == "__all__":
            return sorted([*_HOMES, *_MODULES, *laws.__all__])
        if name in laws.__all__:
            return getattr(laws, name)
    raise AttributeError(f"module 'dropstats' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__getattr__("__all__")])
