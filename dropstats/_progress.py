"""One way to show progress: a bar of tqdm, or whatever wraps an iterable as tqdm does."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

# What was asked for by a call that does not itself hold the loop that takes long.
_ASKED: ContextVar[Any] = ContextVar("asked", default=None)


@contextmanager
def asked(progress: Any) -> Iterator[None]:
    """Let loops within show progress as it is asked for; None leaves it as it was."""
    check(progress)
    before = _ASKED.set(_ASKED.get() if progress is None else progress)
    try:
        yield
    finally:
        _ASKED.reset(before)


def check(progress: Any) -> None:
    """Raise TypeError unless `progress` is a bool, None or a callable."""
    if progress and progress is not True and not callable(progress):
        raise TypeError(f"progress must be True, False or a function such as tqdm.notebook.tqdm; got {progress!r}")


def shown(
    items: Iterable[T], total: int, what: str, unit: str, progress: Any = None, delay: float = 0.0
) -> Iterable[T]:
    """Return the items, wrapped in a bar where one is asked for; tqdm's own appears after `delay` seconds."""
    check(progress)
    progress = _ASKED.get() if progress is None else progress
    if not progress:
        return items
    options: dict[str, Any] = {"total": total, "desc": what, "unit": unit}
    if progress is True:
        from tqdm import tqdm as progress

        options["delay"] = delay
    wrapped: Iterable[T] = progress(items, **options)
    return wrapped
