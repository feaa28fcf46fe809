"""Which modules of torch declare dropout, and at which rate: by name and attribute, so that no library is imported."""

import torch

from dropstats.models.sites import Declared

# Attribute in which a compiled wrapper holds the module.
ORIGINAL = "_orig_mod"
# Names of classes of dropout modules, in lower case, torchvision's and timm's among them.
_NAMES = ("drop", "stochasticdepth")
# Attributes in which a dropout module keeps its rate, the usual one first.
_ATTRIBUTES = ("p", "drop_prob", "drop_rate", "dropout", "dropout_prob", "rate", "prob", "p_drop", "drop")


def plain(path: str) -> str:
    """Return a module's path without the names that compiled wrappers add."""
    return ".".join(part for part in path.split(".") if part != ORIGINAL)


def _classes(module: torch.nn.Module) -> list[str]:
    """Return the names of a module's class and of those it derives from, in lower case."""
    return [kind.__name__.lower() for kind in type(module).__mro__]


def is_dropout(module: torch.nn.Module, path: str = "") -> bool:
    """Tell whether a module is dropout by the name of its class or by its own, and not a container of something else.

    The model's own name for it, the last of its path, tells only of modules that are not torch's and contain no others.
    """
    named = any(part in name for part in _NAMES for name in _classes(module))
    if not named and "drop" in path.rpartition(".")[2].lower():
        named = not type(module).__module__.startswith("torch.") and next(module.children(), None) is None
    return named and _own_rate(module) is not None


def scales(module: torch.nn.Module) -> bool:
    """Tell whether a dropout module multiplies what it keeps by one number."""
    kinds = ("alpha" in name or "block" in name for name in _classes(module))
    return not any(kinds) and getattr(module, "scale_by_keep", True) is not False


def draws_itself(module: torch.nn.Module, path: str = "") -> bool:
    """Tell whether draws in a module bear the module's name alone: dropout modules, torch's own and plain ones."""
    if is_dropout(module, path) or type(module).__module__.startswith("torch.nn."):
        return True
    return bool(_rates(module)) and next(module.children(), None) is None


def declared(model: torch.nn.Module) -> list[Declared]:
    """Return every rate above 0 that a module of the model declares."""
    found = []
    for name, module in model.named_modules():
        path = plain(name)
        own, block = is_dropout(module, path), any("block" in name for name in _classes(module))
        for attribute, p in attributes(module, path):
            found.append(Declared(path, attribute, p, own, not (own and block), module.training or not model.training))
    return [rate for rate in found if rate.p > 0]


def attributes(module: torch.nn.Module, path: str = "") -> list[tuple[str, float]]:
    """Return the attributes in which a module keeps rates, 0 among them."""
    own = _own_rate(module) if is_dropout(module, path) else None
    return [own] if own is not None else list(_rates(module).items())


def _own_rate(module: torch.nn.Module) -> tuple[str, float] | None:
    for name in _ATTRIBUTES:
        value = getattr(module, name, None)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
            return name, float(value)
    return next(iter(_rates(module).items()), None)


def _rates(module: torch.nn.Module) -> dict[str, float]:
    """Return the rates among a module's attributes whose names say dropout."""
    found = {}
    for name, value in vars(module).items():
        if "drop" in name.lower() and isinstance(value, float) and 0 <= value <= 1:
            found[name] = value
    return found
