"""What is asserted about, called as often as needed: a function, or a module, whose mode is restored afterwards."""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from dropstats import _validate
from dropstats.recording import arrays

# Neurons of the ones that a module is applied to where no inputs are given.
NEURONS = 2**16
# Where modules of torch, keras, timm and others say with which probability they drop.
_DECLARED = ("p", "rate", "drop_prob", "drop_rate")


class Drawn(NamedTuple):
    """How one call is made, what it is applied to, and what evaluation mode returns on the same input, if known."""

    call: Callable[[], Any]
    inputs: Any
    evaluate: Callable[[], Any] | None


class Outputs:
    """Takes what calls of noise return, as a `Recorder` takes masks: of noise the values are judged."""

    def __init__(self, calls: int, law: Any) -> None:
        self._rows: list[Any] = []
        self._calls, self._law = calls, law

    def add(self, output: Any, inputs: Any) -> None:
        """Add what one call returned on ones."""
        if inputs is not None and arrays.host(arrays.array(inputs) != 1).any():
            raise ValueError(f"{self._law!r} is tested on inputs of ones; got others")
        y = arrays.array(output)
        if not self._rows:
            _validate.memory(8 * self._calls * math.prod(y.shape), f"outputs of {self._calls:,} calls")
        self._rows.append(arrays.host(y) if arrays.dtype(y) in ("float32", "float64") else y)

    def recording(self) -> Any:
        """Return the outputs of all calls."""
        return self._rows


def is_module(dropout: Any) -> bool:
    """Return whether it is a module with a mode (torch, paddle, mlx), or a layer of Keras."""
    return _has_mode(dropout) or _is_keras(dropout)


def declared(module: Any) -> float | None:
    """Return the probability that a module says it drops with; None where it says none."""
    for name in _DECLARED:
        value = getattr(module, name, None)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return None


@contextmanager
def drawing(dropout: Any, inputs: Any, n: int | None) -> Iterator[Drawn]:
    """Give a way to call a function or a module in training; the modes of the module's parts are as before afterwards.

    Where no inputs are given a module is applied to ones, n of them.
    """
    __tracebackhide__ = True
    if not is_module(dropout):
        yield Drawn(dropout, inputs, None)
        return
    x = _ones(dropout, NEURONS if n is None else n) if inputs is None else inputs
    if _is_keras(dropout):
        yield Drawn(lambda: dropout(x, training=True), inputs, lambda: dropout(x, training=False))
        return
    before = [(part, part.training) for part in _parts(dropout)]
    try:
        dropout.train()
        yield Drawn(lambda: dropout(x), inputs, lambda: dropout.eval()(x))
    finally:
        for part, mode in before:
            _set_mode(part, mode)


def _has_mode(dropout: Any) -> bool:
    modes = (getattr(dropout, name, None) for name in ("train", "eval"))
    return all(map(callable, modes)) and isinstance(getattr(dropout, "training", None), bool) and callable(dropout)


def _is_keras(dropout: Any) -> bool:
    return "keras" in _libraries(dropout) and callable(getattr(dropout, "call", None))


def _libraries(module: Any) -> set[str]:
    return {kind.__module__.partition(".")[0] for kind in type(module).__mro__}


def _parts(module: Any) -> list[Any]:
    """Return a module and all that it is made of, itself first."""
    if hasattr(module, "sublayers"):  # paddle
        return list(module.sublayers(include_self=True))
    return list(module.modules()) if hasattr(module, "modules") else [module]


def _set_mode(part: Any, mode: bool) -> None:
    try:
        part.training = mode
    except AttributeError:  # mlx, where it is a property
        part.train(mode)


def _ones(module: Any, n: int) -> Any:
    """Return n ones, of the module's own library."""
    libraries = _libraries(module)
    for name, at in (("torch", "torch"), ("paddle", "paddle"), ("mlx", "mlx.core")):
        if name in libraries and at in sys.modules:
            return sys.modules[at].ones([n])
    return np.ones((1, n) if _is_keras(module) else n, np.float32)
