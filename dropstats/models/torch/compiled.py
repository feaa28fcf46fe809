"""Draws of the compiled parts of a torch model: zeros of the outputs of dropout modules, handed out by the graph.

A look at operations would make the compiler run the model eagerly, so that what is audited is not what runs. A forward
hook whose result is kept in a dictionary becomes one more output of the compiled graph instead, without a graph break.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from dropstats.models.torch import declares, outputs
from dropstats.models.torch.declares import ORIGINAL, plain

# Outputs of a call by which the scale is told.
_VALUES = 1024
_GRAPHS = "torch.cuda.graphs"


def entrances(model: torch.nn.Module) -> list[tuple[torch.nn.Module, str, torch.nn.Module]]:
    """Return the compiled parts of a model: what holds the compiled call, in which attribute, and the part itself."""
    found = []
    for module in model.modules():
        if isinstance(getattr(module, ORIGINAL, None), torch.nn.Module):
            found.append((module, "forward", getattr(module, ORIGINAL)))
        elif module._compiled_call_impl is not None:
            found.append((module, "_compiled_call_impl", module))
    return found


def inside(model: torch.nn.Module) -> set[int]:
    """Return the ids of the modules in compiled parts, wrappers among them."""
    parts = entrances(model)
    return {id(module) for _, _, part in parts for module in part.modules()} | {id(holder) for holder, _, _ in parts}


def out_of_sight(model: torch.nn.Module) -> dict[str, str]:
    """Return the modules with a rate whose draws no look at operations shows, and why."""
    parts = [(part, why) for part in model.modules() if (why := _why_hidden(part))]
    reasons = {id(module): why for part, why in parts for module in part.modules()}
    return {
        plain(path): reasons[id(module)]
        for path, module in model.named_modules()
        if id(module) in reasons and any(p for _, p in declares.attributes(module))
    }


def _why_hidden(part: torch.nn.Module) -> str:
    if getattr(vars(part).get("forward"), "__module__", "") == _GRAPHS:  # as make_graphed_callables leaves it
        return "it is replayed by a CUDA graph, which shows no draw: watch the model before it is captured"
    if isinstance(part, torch.nn.DataParallel) and len(part.device_ids) > 1:
        return "DataParallel runs copies of it in other threads: watch it on one device, or by ranks"
    return ""


def _seen(module: torch.nn.Module, path: str) -> bool:
    """Tell whether the zeros of a module's output are those of its mask."""
    return (
        declares.is_dropout(module, path) and declares.scales(module) and getattr(module, "inplace", False) is not True
    )


class Handed:
    """What compiled graphs hand out, by module path, until it is taken."""

    def __init__(self, model: torch.nn.Module, recorder: Any) -> None:
        self._recorder = recorder
        self._given: dict[str, list[tuple[torch.Tensor, ...]]] = {}
        self._modules: dict[str, torch.nn.Module] = {}
        compiled = inside(model)
        for name, module in model.named_modules():
            path = plain(name)
            if id(module) not in compiled or path in self._modules:
                continue
            if _seen(module, path):
                self._modules[path] = module
            elif (
                declares.draws_itself(module, path)
                and declares.attributes(module, path)
                and max(declares.attributes(module, path))[1] > 0
            ):
                recorder.unseen[path] = "in compiled code only the zeros of a dropout module's output are seen"

    def hooks(self) -> Iterator[Callable[[], None]]:
        """Add a hook to each dropout module that the graph can hand out; yield what removes it."""
        for path, module in self._modules.items():
            self._given[path] = []
            yield module.register_forward_hook(_hand_out(self._given[path])).remove

    def take(self) -> None:
        """Turn what was handed out since the last call into draws."""
        for path, given in self._given.items():
            for codes, output, values in given:
                outputs.add(self._recorder.sites, path, self._modules[path], codes, output, values)
            given.clear()


def _hand_out(given: list[tuple[torch.Tensor, ...]]) -> Callable[..., None]:
    """Return a hook that notes 1 where an output was kept, 0 where dropped, 2 where it cannot be told (0 or NaN)."""

    def hook(module: Any, args: Any, output: Any) -> None:
        # run eagerly, as after a graph break, the operations themselves are seen
        if torch.compiler.is_compiling() and module.training and len(args) == 1 and output.shape == args[0].shape:
            codes = outputs.code(args[0], output)
            given.append((codes, output.reshape(-1)[:_VALUES].clone(), args[0].reshape(-1)[:_VALUES].clone()))

    return hook


@contextmanager
def handing_out(model: torch.nn.Module, recorder: Any, before: Any, after: Any) -> Iterator[None]:
    """See the draws of the compiled parts of a model; `before` and `after` are called around each call of a part.

    Compiled code does not notice hooks that come later: the compiler forgets what it has compiled, at both ends.
    """
    parts = entrances(model)
    if not parts:
        yield
        return
    handed = Handed(model, recorder)
    with ExitStack() as stack:
        torch.compiler.reset()
        stack.callback(torch.compiler.reset)
        for remove in handed.hooks():
            stack.callback(remove)
        for holder, attribute, part in parts:
            call = getattr(holder, attribute)
            setattr(holder, attribute, _around(call, part, before, after, handed.take))
            stack.callback(setattr, holder, attribute, call)
        yield


def _around(call: Any, part: torch.nn.Module, before: Any, after: Any, take: Callable[[], None]) -> Any:
    def called(*args: Any, **kwargs: Any) -> Any:
        before(part, args)
        try:
            return call(*args, **kwargs)
        finally:
            take()
            after(part, args, None)

    return called
