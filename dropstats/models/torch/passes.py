"""Passes of a torch model that an audit makes, and the state of the model before them, to which it returns."""

import inspect
import random
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Self

import numpy as np
import torch
from torch.utils import _pytree
from torch.utils.checkpoint import set_checkpoint_early_stop

from dropstats.models.sites import Sites
from dropstats.models.torch import attention, compiled, declares, generators
from dropstats.models.torch.hooks import watching
from dropstats.models.torch.operations import tensors


class State:
    """The mode, the random state, the gradients and the buffers of a model, as they are now; and its rates."""

    modes: dict[Any, Any]
    randomness: dict[str, Any]
    gradients: dict[Any, Any | None]
    buffers: dict[Any, Any | None]

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self.modes = {path: module.training for path, module in model.named_modules()}
        self.randomness = _random_state()
        self.gradients = {name: _copy(parameter.grad) for name, parameter in model.named_parameters()}
        self.buffers = {name: _copy(buffer) for name, buffer in model.named_buffers()}
        self._rates = [
            (module, name, value)
            for path, module in model.named_modules()
            for name, value in declares.attributes(module, path)
        ]

    def changed(self) -> list[str]:
        """Return what differs by now: 'mode', 'random state', 'gradients', 'buffers'."""
        now = State(self._model)
        found = ["mode"] if now.modes != self.modes else []
        if not all(map(_same, _pytree.tree_leaves(now.randomness), _pytree.tree_leaves(self.randomness))):
            found.append("random state")
        for what, before, after in (
            ("gradients", self.gradients, now.gradients),
            ("buffers", self.buffers, now.buffers),
        ):
            if before.keys() != after.keys() or not all(_same(before[name], after[name]) for name in before):
                found.append(what)
        return found

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def restore(self) -> None:
        """Put everything back."""
        for path, module in self._model.named_modules():
            module.training = self.modes.get(path, module.training)
        for module, name, value in self._rates:
            setattr(module, name, value)
        for name, parameter in self._model.named_parameters():
            parameter.grad = _copy(self.gradients.get(name))
        for name, buffer in self._model.named_buffers():
            if self.buffers.get(name) is not None and not _same(buffer, self.buffers[name]):
                buffer.copy_(self.buffers[name])
        _set_random_state(self.randomness)


def _copy(tensor: torch.Tensor | None) -> torch.Tensor | None:
    return None if tensor is None else tensor.detach().clone()


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        equal = a.shape == b.shape and a.dtype == b.dtype and a.device == b.device
        return equal and bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return bool(np.array_equal(a, b))
    return type(a) is type(b) and bool(a == b)


def _random_state() -> dict[str, Any]:
    """Return the states of all global generators that a model may draw from."""
    return {"torch": generators.states(), "python": random.getstate(), "numpy": np.random.get_state()}  # noqa: NPY002


def _set_random_state(state: dict[str, Any]) -> None:
    for device, given in state["torch"].items():
        generators.set_state(device, given)
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002


