"""Which layers of Keras declare dropout, and at which rate."""

from typing import Any

import keras

from dropstats.models.sites import Declared

_LAYER = keras.Layer
# Layers that draw normal numbers in place of a mask.
NOISE = (keras.layers.GaussianDropout, keras.layers.GaussianNoise)
# Attributes in which a dropout layer keeps its rate.
_RATES = ("rate", "dropout", "p", "drop_prob", "drop_rate")


def is_layer(model: Any) -> bool:
    """Tell whether this is a model or layer of Keras."""
    return isinstance(model, _LAYER)


def layers(model: Any) -> dict[int, tuple[str, Any]]:
    """Return the path and the layer of every layer, by id: names of layers, joined by dots."""
    found: dict[int, tuple[str, Any]] = {}

    def visit(layer: Any, path: str) -> None:
        if id(layer) in found:
            return
        found[id(layer)] = (path, layer)
        names: set[str] = set()
        for child in layer._flatten_layers(include_self=False, recursive=False):
            name = child.name if child.name not in names else f"{child.name}_{len(names)}"
            names.add(name)
            visit(child, f"{path}.{name}" if path else name)

    visit(model, "")
    return found


def is_dropout(layer: Any) -> bool:
    """Tell whether a layer is dropout by the name of its class."""
    kinds = [kind.__name__.lower() for kind in type(layer).__mro__]
    return any("drop" in kind and kind != "dropoutrnncell" for kind in kinds)


def is_own(layer: Any) -> bool:
    """Tell whether a dropout layer is somebody's own, which may draw in any way."""
    return is_dropout(layer) and not type(layer).__module__.startswith("keras.")


def rates(layer: Any) -> dict[str, float]:
    """Return the rates among a layer's own attributes; of added noise that of dropout of the same variance on ones."""
    if isinstance(layer, keras.layers.GaussianNoise):
        return {"stddev^2 / (1 + stddev^2)": of_noise(layer.stddev)}
    if is_dropout(layer):
        own = {name: getattr(layer, name, None) for name in _RATES}
        found = {name: p for name, p in own.items() if isinstance(p, int | float) and not isinstance(p, bool)}
        return dict(list(found.items())[:1])
    return {name: p for name, p in vars(layer).items() if "drop" in name and isinstance(p, float) and 0 <= p <= 1}


def of_noise(stddev: float) -> float:
    """Return the p of which a standard deviation is sqrt(p / (1 - p))."""
    return float(stddev) ** 2 / (1 + float(stddev) ** 2)


def declared(model: Any) -> list[Declared]:
    """Return every rate above 0 that a layer of the model declares."""
    return [
        Declared(path, name, float(p), is_dropout(layer) or isinstance(layer, NOISE))
        for path, layer in layers(model).values()
        for name, p in rates(layer).items()
        if p > 0
    ]
