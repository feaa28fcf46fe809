"""One style of message for every bad argument: what was expected, what came and where."""

import dataclasses
import math
import os
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fractions import Fraction

# The largest integer below which every integer is a double, so that counts can be answered in doubles.
MAX_NEURONS = 2**53
# Sums over trials are kept in int64.
MAX_TRIALS = 2**63 - 1

RNG = None | int | np.random.SeedSequence | np.random.Generator


def show(value: object) -> str:
    """Return the repr of a value, cut to 60 characters; of an array its shape."""
    if isinstance(value, np.ndarray) and value.size > 8:
        return f"an array of shape {value.shape}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def fields(value: Any) -> str:
    """Return the repr of a dataclass, in which an array of more than 8 numbers is its shape."""
    shown = (f"{each.name}={show(getattr(value, each.name))}" for each in dataclasses.fields(value))
    return f"{type(value).__name__}({', '.join(shown)})"


def integer(value: Any, name: str, *, minimum: int, maximum: int) -> int:
    """Return `value` as an int in [minimum, maximum]; 1e6 is taken, 1.5, True and "3" are not."""
    if type(value) is int and minimum <= value <= maximum:
        return value
    # a 0-d array is a number to its user
    scalar = value.item() if isinstance(value, np.ndarray | np.generic) and value.ndim == 0 else value
    if isinstance(scalar, bool) or not isinstance(scalar, Real):
        raise TypeError(f"{name} must be an integer; got {show(value)} of type {type(value).__name__}")
    # an int may be too large for math.isfinite
    if not isinstance(scalar, Integral) and (not math.isfinite(scalar) or scalar != math.floor(scalar)):
        raise ValueError(f"{name} must be an integer; got {show(value)}")
    number: int = math.floor(scalar)  # type: ignore[assignment]
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}; got {show(value)}")
    if number > maximum:
        raise ValueError(f"{name} must be at most {maximum}; got {show(value)}")
    return number


def neurons(n: Any, name: str = "n", *, minimum: int = 0) -> int:
    """Return a number of neurons, 0 to 2^53."""
    return integer(n, name, minimum=minimum, maximum=MAX_NEURONS)


def trials(value: Any, name: str = "trials", *, minimum: int = 1) -> int:
    """Return a number of trials, 1 to 2^63 - 1."""
    return integer(value, name, minimum=minimum, maximum=MAX_TRIALS)


def _real_array(values: Any, name: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values)
    except ValueError as error:  # ragged nested sequences
        raise TypeError(f"{name} must be real numbers; got {show(values)}") from error
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be real numbers; got {show(values)} of dtype {array.dtype}")
    return array.astype(np.float64)


def _refuse(bad: NDArray[np.bool_], array: NDArray[np.float64], name: str, expected: str) -> None:
    """Raise where anything is `bad`: what was expected, the first number that is not so, and where."""
    if bad.any():
        where = tuple(map(int, np.unravel_index(int(np.argmax(bad)), array.shape)))
        place = f" at index {where[0] if array.ndim == 1 else where}" if array.ndim else ""
        raise ValueError(f"{name} must be {expected}; got {float(array[where])!r}{place}")


def _unit_interval(array: NDArray[np.float64], name: str) -> None:
    if array.size and not (array.min() >= 0 and array.max() <= 1):  # NaN compares False, so it is bad
        _refuse(~((array >= 0) & (array <= 1)), array, name, "in [0, 1]")


def probability(value: Any, name: str = "p") -> float:
    """Return a single probability as a float in [0, 1]."""
    if type(value) is float and 0 <= value <= 1:
        return value + 0.0  # -0.0 becomes 0.0
    array = _real_array(value, name)
    if array.ndim != 0:
        raise ValueError(f"{name} must be a single number; got an array of shape {array.shape}")
    _unit_interval(array, name)
    return float(array) + 0.0


def open_probability(value: Any, name: str) -> float:
    """Return a single probability in (0, 1)."""
    found = probability(value, name)
    if not 0 < found < 1:
        raise ValueError(f"{name} must be in (0, 1); got {found!r}")
    return found


def below_one(p: Any) -> float:
    """Return a single probability in [0, 1)."""
    rate = probability(p)
    if rate == 1:
        raise ValueError("p must be in [0, 1), since at p = 1 no neuron is kept; got 1.0")
    return rate


def probabilities(values: Any, n: int, name: str = "p") -> float | NDArray[np.float64]:
    """Return one probability, or a read-only (n,) array of them where they differ."""
    if type(values) is float:
        return probability(values, name)
    array = _real_array(values, name)
    if array.ndim == 0:
        return probability(values, name)
    if array.shape != (n,):
        raise ValueError(f"{name} must be a number or an array of shape ({n},); got shape {array.shape}")
    _unit_interval(array, name)
    array = array + 0.0
    if n and array[0] == array[-1] and (array == array[0]).all():
        return float(array[0])
    array.flags.writeable = False
    return array


