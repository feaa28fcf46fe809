"""Small arrays of pictures as values that JSON can hold, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np

Panels = Mapping[str, Mapping[str, Any]]


def plain(panels: Panels) -> dict[str, dict[str, Any]]:
    """Return panels with lists in place of arrays: floats to six digits, rows of packed bits in hexadecimal."""
    return {panel: {name: _plain(value) for name, value in parts.items()} for panel, parts in panels.items()}


def restored(panels: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return panels with arrays in place of the lists that `plain` made."""
    return {panel: {name: _restored(name, value) for name, value in parts.items()} for panel, parts in panels.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype == np.uint8:
        return [row.tobytes().hex() for row in value]
    if value.dtype.kind == "f":
        return [_plain(row) for row in value] if value.ndim > 1 else [float(f"{number:.6g}") for number in value]
    return value.tolist()


def _restored(name: str, value: Any) -> Any:
    if not isinstance(value, list):
        return value
    if name == "packed":
        return np.array([list(bytes.fromhex(row)) for row in value], np.uint8)
    return tuple(value) if value and isinstance(value[0], str) else np.array(value)
