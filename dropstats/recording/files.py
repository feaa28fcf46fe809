"""Files of recordings. Nothing is ever unpickled."""

import math
from collections.abc import Callable
from dataclasses import replace
from os import PathLike, fspath
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate, formats
from dropstats.recording import packing
from dropstats.recording.inputs import InputBins
from dropstats.recording.readers import COUNTS

T = TypeVar("T")

VERSION = 1
_EXPECTED = (
    "a recording (.npz with keep and shape), or a .npy or .npz file with one array of masks or of outputs on ones"
)
_INTEGERS = tuple(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))
# A float array with more distinct values than this is no dropout output on an input of ones.
_MAX_VALUES = 16


class Refused(Exception):
    """What was found instead of what was expected."""


def save(recording: Any, path: str | PathLike[str]) -> None:
    """Write a recording as Recording.save says."""
    fields: dict[str, Any] = {
        "version": VERSION,
        "keep": recording.packed,
        "shape": np.array([recording.trials, recording.n]),
        "source": recording.source,
    }
    if recording.shape != (recording.n,):
        fields["trailing"] = np.array(recording.shape, np.int64)
    for name in ("p", "dtype", "known", "neuron_scales"):
        if getattr(recording, name) is not None:
            fields[name] = getattr(recording, name)
    if recording.scales is not None:
        fields["scales"] = np.array(list(recording.scales.items()), np.float64).reshape(-1, 2)
        if len(recording.scales) == 1:
            fields["scale"] = next(iter(recording.scales))
    for name in ("scale_tolerance", "distinct_scales", *COUNTS):
        if getattr(recording, name):
            fields[name] = getattr(recording, name)
    if recording.input_bins is not None:
        fields["input_edges"] = recording.input_bins.edges
        fields["input_counts"] = np.stack([recording.input_bins.known, recording.input_bins.dropped])
    if recording.moved is not None:
        fields["moved"] = np.array(recording.moved, np.int64)
    with open(path, "wb") as file:  # a path given to savez would get .npz appended
        np.savez_compressed(file, **fields)


def load(cls: Any, path: str | PathLike[str], p: float | None) -> Any:
    """Read a recording as Recording.load says."""
    name = fspath(path)
    p = None if p is None else _validate.probability(p)
    return opened(name, _EXPECTED, lambda file: _read(cls, file, name, p))


def opened(path: str | PathLike[str], expected: str, read: Callable[[IO[bytes]], T]) -> T:
    """Return what is read from a file; raise ValueError where it does not hold what is expected."""
    with open(path, "rb") as file:
        try:
            return read(file)
        except Refused as refusal:
            got = str(refusal)
        except Exception as error:  # what numpy, zipfile and the decompressors raise on damage is no closed list
            got = f"a file that is cut off, damaged or of another kind ({_first_line(error)})"
    raise ValueError(f"{fspath(path)}: expected {expected}; got {got}")


def _read(cls: Any, file: IO[bytes], name: str, p: float | None) -> Any:
    magic = file.read(len(np.lib.format.MAGIC_PREFIX))
    file.seek(0)
    if magic == np.lib.format.MAGIC_PREFIX:
        return _one_array(cls, np.load(name, mmap_mode="r", allow_pickle=False), name, p)
    if not magic.startswith(b"PK"):  # what numpy would take for a pickle
        raise Refused("a file of another kind, by its first bytes" if magic else "an empty file")
    # the archive is opened here, not by its name: numpy leaves a damaged one open
    with np.load(file, allow_pickle=False) as content:
        members = content.files
        if "keep" in members:
            return _packed(cls, content, name, p)
        if set(members) == {"inputs", "outputs"}:
            return _said(cls.from_outputs, content["outputs"], p=p, inputs=content["inputs"], source=name)
        if len(members) != 1:
            several = "; of two arrays, outputs and the inputs that they belong to, call them so" if members else ""
            raise Refused(f"an archive of {', '.join(map(repr, members[:8])) or 'nothing'}{several}")
        return _one_array(cls, content[members[0]], name, p)


