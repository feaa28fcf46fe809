"""Where in a model something is drawn: read off the interpreter's own stack, which knows every call of a module."""

import ast
import linecache
import sys
from types import CodeType, FrameType
from typing import Any, NamedTuple

import torch
from torch.nn import functional
from torch.utils import checkpoint

from dropstats.models.torch import declares

# Every call of a module passes through this function, whose `self` is the module.
_CALL = torch.nn.Module._call_impl.__code__
# Python in some releases, in others not
_APPLY = getattr(getattr(torch.autograd.Function.apply, "__func__", None), "__code__", None)
_FUNCTIONAL = functional.__file__
_CHECKPOINT = checkpoint.__file__
_TORCH = torch.__file__.rpartition("__init__")[0]
_CONTEXT = torch._C._FunctionBase
_COMPILED = ("<eval_with_key>", f"{_TORCH}_functorch", f"{_TORCH}_inductor")
_HERE = __file__.rpartition("places")[0]


class Place(NamedTuple):
    """Where a draw was made.

    `site` names it, `module` is the path of the innermost module. `regions` are the stretches of code that may be run
    again, by number; of a draw in a backward pass the first is the one that is run again, and `recomputed` tells
    whether a module or checkpointed function is (and not a backward of its own). `node` is the node of the graph whose
    forward function draws. `own` tells whether the innermost module is dropout, `reruns`
    whether a backward pass may draw this again.
    """

    site: str
    module: str | None
    training: bool | None
    regions: tuple[int, ...]
    recomputed: bool
    node: Any
    own: bool
    reruns: bool


class Places:
    """Names the places of one model."""

    modules: dict[str, Any]
    paths: dict[int, str]

    def __init__(self, model: torch.nn.Module) -> None:
        self.modules = {declares.plain(path): module for path, module in model.named_modules()}
        self.paths = {id(module): declares.plain(path) for path, module in model.named_modules()}
        self._names: dict[tuple[CodeType, int], str] = {}

    def here(self, operation: str, backward: bool) -> Place | None:
        """Return the place of the operation that is called now; None where it lies outside the model."""
        frame: FrameType | None = sys._getframe(1)
        module: torch.nn.Module | None = None
        own: list[FrameType] = []  # frames inside the innermost module's call
        functional_name, regions, node = "", [], None
        inside, again, recomputed, applied = False, None, False, False
        while frame is not None:
            code = frame.f_code
            if module is None and code.co_filename.startswith(_COMPILED):
                return None  # what a compiled graph runs is seen by its outputs
            if code is _CALL:
                found = frame.f_locals["self"]
                inside = inside or again is None
                if module is None and id(found) in self.paths:
                    module = found
            elif code is _APPLY:
                applied = True
            elif module is None and code.co_filename == _FUNCTIONAL:
                functional_name = code.co_name
            elif module is None and not code.co_filename.startswith((_TORCH, _HERE)):
                own.append(frame)
            region = _region(frame)
            if region is not None:
                reruns, key, context = region
                if not reruns:
                    if again is None:
                        regions.append(key)
                    node = node if inside else node or context
                elif again is None:
                    again, recomputed = key, inside or code.co_filename == _CHECKPOINT
            frame = frame.f_back
        if module is None:
            module = self._enclosing(own)
        if module is None and not (backward and again is not None):
            return None
        stretch = (again, *regions) if backward and again is not None else tuple(regions)
        name = functional_name or self._function(own, node, operation)
        path = None if module is None else self.paths[id(module)]
        training = None if module is None else module.training
        own_draw = module is not None and declares.is_dropout(module, path or "")
        return Place(
            self._site(module, path, name),
            path,
            training,
            stretch,
            recomputed,
            node,
            own_draw,
            bool(stretch) or applied,
        )

    def _enclosing(self, frames: list[FrameType]) -> torch.nn.Module | None:
        """Return the module whose method, or whose function with access to it, is run without a call of the module."""
        for frame in frames:
            if "self" in frame.f_code.co_varnames[:1] or "self" in frame.f_code.co_freevars:
                found = frame.f_locals.get("self")
                if isinstance(found, torch.nn.Module) and id(found) in self.paths:
                    return found
        return None

    def _site(self, module: torch.nn.Module | None, path: str | None, name: str) -> str:
        if module is None or path is None:
            return name
        if declares.draws_itself(module, path):
            return path or type(module).__name__
        site = f"{path}.{name}" if path else name
        return f"{site}()" if site in self.modules else site

    def _function(self, frames: list[FrameType], node: Any, operation: str) -> str:
        """Return the name of the function that draws: one of the model's own, or the torch function that it calls."""
        if node is not None:
            return type(node).__name__.removesuffix("Backward")
        for frame in frames:
            code = frame.f_code
            if code.co_name != "forward" and not code.co_name.startswith("<") and code.co_varnames[:1] != ("self",):
                return code.co_name
            return self._called(frame) or operation
        return operation

    def _called(self, frame: FrameType) -> str:
        """Return the name of the function that a frame is calling, from its source; nothing where there is none."""
        place = (frame.f_code, frame.f_lasti)
        if place not in self._names:
            self._names[place] = _called(*place)
        return self._names[place]


def _called(code: CodeType, instruction: int) -> str:
    positions = list(code.co_positions())
    first, last, left, right = positions[instruction // 2]
    if first is None or last is None or left is None or right is None:
        return ""
    lines = [linecache.getline(code.co_filename, number).encode() for number in range(first, last + 1)]
    if not lines:
        return ""
    lines[-1] = lines[-1][:right]
    lines[0] = lines[0][left:]
    try:
        node = ast.parse(b"".join(lines).strip(), mode="eval").body
    except SyntaxError:
        return ""
    while isinstance(node, ast.BinOp | ast.UnaryOp | ast.Compare):  # `x * mask`: no call of a function
        return ""
    function = node.func if isinstance(node, ast.Call) else None
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _region(frame: FrameType) -> tuple[bool, int, Any] | None:
    """Return whether a frame runs something again, the number of what it runs, and its node in the graph.

    That is a function with a backward of its own, which gets its context first, or torch's non-reentrant checkpoint.
    """
    code = frame.f_code
    if code.co_name in ("forward", "backward"):
        first = code.co_varnames[:1]
        context = frame.f_locals.get(first[0]) if first and first[0] not in ("self", "input") else None
        if not isinstance(context, _CONTEXT):
            return None
        shown = None if code.co_filename == _CHECKPOINT else context
        return code.co_name == "backward", id(context), shown
    if code.co_filename != _CHECKPOINT:
        return None
    if "gen" in code.co_varnames:
        generator = frame.f_locals.get("gen")
        made = getattr(generator, "gi_frame", None)
        kept = made.f_locals.get("new_frame") if made is not None else None
        return None if kept is None else (False, id(kept), None)
    if code.co_name == "unpack_hook" and "frame" in frame.f_locals:
        return True, id(frame.f_locals["frame"]), None
    return None
