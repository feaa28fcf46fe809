"""Which files are looked at for doctests: those of a framework only where it is installed."""

import os
from importlib.util import find_spec

if not find_spec("tensorflow"):  # which Keras asks for where no backend is named
    os.environ.setdefault("KERAS_BACKEND", "torch" if find_spec("torch") else "jax")

_OF_FRAMEWORKS = {
    "torch": ("dropstats/models/torch", "tests/defects_torch.py"),
    "keras": ("dropstats/models/keras",),
    "jax": ("dropstats/models/jax",),
}
collect_ignore = [path for name, paths in _OF_FRAMEWORKS.items() if not find_spec(name) for path in paths]