class Passes:
    """Runs a model on given inputs; a context that leaves the model as it was."""

    has_modes = True
    called: tuple[Any, ...] = ()

    def __init__(self, model: torch.nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self._model = model
        self._inputs, self._keywords = _arguments(model, inputs, keywords)
        self._compiled = bool(compiled.entrances(model))

    def __enter__(self) -> Self:
        self._state = State(self._model)
        self._stack = ExitStack()
        self._stack.callback(self._state.restore)
        self._recorder = self._stack.enter_context(watching(self._model, Sites(), always=True))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        for generator, state in self._recorder.generators.items():
            generator.set_state(state)

    def state(self) -> State:
        """Return the state of the model as it is now, to compare with later."""
        return State(self._model)

    def set_mode(self, training: bool) -> None:
        """Put the model into training or evaluation mode."""
        self._model.train(training)

    def run(self, sites: Sites, *, gradient: bool = False, seed: int | None = None) -> list[Any]:
        """Run the model once and return the arrays of its output, in a fixed order."""
        if seed is not None:
            torch.manual_seed(seed)
            for generator in self._recorder.generators:
                generator.manual_seed(seed)
        given = (self._inputs, self._keywords)
        # inputs with a gradient would be compiled for anew
        fresh = _differentiable if gradient and not self._compiled else _fresh
        inputs, keywords = _pytree.tree_map(fresh, given)
        self._recorder.sites, self._recorder.compares = sites, gradient
        sites.unseen.update(self._recorder.unseen)
        with set_checkpoint_early_stop(not gradient):
            output = tensors(self._model(*inputs, **keywords))
            if gradient:
                _backward(output)
        if gradient:
            sites.replays.finish()
            self._compare_opaque(sites)
            self._compare_fused(sites)
            if self._compiled:
                sites.unseen.update(self._hidden(sites))
        return [tensor.detach() for tensor in output]

    def _compare_opaque(self, sites: Sites) -> None:
        """Hold the gradients of modules whose draws are not seen against the zeros of their outputs, on ones."""
        self._recorder.sites = Sites()
        for path, ones in self._recorder.opaque.items():
            output = self._recorder.places.modules[path](ones)
            (inner,) = torch.autograd.grad(output.sum(), ones, allow_unused=True)
            wrong = ones.numel() if inner is None else ((inner == 0) != (output == 0)).sum()
            sites.gradients.count(path, ones.numel(), wrong)
        self._recorder.sites = sites

    def _compare_fused(self, sites: Sites) -> None:
        """Hold the gradients of fused attention against its masks, in calls that show both."""
        for site, call in self._recorder.fused.items():
            try:
                shown = attention.gradient(call)
            except (RuntimeError, NotImplementedError):  # a kernel that has no gradient, or none for such values
                continue
            if shown is None or call.kept is None or call.known is None or shown.shape[1:] != call.kept.shape[1:]:
                continue
            wrong = (shown[: len(call.kept)] != call.kept) & call.known
            sites.gradients.count(site, call.known.sum(), wrong.sum())
        self._recorder.fused.clear()

    def _hidden(self, sites: Sites) -> dict[str, str]:
        """Return the sites that draw when the model runs eagerly and were not seen in compiled code."""
        eager = Sites()
        with torch.compiler.set_stance("force_eager"):
            self.run(eager)
        bases = {site.base for site in sites}
        lost = [site.base for site in eager if site.base not in bases and site.base not in sites.unseen]
        return dict.fromkeys(lost, "it draws when the model runs eagerly; in compiled code it is not seen")

    @staticmethod
    def equal(first: list[Any], second: list[Any]) -> bool:
        """Tell whether two passes gave the same output, bit for bit."""
        return len(first) == len(second) and all(map(_same, first, second))

    def described(self) -> str:
        """Return the shapes of the inputs, for messages."""
        given = [*self._inputs, *self._keywords.values()]
        return ", ".join(str(tuple(one.shape)) for one in given if isinstance(one, torch.Tensor)) or "none"


def _arguments(
    model: torch.nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword arguments; a lone mapping of the model's own arguments is the latter."""
    if len(inputs) == 1 and isinstance(inputs[0], Mapping) and not keywords:
        given = dict(inputs[0])
        try:
            inspect.signature(model.forward).bind(**given)
        except (TypeError, ValueError):
            return inputs, keywords
        return (), given
    return inputs, keywords


def _fresh(value: Any) -> Any:
    """Return a copy of a tensor, as a model may overwrite its inputs."""
    return value.detach().clone().requires_grad_(value.requires_grad) if isinstance(value, torch.Tensor) else value


def _differentiable(value: Any) -> Any:
    """Return a copy of a tensor that has a gradient, where it can have one, and may be overwritten nevertheless."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.detach().clone().requires_grad_().clone()
    return _fresh(value)


def _backward(output: list[torch.Tensor]) -> None:
    """Run a backward pass of a sum of the outputs with weights of either sign, so that no gradient cancels to 0."""
    generator = torch.Generator().manual_seed(0)
    total: Any = 0.0
    for tensor in output:
        if tensor.requires_grad and tensor.is_floating_point():
            weights = torch.randn(tensor.shape, generator=generator).to(tensor.device, tensor.dtype)
            total = total + (tensor * weights).sum().float()
    if isinstance(total, torch.Tensor):
        total.backward()
