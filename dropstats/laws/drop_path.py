"""Stochastic depth: residual blocks dropped as a whole."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dropstats import _validate
from dropstats.laws.base import Floats, frozen
from dropstats.laws.independent import Independent

# What the drop probability of block l = 1..depth is for a largest one of p.
_SCHEDULES: dict[str, Callable[[int], Floats]] = {
    "huang": lambda depth: np.arange(1, depth + 1) / depth,
    "timm": lambda depth: np.arange(depth) / max(depth - 1, 1),
    "torchvision": lambda depth: np.arange(depth) / max(depth, 1),
    "uniform": lambda depth: np.ones(depth),
}


@dataclass(frozen=True, repr=False)
class DropPath(Independent):
    """Stochastic depth: whole residual blocks are dropped independently, later ones with larger probability.

    Papers and libraries use different schedules with different expected depths, so the rule must be named. `kept` is
    the distribution of the depth. timm and torchvision (in its mode "row") drop a block for each sample of a batch
    separately; the paper drops it for the whole batch (torchvision's mode "batch").

    Parameters
    ----------
    depth : int
        Number of residual blocks L.
    p : float
        Largest drop probability, that of the last block; under "torchvision" a block after the last would have it.
    rule : {'huang', 'timm', 'torchvision', 'uniform'}
        Drop probability of block l = 1..L: p l / L (Huang et al. 2016), p (l - 1) / (L - 1) (timm, linspace(0, p, L)),
        p (l - 1) / L (torchvision's EfficientNet), or p (LayerDrop; Fan et al. 2020, arXiv:1909.11556).

    References
    ----------
    G. Huang, Y. Sun, Z. Liu, D. Sedra, K. Q. Weinberger (2016). Deep networks with stochastic depth. ECCV 2016,
    646-661, doi:10.1007/978-3-319-46493-0_39.

    Examples
    --------
    >>> [float(DropPath(54, 0.5, rule).kept.mean()) for rule in ("huang", "timm", "torchvision", "uniform")]
    [40.25, 40.5, 40.75, 27.0]
    """

    depth: int
    p: float
    rule: str

    def __init__(self, depth: int, p: Any, rule: str | None = None) -> None:
        object.__setattr__(self, "depth", _validate.neurons(depth, "depth"))
        object.__setattr__(self, "p", _validate.probability(p))
        object.__setattr__(self, "rule", _validate.choice(rule, "rule", _SCHEDULES))
        _validate.memory(8 * self.depth, f"the rates of {self.depth} blocks")

    @property
    def n(self) -> int:
        """Number of blocks."""
        return self.depth

    @cached_property
    def rates(self) -> Floats:
        """Drop probability of each block, first the one next to the input; read-only, of shape (depth,)."""
        return frozen(self.p * _SCHEDULES[self.rule](self.depth))
