"""Which framework a model belongs to; a framework's own file is imported only where its library already is."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

# Library -> its file here and what its models are called. The order matters: a Keras model may be one of torch as well.
_KNOWN = {
    "keras": ("keras", "a keras Model or Layer"),
    "torch": ("torch", "a torch.nn.Module"),
    "jax": ("jax", "a flax nnx Module, an equinox Module or a function of a JAX key"),
}


def of(model: Any, watched: bool = False) -> ModuleType:
    """Return the framework's file for a model; with `watched`, one whose models can be watched as they train."""
    for library, (file, _) in _KNOWN.items():
        if library in sys.modules:
            framework = import_module(f"dropstats.models.{file}")
            if framework.matches(model) and (not watched or hasattr(framework, "watching")):
                return framework
    known = [what for _, what in _KNOWN.values()]
    text = f"{', '.join(known[:-1])}, or {known[-1]}"
    raise TypeError(f"model must be {text}, its library imported; got {model!r:.60} of type {type(model).__name__}")


def version(framework: ModuleType) -> str:
    """Return the library of a framework's file, with its version."""
    library = framework.__name__.rpartition(".")[2]
    return " ".join(filter(None, (library, getattr(sys.modules.get(library), "__version__", ""))))