def _first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or what it means where it speaks of pickles."""
    text = str(error).partition("\n")[0]
    if "pickle" in text or "Object arrays" in text:
        return "it holds Python objects, which are never unpickled, or no array at all"
    return text[:120] or type(error).__name__


def _said(read: Any, *given: Any, **named: Any) -> Any:
    """Read arrays; what is wrong with them is said as it is, for the file is sound."""
    try:
        return read(*given, **named)
    except (ValueError, TypeError) as error:
        raise Refused(f"an array that cannot be read: {error}") from error


def _one_array(cls: Any, array: NDArray[Any], name: str, p: float | None) -> Any:
    # how numpy writes bfloat16, a dtype that it does not know
    bfloat16 = array.dtype.str == "|V2"
    if bfloat16:
        array = (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    if array.dtype.kind not in "biuf":
        raise Refused(f"an array of dtype {array.dtype}")
    if array.ndim < 2 or array.shape[0] == 0:
        single = "; save a single mask as array[None]" if array.ndim == 1 and array.size else ""
        raise Refused(f"an array of shape {array.shape}, where (trials, ...) is needed{single}")
    recording = _said(cls.of, array, p, name)
    if bfloat16 and recording.dtype is not None:
        recording = replace(recording, dtype="bfloat16")
    if len(recording.scales or ()) + bool(recording.other_scales) > _MAX_VALUES and not _one_value_each(array):
        others = "; outputs on other inputs need these: an .npz file of the arrays outputs and inputs"
        raise Refused(f"an array of {array.dtype} with more than {_MAX_VALUES} different values{others}")
    return recording


def _one_value_each(array: NDArray[Any]) -> bool:
    """Tell whether kept neurons of each of the first calls have one value, which may differ from call to call."""
    return all(np.unique(call[call != 0]).size <= 1 for call in array[:16])


def _scalar(fields: Any, key: str, kind: str, default: Any) -> Any:
    """Return the single value under `key`, of one of the dtype kinds."""
    if key not in fields.files:
        return default
    array = fields[key]
    if array.size != 1 or array.dtype.kind not in kind:
        raise Refused(f"{key} of shape {array.shape} and dtype {array.dtype}")
    return array.reshape(()).item()


def _packed(cls: Any, fields: Any, name: str, p: float | None) -> Any:
    version = _scalar(fields, "version", "iu", 1)
    if version != VERSION:
        raise Refused(f"version {version}, where this dropstats reads {VERSION}")
    if "shape" not in fields.files:
        raise Refused("keep without shape")
    shape = fields["shape"]
    if shape.ndim != 1 or shape.size < 2 or shape.dtype.kind not in "iu" or (shape < 0).any() or shape[0] == 0:
        raise Refused(f"shape {_validate.show(shape.tolist())}, where (trials, ...) is needed")
    trials, *last = map(int, shape)
    packed = _bits(fields["keep"], "keep", trials, last)
    n = int(np.prod(last, dtype=object))
    trailing = _trailing(fields, n, last)
    known = _bits(fields["known"], "known", trials, last) if "known" in fields.files else None
    if known is not None and (packed & ~known).any():
        raise Refused("kept neurons that are not known")
    if p is None:
        p = _scalar(fields, "p", "fiu", None)
        p = None if p is None or np.isnan(p) else _validate.probability(p)
    judged = trials * n if known is None else int(packing.row_sums(known).sum())
    kept = int(packing.row_sums(packed).sum())
    source = _scalar(fields, "source", "US", name)
    source = source.decode("utf-8", "replace") if isinstance(source, bytes) else source
    return cls(trials, n, trailing, p, source, packed, known, **_values(fields, trials, n, judged, kept))


def _trailing(fields: Any, n: int, last: list[int]) -> tuple[int, ...]:
    """Return the shape of one mask."""
    given = fields["trailing"] if "trailing" in fields.files else np.array(last, np.int64)
    shape = tuple(map(int, given.reshape(-1)))
    if given.dtype.kind not in "iu" or int(np.prod(shape, dtype=object)) != n or min(shape, default=1) < 0:
        raise Refused(f"trailing shape {_validate.show(given.tolist())} of {n} neurons")
    return shape


def _values(fields: Any, trials: int, n: int, judged: int, kept: int) -> dict[str, Any]:
    """Return what the values of outputs said, checked against the numbers of neurons, known ones and kept ones."""
    size = trials * n
    found: dict[str, Any] = {key: _count(fields, key, size) for key in COUNTS}
    scales = _scales(fields, kept)
    told = sum((scales or {}).values()) + found["other_scales"] + found["unscaled"]
    if told > kept:
        raise Refused(f"scales of {told} kept values, where {kept} are kept")
    if found["nan_inputs_dropped"] > found["nan_inputs"]:
        raise Refused(f"nan_inputs_dropped {found['nan_inputs_dropped']} of {found['nan_inputs']} NaN inputs")
    dtype = _scalar(fields, "dtype", "U", None)
    if dtype is not None and dtype not in (*formats.DTYPES, *_INTEGERS):
        raise Refused(f"dtype {dtype!r}, which dropstats does not know")
    tolerance = float(_scalar(fields, "scale_tolerance", "f", 0.0))
    if not 0 <= tolerance < 1:
        raise Refused(f"scale_tolerance {tolerance}, where [0, 1) is needed")
    distinct = max(_count(fields, "distinct_scales", size), len(scales or ()))
    each = fields["neuron_scales"] if "neuron_scales" in fields.files else None
    if each is not None and (each.shape != (n,) or each.dtype != np.float64):
        raise Refused(f"neuron_scales of shape {each.shape} and dtype {each.dtype} for {n} neurons")
    return {
        "scales": scales, "scale_tolerance": tolerance, "dtype": dtype, "distinct_scales": distinct,
        "neuron_scales": each, "input_bins": _input_bins(fields, judged),
        "moved": _moved(fields, n), **found,
    }  # fmt: skip


def _count(fields: Any, key: str, most: int) -> int:
    count = int(_scalar(fields, key, "iu", 0))
    if not 0 <= count <= most:
        raise Refused(f"{key} {count}, where 0 to {most} is needed")
    return count


def _scales(fields: Any, kept: int) -> dict[float, int] | None:
    """Return the scales and how often each; a file may name just one, that of all kept neurons."""
    if "scales" in fields.files:
        table = fields["scales"]
        if table.ndim != 2 or table.shape[1] != 2 or table.dtype.kind != "f":
            raise Refused(f"scales of shape {table.shape} and dtype {table.dtype}")
        values, counts = table.T
        if not ((counts >= 0) & (counts == np.floor(counts)) & (counts <= kept)).all():
            raise Refused(f"scales that occur {_validate.show(counts.tolist())} times")
        values, shares = values.astype(np.float64), counts.astype(np.int64)
    elif "scale" in fields.files:
        values, counts = np.unique(fields["scale"], return_counts=True)
        if not values.size or values.dtype.kind not in "fiu":
            raise Refused(f"scale of shape {fields['scale'].shape} and dtype {values.dtype}")
        # of several values it is not said how often each occurred
        shares = np.diff(np.rint(kept * np.cumsum(counts) / counts.sum()), prepend=0).astype(np.int64)
        values = values.astype(np.float64)
    else:
        return None
    if np.isnan(values).any() or (values == 0).any() or np.unique(values).size < values.size:
        raise Refused(f"scales {_validate.show(values.tolist())}, where distinct numbers other than 0 are needed")
    return dict(zip(values.tolist(), shares.tolist(), strict=True))


def _moved(fields: Any, n: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return a shape and the order of its axes in which kept values are another neuron's."""
    if "moved" not in fields.files:
        return None
    table = fields["moved"]
    shape, axes = map(tuple, table.tolist()) if table.ndim == 2 and len(table) == 2 else ((), ())
    if table.dtype.kind not in "iu" or sorted(axes) != list(range(len(shape))) or math.prod(shape) != n:
        raise Refused(f"moved {_validate.show(table.tolist())}, where a shape of {n} neurons and its axes are needed")
    return shape, axes


