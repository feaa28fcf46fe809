"""Draws of JAX: functions of a key, flax.nnx and equinox modules; what `dropstats.models` asks of a framework."""

from typing import Any

from dropstats.models.jax.modules import declared, is_module, unwrapped
from dropstats.models.jax.passes import Passes

__all__ = ["Passes", "declared", "is_function", "matches", "name_of"]


def is_function(model: Any) -> bool:
    """Tell whether this is a function of a key, which has no modes of its own."""
    return not is_module(model)


def matches(model: Any) -> bool:
    """Tell whether this is a module of flax.nnx or equinox, or a function."""
    linen = any(kind.__module__.startswith("flax.linen") for kind in type(model).__mro__)  # to be wrapped in a function
    return is_module(model) or (callable(model) and not isinstance(model, type) and not linen)


def name_of(model: Any) -> str:
    """Return what a report calls the model."""
    model = unwrapped(model)
    return type(model).__name__ if is_module(model) else getattr(model, "__name__", type(model).__name__)
