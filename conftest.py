"""Which files are looked at for doctests: those of a framework only where it is installed."""

import os
from importlib.util import find_spec

if not find_spec("tensorflow"):  # which Keras asks for where no backend is named
    os.environ.setdefault("KERAS_BACKEND", "torch" if find_spec("torch") else "jax")

if find_spec("torchvision"):
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        # Built for another torch, such as that for CUDA beside a torch for the CPU, it loads none of its operators, but
        # asks for two while it is imported. No test calls them.
        import torch

        declared = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            declared.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

_OF_FRAMEWORKS = {
    "torch": ("dropstats/models/torch", "tests/defects_torch.py"),
    "keras": ("dropstats/models/keras",),
    "jax": ("dropstats/models/jax",),
}
collect_ignore = [path for name, paths in _OF_FRAMEWORKS.items() if not find_spec(name) for path in paths]
