"""Which files are looked at for doctests: those of a framework only where it is installed."""

from importlib.util import find_spec

collect_ignore = [
    f"dropstats/models/{name}" for name in ("torch", "keras.py", "jax") if not find_spec(name.removesuffix(".py"))
] + ["tests/defects_torch.py"] * (not find_spec("torch"))