def _input_bins(fields: Any, judged: int) -> InputBins | None:
    """Return the numbers of neurons by the value of their input."""
    if not {"input_edges", "input_counts"} & set(fields.files):
        return None
    edges, counts = fields["input_edges"], fields["input_counts"]
    fits = edges.ndim == 1 and counts.shape == (2, edges.size + 1)
    fits = fits and edges.dtype.kind == "f" and counts.dtype.kind in "iu"
    if not fits or not np.isfinite(edges).all() or not (np.diff(edges) > 0).all():
        raise Refused(f"input_edges of shape {edges.shape} with input_counts of shape {counts.shape}")
    known, dropped = counts.astype(np.int64)
    if (dropped < 0).any() or (dropped > known).any() or known.sum() > judged:
        raise Refused(f"input_counts {_validate.show(counts.tolist())} of {judged} neurons")
    return InputBins(edges.astype(np.float64), known, dropped)


def _bits(bits: NDArray[Any], key: str, trials: int, last: list[int]) -> NDArray[np.uint8]:
    """Return packed bits of shape (trials, ceil(n / 8)), with zeros beyond the n-th.

    In a file they are packed along the last axis, of a mask of any shape or of a flattened one.
    """
    n = int(np.prod(last, dtype=object))
    if bits.dtype != np.uint8 or bits.shape not in (
        (trials, -(-n // 8)),
        (trials, *last[:-1], -(-last[-1] // 8)),
    ):
        raise Refused(f"{key} of shape {bits.shape} and dtype {bits.dtype} for masks of shape {(trials, *last)}")
    if bits.shape != (trials, -(-n // 8)):
        bits = np.packbits(np.unpackbits(bits, axis=-1, count=last[-1]).reshape(trials, n), axis=1)
    if n % 8:
        bits[:, -1] &= np.uint8(256 - 2 ** (8 - n % 8))
    bits.flags.writeable = False
    return bits
