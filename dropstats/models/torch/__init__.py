"""Draws of torch models: what `dropstats.models` asks of a framework."""

from typing import Any

import torch

from dropstats.models.torch.declares import ORIGINAL, declared
from dropstats.models.torch.hooks import watching
from dropstats.models.torch.passes import Passes

__all__ = ["Passes", "declared", "matches", "watching"]


def matches(model: Any) -> bool:
    """Tell whether this is a model of torch."""
    return isinstance(model, torch.nn.Module)


def name_of(model: Any) -> str:
    """Return what a report calls the model."""
    return type(getattr(model, ORIGINAL, model)).__name__
