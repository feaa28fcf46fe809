"""Which framework a model belongs to; a framework's own file is imported only where its library already is."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

# Library, and file here -> what its models are called. The order matters: a Keras model may be one of torch as well.
_KNOWN = {
    "keras": ("a keras Model or Layer",),
    "torch": ("a torch.nn.Module",),
    "jax": ("a flax nnx Module", "an equinox Module", "a function of a JAX key"),
}
# Libraries whose models hold the loop's state themselves: what they draw in it can be watched.
_WATCHED = ("keras", "torch")


def of(model: Any, watched: bool = False) -> ModuleType:
    """Return the framework's file for a model; with `watched`, one whose models can be watched as they train."""
    libraries = _WATCHED if watched else tuple(_KNOWN)
    found = "its library imported"
    for library in filter(sys.modules.__contains__, _KNOWN):
        framework = import_module(f"dropstats.models.{library}")
        if framework.matches(model):
            if library in libraries:
                return framework
            found = "as a step of JAX is a function of its key: audit_model(step, ...)"
    if any(kind.__module__.startswith("flax.linen") for kind in type(model).__mro__):
        found = "a linen Module as lambda key: module.apply(variables, *inputs, rngs={'dropout': key})"
    known = [what for library in libraries for what in _KNOWN[library]]
    text = f"{', '.join(known[:-1])} or {known[-1]}"
    raise TypeError(f"model must be {text}, {found}; got {model!r:.60} of type {type(model).__name__}")


def version(framework: ModuleType) -> str:
    """Return the library of a framework's file, with its version."""
    library = framework.__name__.rpartition(".")[2]
    return " ".join(filter(None, (library, getattr(sys.modules.get(library), "__version__", ""))))
