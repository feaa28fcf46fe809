"""Draws of Keras 3 models, on any backend: what `dropstats.models` asks of a framework."""

from typing import Any

from dropstats.models.keras.declares import declared, is_layer
from dropstats.models.keras.draws import watching
from dropstats.models.keras.passes import Passes

__all__ = ["Passes", "declared", "matches", "name_of", "watching"]


def matches(model: Any) -> bool:
    """Tell whether this is a model or layer of Keras."""
    return is_layer(model)


def name_of(model: Any) -> str:
    """Return what a report calls the model."""
    return type(model).__name__
