"""From a random operation to a mask: what becomes of drawn numbers until it is clear which of them keep."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

# Drawn tensors that are followed at a time; a draw becomes a mask within a few operations.
_FOLLOWED = 8
_FLIPPED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq", "ne": "ne"}
_SAME = {
    *(
        "_to_copy",
        "to",
        "view",
        "_unsafe_view",
        "reshape",
        "expand",
        "unsqueeze",
        "squeeze",
        "clone",
        "detach",
        "alias",
    ),
    *("transpose", "permute", "contiguous"),
}
FOLLOWED = {
    *("add", "sub", "rsub", "mul", "div", "neg", *_FLIPPED, "floor", "ceil", "round", "trunc", *_SAME),
    *("where", "masked_fill", "index_put", "logical_not", "bitwise_not"),
}


@dataclass
class Drawn:
    """A tensor that comes of a draw: numbers, or a mask.

    Numbers are `slope * u + offset` of u uniform over [low, high), integers where `whole`; None where this is not known
    any more. Of a mask `keeps` tells whether a 1 keeps, as far as it went, `scaled` whether a number multiplied it.
    `dtype` is that of what was drawn, or, of a mask that comes with its output, the output's.
    """

    tensor: torch.Tensor
    place: Any
    operation: str
    low: float = 0.0
    high: float = 1.0
    whole: bool = False
    slope: float | None = 1.0
    offset: float = 0.0
    mask: bool = False
    keeps: bool = True
    scaled: bool = False
    dtype: str = ""
    handle: Any = None
    children: list["Drawn"] = field(default_factory=list)

    def below(self, limit: float, inclusive: bool) -> float | None:
        """Return the probability that the numbers are below a limit, or at most the limit."""
        if self.slope is None or self.slope == 0:
            return None
        edge = (limit - self.offset) / self.slope
        if self.whole:
            if self.slope != 1:
                return None
            edge = math.floor(edge) + 1 if inclusive else math.ceil(edge)
        share = min(max((edge - self.low) / (self.high - self.low), 0.0), 1.0)
        return share if self.slope > 0 else 1 - share


def scalar(value: Any) -> float | None:
    """Return a number, or the one number that a tensor holds everywhere, else None."""
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, torch.Tensor) and value.numel() and not value.is_complex():
        first = value.reshape(-1)[0]
        return float(first) if value.numel() == 1 or bool((value == first).all()) else None
    return None


class Follower:
    """Follows drawn numbers and masks through the operations of a model.

    `on_mask(drawn, one)` is called where numbers become a mask (`one` is the probability of a 1, where known) and
    returns a handle; `on_use(drawn, keeps, result, others)` where a mask is applied; `on_end(drawn)` where none came of
    them.
    """

    on_mask: Callable[[Drawn, float | None], Any]
    on_use: Callable[[Drawn, bool, Any, Any], None]
    on_end: Callable[[Drawn], None]

    def __init__(
        self,
        on_mask: Callable[[Drawn, float | None], Any],
        on_use: Callable[[Drawn, bool, Any, Any], None],
        on_end: Callable[[Drawn], None],
    ) -> None:
        self.on_mask, self.on_use, self.on_end = on_mask, on_use, on_end
        self.recent: dict[int, Drawn] = {}

    def draw(self, drawn: Drawn, one: float | None = None) -> None:
        """Take what a random operation has drawn: numbers, or a mask of which a 1 has the probability `one`."""
        if drawn.mask:
            drawn.handle = self.on_mask(drawn, one)
        elif drawn.whole and (drawn.low, drawn.high) == (0, 2):
            drawn.mask = True
            drawn.handle = self.on_mask(drawn, 0.5)
        self._keep(drawn)

    def step(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        """Follow an operation, if it reads something that was drawn."""
        for index, argument in enumerate(args[:3]):
            if name == "index_put" and index == 1:
                argument = next((part for part in argument if isinstance(part, torch.Tensor)), None)
            drawn = self.recent.get(id(argument))
            if drawn is not None and drawn.tensor is argument:
                if drawn.mask:
                    self._mask_step(drawn, name, index, args, result)
                else:
                    self._number_step(drawn, name, index, args, result)
                return

    def forget(self) -> None:
        """Let go of everything: the pass is over."""
        for key in list(self.recent):
            self._end(key)

    def _keep(self, drawn: Drawn) -> None:
        self.recent.pop(id(drawn.tensor), None)
        self.recent[id(drawn.tensor)] = drawn
        while len(self.recent) > _FOLLOWED:
            self._end(next(iter(self.recent)))

    def _end(self, key: int) -> None:
        drawn = self.recent.pop(key)
        if not drawn.mask and not drawn.children:
            self.on_end(drawn)

    def _next(self, drawn: Drawn, result: Any, **changes: Any) -> Drawn:
        child = replace(drawn, tensor=result, children=[], **changes)
        drawn.children.append(child)
        self._keep(child)
        return child

    def _number_step(self, drawn: Drawn, name: str, index: int, args: tuple[Any, ...], result: Any) -> None:
        other = args[1 - index] if len(args) > 1 and index < 2 else None
        if name in _SAME:
            self._next(drawn, result)
        elif name == "neg":
            slope = None if drawn.slope is None else -drawn.slope
            self._next(drawn, result, slope=slope, offset=-drawn.offset)
        elif name in ("add", "sub", "rsub", "mul", "div"):
            slope, offset = _affine(drawn, name, index, scalar(other))
            self._next(drawn, result, slope=slope, offset=offset)
        elif name in _FLIPPED:
            self._becomes(drawn, result, _compared(drawn, name if index == 0 else _FLIPPED[name], scalar(other)))
        elif name == "floor":
            below = drawn.below(1.0, False)
            self._becomes(drawn, result, None if below is None else 1 - below)
        elif name in ("ceil", "round", "trunc"):
            self._becomes(drawn, result, None)

    def _becomes(self, drawn: Drawn, result: Any, one: float | None) -> None:
        child = self._next(drawn, result, mask=True)
        child.handle = self.on_mask(child, one)

    def _mask_step(self, drawn: Drawn, name: str, index: int, args: tuple[Any, ...], result: Any) -> None:
        other = args[1 - index] if len(args) > 1 and index < 2 else None
        number = isinstance(other, int | float) or (isinstance(other, torch.Tensor) and other.numel() == 1)
        if name in _SAME:
            self._next(drawn, result)
        elif name in ("logical_not", "bitwise_not") or (name in ("rsub", "sub") and _flips(name, index, other)):
            self._next(drawn, result, keeps=not drawn.keeps)
        elif name in ("eq", "ne") and scalar(other) in (0.0, 1.0):
            flips = (name == "eq") == (scalar(other) == 0.0)
            self._next(drawn, result, keeps=drawn.keeps != flips)
        elif name in ("gt", "lt", "ge", "le") and index == 0 and scalar(other) == 0.5:
            self._next(drawn, result, keeps=drawn.keeps if name in ("gt", "ge") else not drawn.keeps)
        elif name in ("mul", "div") and number:
            self._next(drawn, result, scaled=True)
        elif name == "mul" and isinstance(other, torch.Tensor):
            self._used(drawn, drawn.keeps, result, other)
        elif name == "where" and index == 0 and len(args) == 3:
            if scalar(args[2]) in (0.0, -math.inf):
                self._used(drawn, drawn.keeps, result, args[1])
            elif scalar(args[1]) in (0.0, -math.inf):
                self._used(drawn, not drawn.keeps, result, args[2])
        elif name in ("masked_fill", "index_put") and index == 1:
            self._used(drawn, not drawn.keeps, result, args[0])

    def _used(self, drawn: Drawn, keeps: bool, result: Any, values: Any) -> None:
        self.recent.pop(id(drawn.tensor), None)
        self.on_use(drawn, keeps, result, values)


def _flips(name: str, index: int, other: Any) -> bool:
    """Tell whether a subtraction is 1 - mask."""
    return scalar(other) == 1.0 and (index == 0 if name == "rsub" else index == 1)


def _affine(drawn: Drawn, name: str, index: int, other: float | None) -> tuple[float | None, float]:
    """Return slope and offset after an operation with a number."""
    slope, offset = drawn.slope, drawn.offset
    if slope is None or other is None:
        return None, 0.0
    if name == "add":
        return slope, offset + other
    if name == "mul":
        return slope * other, offset * other
    if name == "div" and index == 0 and other:
        return slope / other, offset / other
    if name == "sub" and index == 0:
        return slope, offset - other
    if name == "rsub" or name == "sub":
        return -slope, other - offset
    return None, 0.0


def _compared(drawn: Drawn, name: str, other: float | None) -> float | None:
    """Return the probability that a comparison of the numbers with another is true."""
    if other is None:
        return None
    if name in ("eq", "ne"):
        size = drawn.high - drawn.low
        if not drawn.whole or drawn.slope != 1 or not drawn.low <= other - drawn.offset < drawn.high:
            return None
        return 1 / size if name == "eq" else 1 - 1 / size
    below = drawn.below(other, name in ("le", "gt"))
    if below is None:
        return None
    return below if name in ("lt", "le") else 1 - below