def finite(values: Any, name: str, *, ndim: tuple[int, ...], shape: str) -> NDArray[np.float64]:
    """Return finite real numbers as a read-only array with one of the numbers of axes `ndim`, described by `shape`."""
    array = _real_array(values, name)
    if array.ndim not in ndim:
        raise ValueError(f"{name} must have shape {shape}; got shape {array.shape}")
    _refuse(~np.isfinite(array), array, name, "finite")
    array.flags.writeable = False
    return array


def number(value: Any, name: str) -> float:
    """Return a finite real number as a float."""
    return float(finite(value, name, ndim=(0,), shape="()"))


def _count(value: Any, name: str) -> int:
    return integer(value, name, minimum=-(2**63), maximum=2**63)


def closed_interval(value: Any, name: str) -> tuple[int | None, int | None]:
    """Return a closed interval of counts, from an int or a pair whose None leaves an end open."""
    if not isinstance(value, tuple | list):
        if not isinstance(value, Real | np.ndarray):
            expected = "an integer or a pair (low, high), both ends included"
            raise TypeError(f"{name} must be {expected}; got {show(value)} of type {type(value).__name__}")
        count = _count(value, name)
        return count, count
    if len(value) != 2:
        raise ValueError(f"{name} must be an integer or a pair (low, high); got {show(value)}")
    low = None if value[0] is None else _count(value[0], f"{name}[0]")
    high = None if value[1] is None else _count(value[1], f"{name}[1]")
    if low is not None and high is not None and low > high:
        raise ValueError(f"{name} must be an interval (low, high) with low <= high; got ({low}, {high})")
    return low, high


def unit_interval(values: Any, name: str) -> NDArray[np.float64]:
    """Return probabilities as an array of any shape."""
    array = _real_array(values, name)
    _unit_interval(array, name)
    return array


def share_of(value: Any, n: int, name: str) -> tuple[int | None, int | None]:
    """Return the closed interval of counts that a share of n, or a pair of shares, stands for."""
    if n == 0:
        raise ValueError(f"{name} needs at least one neuron; got none")
    if not isinstance(value, tuple | list):
        count = _of_digits(value, name) * n
        if count.denominator != 1:
            raise ValueError(f"{name} {value!r} of {n} neurons is {float(count):.15g}: give an interval (low, high)")
        return int(count), int(count)
    if len(value) != 2:
        raise ValueError(f"{name} must be a number or a pair (low, high); got {show(value)}")
    low, high = (None if end is None else _of_digits(end, f"{name}[{k}]") * n for k, end in enumerate(value))
    if low is not None and high is not None and low > high:
        raise ValueError(f"{name} must be an interval (low, high) with low <= high; got {show(value)}")
    return None if low is None else math.ceil(low), None if high is None else math.floor(high)


def _of_digits(value: Any, name: str) -> "Fraction":
    """Return the number that the shortest decimal digits of a probability write."""
    from fractions import Fraction

    return Fraction(repr(probability(value, name)))


def memory(nbytes: int, what: str) -> None:
    """Raise MemoryError where `what` would need more than this machine's memory."""
    try:
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a POSIX system: let the allocation itself speak
        return
    if nbytes > available:
        need, has = nbytes / 2**30, available / 2**30
        raise MemoryError(f"{what} would need {need:.3g} GiB; this machine has {has:.3g} GiB of memory")


def generator(rng: RNG) -> np.random.Generator:
    """Return a Generator: `rng` itself, or a new one from None, an int or a SeedSequence."""
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(seed_sequence(rng))


def seed_sequence(rng: RNG) -> np.random.SeedSequence:
    """Return the SeedSequence that `rng` stands for; a Generator is advanced by drawing 128 bits from it."""
    if isinstance(rng, np.random.SeedSequence):
        return rng
    if isinstance(rng, np.random.Generator):
        return np.random.SeedSequence([int(word) for word in rng.integers(2**32, size=4)])
    if rng is None:
        return np.random.SeedSequence()
    if isinstance(rng, bool) or not isinstance(rng, Integral):
        expected = "None, an int, a SeedSequence or a Generator"
        raise TypeError(f"rng must be {expected}; got {show(rng)} of type {type(rng).__name__}")
    if rng < 0:
        raise ValueError(f"rng must not be negative; got {show(rng)}")
    return np.random.SeedSequence(int(rng))


def indices(values: Any, n: int, name: str) -> NDArray[np.int64]:
    """Return positions of neurons in a mask, integers from 0 to n - 1, as an array."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{name} must be integers from 0 to {n - 1}; got {show(values)} of dtype {array.dtype}")
    bad = (array < 0) | (array >= n)
    if bad.any():
        raise ValueError(f"{name} must be integers from 0 to {n - 1}; got {array[bad].ravel()[0]}")
    return array.astype(np.int64)


def choice(value: Any, name: str, known: Iterable[str]) -> str:
    """Return one of the known names."""
    known = tuple(known)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}; got {show(value)}")
    return value


def writable(path: str | os.PathLike[str], what: str) -> Path:
    """Return `path` as a Path; raise OSError where no file can be written there."""
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        raise OSError(f"{what} must be a file in an existing folder; got {str(path)!r}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OSError(f"{what} must be writable; got {str(path)!r}")
    return path
