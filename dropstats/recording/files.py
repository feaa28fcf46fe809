"""Files of recordings. Nothing is ever unpickled."""

import zipfile
import zlib
from os import PathLike, fspath
from struct import error as StructError
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate
from dropstats.recording import packing

VERSION = 1
# What numpy and zipfile raise on files that are cut off, damaged or of another kind.
DAMAGE = (
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    IndexError,
    MemoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    StructError,
    zipfile.BadZipFile,
    zlib.error,
)
_EXPECTED = "a recording (.npz with keep and shape), or a .npy or .npz file with one array of masks"
# Counts that a Recording carries beside its masks; written where they are not 0.
COUNTS = ("other_scales", "unscaled", "nonzero", "nans", "infs", "nan_inputs", "nan_inputs_dropped")
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
    for name in ("p", "dtype", "known"):
        if getattr(recording, name) is not None:
            fields[name] = getattr(recording, name)
    if recording.scales is not None:
        fields["scales"] = np.array(list(recording.scales.items()), np.float64).reshape(-1, 2)
        if len(recording.scales) == 1:
            fields["scale"] = next(iter(recording.scales))
    for name in ("scale_tolerance", *COUNTS):
        if getattr(recording, name):
            fields[name] = getattr(recording, name)
    with open(path, "wb") as file:  # a path given to savez would get .npz appended
        np.savez_compressed(file, **fields)


def load(cls: Any, path: str | PathLike[str], p: float | None) -> Any:
    """Read a recording as Recording.load says."""
    name = fspath(path)
    p = None if p is None else _validate.probability(p)
    with open(name, "rb") as file:
        try:
            return _read(cls, file, name, p)
        except Refused as refusal:
            got = str(refusal)
        except DAMAGE as error:
            got = f"a file that is cut off, damaged or of another kind ({first_line(error)})"
    raise ValueError(f"{name}: expected {_EXPECTED}; got {got}")


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
        if len(members) != 1:
            raise Refused(f"an archive of {', '.join(map(repr, members[:8])) or 'nothing'}")
        return _one_array(cls, content[members[0]], name, p)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or what it means where it speaks of pickles."""
    text = str(error).partition("\n")[0]
    if "pickle" in text or "Object arrays" in text:
        return "it holds Python objects, which are never unpickled, or no array at all"
    return text[:120] or type(error).__name__


def _one_array(cls: Any, array: NDArray[Any], name: str, p: float | None) -> Any:
    if array.dtype.kind not in "biuf":
        raise Refused(f"an array of dtype {array.dtype}")
    if array.ndim < 2 or array.shape[0] == 0:
        raise Refused(f"an array of shape {array.shape}, where (trials, ...) is needed")
    recording = cls.of(array, p, name)
    if len(recording.scales or ()) + bool(recording.other_scales) > _MAX_VALUES:
        raise Refused(f"an array of {array.dtype} with more than {_MAX_VALUES} different values")
    return recording


def _scalar(fields: Any, key: str, kind: str, default: Any) -> Any:
    """Return the single value under `key`, of one of the dtype kinds."""
    if key not in fields.files:
        return default
    array = fields[key]
    if array.size != 1 or array.dtype.kind not in kind:
        raise Refused(f"{key} of shape {array.shape} and dtype {array.dtype}")
    return array.reshape(()).item()


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


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
    trailing = tuple(map(int, fields["trailing"])) if "trailing" in fields.files else tuple(last)
    if int(np.prod(trailing, dtype=object)) != n or min(trailing, default=1) < 0:
        raise Refused(f"trailing shape {trailing} of {n} neurons")
    known = _bits(fields["known"], "known", trials, last) if "known" in fields.files else None
    if known is not None and (packed & ~known).any():
        raise Refused("kept neurons that are not known")
    if p is None:
        p = _scalar(fields, "p", "fiu", None)
        p = None if p is None or np.isnan(p) else _validate.probability(p)
    counts = {key: int(_scalar(fields, key, "iu", 0)) for key in COUNTS}
    return cls(
        trials, n, trailing, p, _text(_scalar(fields, "source", "US", name)), packed, known,
        scales=_scales(fields, packed), scale_tolerance=float(_scalar(fields, "scale_tolerance", "f", 0.0)),
        dtype=_scalar(fields, "dtype", "U", None), **counts,
    )  # fmt: skip


def _scales(fields: Any, packed: NDArray[np.uint8]) -> dict[float, int] | None:
    """Return the scales and how often each; a file may name just one, that of all kept neurons."""
    if "scales" in fields.files:
        table = fields["scales"]
        if table.ndim != 2 or table.shape[1] != 2 or table.dtype.kind != "f":
            raise Refused(f"scales of shape {table.shape} and dtype {table.dtype}")
        return {float(value): int(count) for value, count in table}
    if "scale" not in fields.files:
        return None
    values, counts = np.unique(fields["scale"], return_counts=True)
    if not values.size or values.dtype.kind not in "fiu":
        raise Refused(f"scale of shape {fields['scale'].shape} and dtype {values.dtype}")
    # of several values it is not said how often each occurred
    kept = int(packing.row_sums(packed).sum())
    shares = np.diff(np.rint(kept * np.cumsum(counts) / counts.sum()), prepend=0)
    return dict(zip(values.astype(np.float64).tolist(), shares.astype(int).tolist(), strict=True))


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
