"""Arrays of any library, read where they are: numpy's, torch's, jax's, tensorflow's, keras', paddle's, mlx', cupy's.

Operators (``!=``, ``==``, ``abs``) mean the same in all of them. What differs is gathered here, by what an array can do
rather than by whose it is: how a dtype is written, how values come to the host, how they are cast and reshaped.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import chain
from math import prod
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate

# Neurons read at a time: temporaries stay at a few tens of MiB.
# A multiple of 8, so that pieces end at whole bytes.
SLICE = 2**22
# What other names of dtypes stand for; what is wider than a double is read as one.
_DTYPES = {
    "bool_": "bool",
    "half": "float16",
    "fp16": "float16",
    "bf16": "bfloat16",
    "fp32": "float32",
    "float": "float32",
    "fp64": "float64",
    "double": "float64",
    "longdouble": "float64",
    "float96": "float64",
    "float128": "float64",
}
# dtypes that numpy gives a path, a function, or any other object
_NO_NUMBERS = ("object", "str", "bytes")
_NARROW = ("float16", "bfloat16", "float8")
# How an array that can do this comes to the host, in turn.
_TO_HOST: dict[str, Callable[[Any], Any]] = {
    "detach": lambda array: array.detach().cpu(),  # torch, paddle
    "numpy": lambda array: array.numpy(),  # torch, paddle, tensorflow
    "get": lambda array: array.get(),  # cupy, which np.asarray refuses
}


def array(value: Any) -> Any:
    """Return `value` if it is an array of some library, an array of it otherwise."""
    if type(value).__module__.startswith("keras") and hasattr(value, "value"):  # a Variable: its backend's tensor
        value = value.value() if callable(value.value) else value.value
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return value
    try:
        return np.asarray(value)
    except ValueError as error:  # ragged nested sequences
        raise TypeError(f"an array of numbers is expected; got {_validate.show(value)}") from error


def dtype(array: Any) -> str:
    """Return the dtype's name as numpy writes it, whatever the library: `torch.float32`, `FLOAT32`, `VarType.FP32`."""
    return _name(array.dtype)


@lru_cache(maxsize=64)  # numpy takes 20 us to name one
def _name(dtype: Any) -> str:
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or dtype
    last = str(name).rpartition(".")[2].lower()
    return _DTYPES.get(last, last)


def host(array: Any) -> NDArray[Any]:
    """Return an array of booleans, or of numbers that numpy knows, as numpy's."""
    for ability, move in _TO_HOST.items():
        if hasattr(array, ability) and library(array) != "pandas":  # whose get takes a key
            array = move(array)
    return np.asarray(array)


def floats(array: Any) -> NDArray[np.float64]:
    """Return the values as float64 of numpy: for a handful, or where they are many and different."""
    return host(wide(array)).astype(np.float64)


def wide(array: Any) -> Any:
    """Return floats in at least 32 bits, in their library, for narrower ones not every library can compare or move."""
    if not dtype(array).startswith(_NARROW):
        return array
    if hasattr(array, "detach"):  # torch, paddle
        return array.float()
    if not hasattr(array, "astype"):
        return sys.modules["tensorflow"].cast(array, "float32")
    try:
        return array.astype("float32")
    except TypeError:  # mlx: its own dtypes, not their names
        return array.astype(sys.modules[type(array.dtype).__module__].float32)


def flat(array: Any) -> Any:
    """Return the values of an array of shape (k, ...) as (k, n)."""
    shape = (int(array.shape[0]), prod(map(int, array.shape[1:])))
    return array.reshape(shape) if hasattr(array, "reshape") else sys.modules["tensorflow"].reshape(array, shape)


def library(array: Any) -> str:
    """Return the name of the library whose array this is."""
    return type(array).__module__.partition(".")[0].removesuffix("lib")  # jax's arrays live in jaxlib


def origin(array: Any) -> str:
    """Return the library, its version and the device of an array; nothing for numpy's."""
    name = library(array)
    if name == "numpy":
        return ""
    modules = (sys.modules.get(name), sys.modules.get(f"{name}.core"))  # mlx has its version in the second
    version = next(filter(None, (getattr(module, "__version__", "") for module in modules)), "")
    device = str(getattr(array, "device", "")).rpartition("device:")[2]  # tensorflow: /job:localhost/.../device:CPU:0
    return " ".join(filter(None, (name, version, device)))


class Blocks:
    """Arrays of shape (k, ...) of one trailing shape, `trials` masks in all."""

    trials: int
    name: str
    first: Any
    shape: tuple[int, ...]
    n: int
    dtype: str

    def __init__(self, blocks: Iterable[Any], trials: int, name: str) -> None:
        self._blocks = iter(blocks)
        self.trials, self.name = trials, name
        self.first = next(self._blocks)
        self.shape = tuple(map(int, self.first.shape[1:]))
        self.n = prod(self.shape)
        self.dtype = dtype(self.first)
        if not self.dtype.startswith(("bool", "int", "uint", "float", "bfloat")):
            raise TypeError(f"{name} must be booleans or real numbers; got dtype {self.dtype}")

    def pieces(self) -> Iterator[tuple[slice, slice, Any]]:
        """Yield (rows, columns, values of these), at most `SLICE` neurons at a time."""
        row = 0
        for block in chain([self.first], self._blocks):
            if tuple(map(int, block.shape[1:])) != self.shape:
                shape = tuple(map(int, block.shape[1:]))
                raise ValueError(
                    f"{self.name} must all have the first one's shape {self.shape}; got {shape}, index {row}"
                )
            size = int(block.shape[0])
            step = max(1, SLICE // max(self.n, 1))
            for start in range(0, size, step):
                stop = min(start + step, size)
                rows = flat(block[start:stop])
                for left in range(0, self.n, SLICE):
                    columns = slice(left, min(left + SLICE, self.n))
                    yield slice(row + start, row + stop), columns, rows[:, columns]
            row += size


def listed(values: Any) -> bool:
    """Tell whether these are arrays in a list, one a trial, and not numbers or an array."""
    return isinstance(values, list | tuple) and len(values) > 0 and len(array(values[0]).shape) > 0


def blocks(values: Any, name: str) -> Blocks:
    """Return one array of shape (trials, ...), or a list of arrays, one a trial, as blocks."""
    if isinstance(values, Iterator):
        values = list(values)
    if listed(values):
        return Blocks((array(one)[None] for one in values), len(values), name)
    whole = array(values)
    shape = tuple(map(int, whole.shape))
    if not shape and dtype(whole).startswith(_NO_NUMBERS):
        raise TypeError(
            f"{name} must be an array of shape (trials, ...); got {_validate.show(values)}{_advice(values)}"
        )
    if len(shape) < 2 or shape[0] == 0:
        advice = "; give a single mask in a list" if len(shape) == 1 and shape[0] else ""
        raise ValueError(f"{name} must have shape (trials, ...), trials >= 1; got shape {shape}{advice}")
    return Blocks([whole], shape[0], name)


def _advice(value: Any) -> str:
    """Return what to do with a value that is no array, but may be turned into a recording."""
    if isinstance(value, str | PathLike):
        return ", a path: read a file with Recording.load(path)"
    if callable(value):
        return (
            f" of type {type(value).__name__}: record a layer with record(layer, ...), audit a model with audit_model"
        )
    return f" of type {type(value).__name__}"
