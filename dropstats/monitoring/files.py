"""Files of monitors: arrays, and one text of plain values. Nothing is ever unpickled."""

import json
from functools import partial
from os import PathLike
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dropstats.monitoring.null import Null
from dropstats.monitoring.summary import Alarm, Part
from dropstats.recording.files import Refused, opened

M = TypeVar("M")

VERSION = 1
_EXPECTED = "a monitor (.npz as Monitor.save writes it)"
# What each check holds beside what follows from the law, and which of these arrays grow.
_HELD = {
    "_selections": ("pairs", "sums"),
    "_positions": ("trials", "sums"),
    "_dispersion": ("sums",),
    "_duplicates": (
        *("keys", "probs", "calls", "streams"),
        *("remembered", "chance", "bets", "log_wealth", "hit", "stream_names"),
    ),
    "_certain": ("found",),
}
_GROWING = ("_selections.sums", "_duplicates.keys", "_duplicates.probs", "_duplicates.calls", "_duplicates.streams")


def save(monitor: Any, path: str | PathLike[str]) -> None:
    """Write a monitor as Monitor.save says."""
    null, alarm = monitor._null, monitor.alarm
    about: dict[str, Any] = {
        "version": VERSION,
        "false_alarm": monitor.false_alarm,
        "every": monitor.every,
        "trials": monitor.trials,
        "dropped": monitor.dropped,
        "alarm": None if alarm is None else vars(alarm),
        "history": monitor.history,
        "parts": [part._asdict() for part in monitor._parts],
        "streams": [[stream.name, stream.calls] for stream in monitor._streams.values()],
        "p": monitor._p if null is None else None,
    }
    fields: dict[str, Any] = {}
    if null is not None:
        about |= {"n": null.n, "law": null.law}
        fields["rates"] = null.rates if null.rate is None else null.rates[:1]
        about["size"] = null.size
        if null.group_of is not None:
            fields["group_of"] = null.group_of
        if not monitor._parts:
            monitor._positions.settle()
            for key, value in _held(monitor).items():
                (fields if isinstance(value, np.ndarray) else about)[key] = value
    fields |= {f"ring.{k}": stream.ring for k, stream in enumerate(monitor._streams.values())}
    with open(path, "wb") as file:  # a path given to savez would get .npz appended
        np.savez_compressed(file, about=json.dumps(about), **fields)


def _held(monitor: Any) -> dict[str, Any]:
    return {f"{check}.{name}": getattr(getattr(monitor, check), name) for check in _HELD for name in _HELD[check]}


def load(cls: type[M], path: str | PathLike[str]) -> M:
    """Read a monitor as Monitor.load says."""
    return opened(path, _EXPECTED, partial(_read, cls))


def _read(cls: type[M], file: IO[bytes]) -> M:
    if file.read(2) != b"PK":  # what numpy would take for a pickle
        raise Refused("a file of another kind, by its first bytes")
    file.seek(0)
    with np.load(file, allow_pickle=False) as content:
        if "about" not in content.files:
            raise Refused(f"an archive of {', '.join(map(repr, content.files[:8])) or 'nothing'}")
        about = json.loads(str(content["about"]))
        if about["version"] != VERSION:
            raise Refused(f"version {about['version']}, where this dropstats reads {VERSION}")
        null = None if about["p"] is not None else _null(about, content)
        begin: Any = cls
        monitor = begin(null or about["p"], None, about["false_alarm"], about["every"])
        monitor.alarm = None if about["alarm"] is None else Alarm(**about["alarm"])
        monitor.history = [(int(step), [float(log) for log in logs]) for step, logs in about["history"]]
        parts = tuple(Part(**part) for part in about["parts"])
        if parts:
            monitor._sum(parts)
        elif null is not None:
            _restore(monitor, about, content)
    return monitor  # type: ignore[no-any-return]


def _null(about: dict[str, Any], content: Any) -> Null:
    size = int(about["size"])
    rates = content["rates"]
    if rates.dtype != np.float64 or rates.shape not in ((1,), (size,)) or not ((rates >= 0) & (rates <= 1)).all():
        raise Refused(f"rates of shape {rates.shape} and dtype {rates.dtype} for {size} neurons")
    group_of = None
    if "group_of" in content.files:
        group_of = _array(content, "group_of", np.zeros(int(about["n"]), np.int64))
        if np.unique(group_of).tolist() != list(range(size)):
            raise Refused(f"groups other than 0 to {size - 1}")
    elif about["n"] != size:
        raise Refused(f"{size} rates for {about['n']} neurons")
    return Null(int(about["n"]), np.broadcast_to(rates, (size,)), group_of, str(about["law"]))


def _restore(monitor: Any, about: dict[str, Any], content: Any) -> None:
    """Set what a monitor that takes masks has counted."""
    monitor.trials, monitor.dropped = int(about["trials"]), int(about["dropped"])
    for k, (name, calls) in enumerate(about["streams"]):
        stream = monitor._stream(str(name))
        stream.calls, stream.ring = int(calls), _array(content, f"ring.{k}", stream.ring)
    if monitor.trials != sum(stream.calls for stream in monitor._streams.values()):
        raise Refused(f"{monitor.trials} masks, and streams of other lengths")
    for key, fresh in _held(monitor).items():
        check, _, name = key.partition(".")
        if isinstance(fresh, np.ndarray):
            value: Any = _array(content, key, fresh, key in _GROWING)
        else:
            value = about[key]
            if fresh is not None and type(value) is not type(fresh):
                raise Refused(f"{key} of type {type(value).__name__}")
        setattr(getattr(monitor, check), name, value)
    for check in _HELD:
        if not getattr(monitor, check).resume():
            raise Refused(f"counts that do not fit together, in {check[1:]}")


def _array(content: Any, key: str, like: NDArray[Any], grows: bool = False) -> NDArray[Any]:
    """Return an array of the shape and dtype of another one, but for its length where it grows."""
    array: NDArray[Any] = content[key]
    same = array.ndim == like.ndim and array.shape[grows:] == like.shape[grows:]
    if not same or array.dtype != like.dtype:
        raise Refused(f"{key} of shape {array.shape} and dtype {array.dtype}, unlike {like.shape} and {like.dtype}")
    if not np.isfinite(array).all():
        raise Refused(f"{key} with numbers that are not finite")
    return array
