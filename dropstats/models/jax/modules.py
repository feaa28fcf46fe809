"""Modules of flax.nnx, equinox and flax.linen: where they stand in the model, and which dropout they declare."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import jax

from dropstats.models.sites import Declared

# Precedes a module's path in the names that JAX keeps of what it traces.
AT = "at:"
# Stands for the path of a module that is a copy, as transformations make them: which one it is cannot be told.
LOST = "?"
# Attribute in which modules of nnx, which are copied with what they hold, keep their path.
_PATH = "dropstats_path"
# Attributes in which a dropout module keeps its rate.
_RATES = ("rate", "p", "dropout_rate", "drop_prob", "drop_rate")


def is_nnx(model: Any) -> bool:
    """Tell whether this is a module of flax.nnx."""
    return "flax.nnx" in sys.modules and isinstance(model, sys.modules["flax.nnx"].Module)


def is_equinox(model: Any) -> bool:
    """Tell whether this is a module of equinox; a function that equinox has compiled is one to Python alone."""
    if "equinox" not in sys.modules or not isinstance(model, sys.modules["equinox"].Module):
        return False
    return not hasattr(model, "__wrapped__") or is_equinox(model.__wrapped__)


def unwrapped(model: Any) -> Any:
    """Return the module of equinox that a compiled one is; any other model as it is."""
    while is_equinox(model) and hasattr(model, "__wrapped__"):
        model = model.__wrapped__
    return model


def is_module(model: Any) -> bool:
    """Tell whether this is a module whose parts are known."""
    return is_nnx(model) or is_equinox(model)


def modules(model: Any) -> dict[str, Any]:
    """Return the modules of a model by path."""
    found: dict[str, Any] = {}
    seen: set[int] = set()

    def visit(part: Any, path: str) -> None:
        if id(part) in seen:
            return
        if is_module(part):
            seen.add(id(part))
            found[path] = part
            parts = vars(part).items()
        elif isinstance(part, dict):
            parts = part.items()
        elif isinstance(part, list | tuple) or type(part).__module__ == "flax.nnx.helpers":
            parts = dict(enumerate(part)).items()
        else:
            return
        for name, inner in parts:
            visit(inner, f"{path}.{name}" if path else str(name))

    visit(model, "")
    return found


def _is_dropout(module: Any) -> bool:
    return any("drop" in kind.__name__.lower() for kind in type(module).__mro__)


def _rates(module: Any) -> dict[str, float]:
    """Return the rates among a module's attributes."""
    if _is_dropout(module):
        own = {name: getattr(module, name, None) for name in _RATES}
        found = {name: float(p) for name, p in own.items() if isinstance(p, int | float) and not isinstance(p, bool)}
        return dict(list(found.items())[:1])
    return {name: p for name, p in vars(module).items() if "drop" in name and isinstance(p, float) and 0 <= p <= 1}


def rates(path: str, module: Any) -> list[Declared]:
    """Return the rates that a module declares."""
    return [Declared(path, name, p, _is_dropout(module)) for name, p in _rates(module).items() if p > 0]


def declared(model: Any) -> list[Declared]:
    """Return every rate above 0 that a module of the model declares; of a function, this is known once it has run."""
    if not is_module(model):
        return []
    return [rate for path, module in modules(unwrapped(model)).items() for rate in rates(path, module)]


@contextmanager
def named(model: Any, called: list[Declared]) -> Iterator[None]:
    """Let JAX note the paths of modules in what it traces; add the rates of linen modules that are called."""
    parts = modules(model) if is_module(model) else {}
    paths = {id(module): path for path, module in parts.items()}
    kinds = {type(module) for module in parts.values()}
    if is_nnx(model):
        for path, module in parts.items():
            setattr(module, _PATH, path)
    with ExitStack() as stack:
        for kind in kinds:
            if "__call__" in dir(kind):
                own = "__call__" in vars(kind)
                before = vars(kind).get("__call__")
                setattr(kind, "__call__", _scoped(kind.__call__, paths))  # noqa: B010
                stack.callback(*((setattr, kind, "__call__", before) if own else (delattr, kind, "__call__")))
        if "flax.linen" in sys.modules:
            stack.enter_context(sys.modules["flax.linen"].intercept_methods(_interceptor(called)))
        yield


def _scoped(call: Any, paths: dict[int, str]) -> Any:
    @wraps(call)
    def scoped(self: Any, *args: Any, **kwargs: Any) -> Any:
        path = paths.get(id(self), getattr(self, _PATH, LOST))
        with jax.named_scope(AT + path):
            return call(self, *args, **kwargs)

    return scoped


def _interceptor(called: list[Declared]) -> Any:
    def intercept(step: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if context.method_name != "__call__":
            return step(*args, **kwargs)
        path = ".".join(context.module.path)
        called.extend(rate for rate in rates(path, context.module) if rate not in called)
        with jax.named_scope(AT + path):
            return step(*args, **kwargs)

    return intercept
