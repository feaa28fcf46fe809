"""Laws from outside dropstats: what an object must have to serve as a law."""

from dataclasses import dataclass
from inspect import getattr_static
from typing import Any

from dropstats import _validate
from dropstats.laws.base import Law, LawMethods


@dataclass(frozen=True, repr=False)
class _Adapter(LawMethods):
    """A law of somebody else's, of which only some words are asked: its own where it has them, else the defaults."""

    _law: Any

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and has(self._law, name):
            return getattr(self._law, name)
        return super().__getattribute__(name)

    def __repr__(self) -> str:
        return repr(self._law)


def is_law(value: Any) -> bool:
    """Return whether a value is a law, or an object that has the least a law must have."""
    if isinstance(value, type):
        return False
    return isinstance(value, LawMethods) or all(has(value, word) for word in ("n", "rates", "dropped", "sample"))


def law_like(value: Any, name: str = "law") -> Law:
    """Return a law as it is, and any other object that answers ``n``, ``rates``, ``dropped``, ``sample`` as a law.

    Raises
    ------
    TypeError
        If it is neither.
    """
    if not is_law(value):
        got = f"{_validate.show(value)} of type {type(value).__name__}"
        if isinstance(value, float) and 0 <= value <= 1:
            got += "; give a drop probability as Layer(n, p), or as p= where there is such an argument"
        raise TypeError(f"{name} must be a law, such as Layer(n, p) or Channels(channels, size, p); got {got}")
    return value if isinstance(value, LawMethods) else _Adapter(value)


def independent_law(value: Any, name: str) -> Law:
    """Return a law for what is called `name`, which needs neurons that are dropped independently of each other."""
    law = law_like(value)
    if not law.independent:
        raise ValueError(
            f"{name} needs a law whose neurons are dropped independently of each other; got {_validate.show(value)}, "
            "whose neurons depend on each other"
        )
    return law


def parts_of(law: Any) -> tuple[Law, ...]:
    """Return the parts of a network; none of any other law, of one that knows of no parts, and of None."""
    return getattr(law, "parts", ())


def has(law: Any, word: str) -> bool:
    """Return whether an object has an attribute, without computing it, as hasattr would."""
    missing = object()
    return getattr_static(law, word, missing) is not missing
