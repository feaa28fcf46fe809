"""Which files are looked at for doctests: those of a framework only where it is installed."""

from importlib.util import find_spec

_OF_FRAMEWORKS = {
    "torch": ("dropstats/models/torch", "tests/defects_torch.py"),
    "keras": ("dropstats/models/keras",),
    "jax": ("dropstats/models/jax",),
}
collect_ignore = [path for name, paths in _OF_FRAMEWORKS.items() if not find_spec(name) for path in paths]
