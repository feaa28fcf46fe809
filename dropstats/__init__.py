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
    from dropstats.auditing import Report, Result, audit, audit_streams
    from dropstats.laws import Layer, Network, Neuron
    from dropstats.power import detectable_shift, neurons_needed
    from dropstats.recording import Recording, record
    from dropstats.simulation import precise_to, simulate
    from dropstats.tallies import Tally, tally

__version__ = "0.1.0"

# Public name -> the module that defines it. Modules load when a name of theirs is first asked for, so that
# `import dropstats` is quick: neither scipy.stats nor matplotlib is loaded by it.
_HOMES = {
    "Layer": "laws",
    "Network": "laws",
    "Neuron": "laws",
    "Recording": "recording",
    "Report": "auditing",
    "Result": "auditing",
    "Tally": "tallies",
    "audit": "auditing",
    "audit_streams": "auditing",
    "detectable_shift": "power",
    "neurons_needed": "power",
    "precise_to": "simulation",
    "record": "recording",
    "simulate": "simulation",
    "tally": "tallies",
}
_MODULES = ("plots", "testing")

__all__ = [
    "Layer",
    "Network",
    "Neuron",
    "Recording",
    "Report",
    "Result",
    "Tally",
    "audit",
    "audit_streams",
    "detectable_shift",
    "neurons_needed",
    "plots",
    "precise_to",
    "record",
    "simulate",
    "tally",
    "testing",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"dropstats.{name}")
    if name in _HOMES:
        return getattr(import_module(f"dropstats.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'dropstats' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
