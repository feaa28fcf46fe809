"""Draws of a torch model: hooks of its modules, and a look at its operations while they run."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import torch

from dropstats.models.sites import Sites
from dropstats.models.torch import compiled, declares, outputs
from dropstats.models.torch.operations import Mode, Recorder, prefix, task, tensors
from dropstats.models.torch.places import Places

# Methods that a trainer calls in place of the model itself.
_STEPS = ("training_step", "validation_step")


class _Hooks:
    """Hooks of modules: where a pass begins and ends, and what goes into and comes out of dropout modules.

    Operations are looked at from the call of the outermost module to its end, and beyond it, in backward passes, once
    something was drawn that these may draw again: looking costs some microseconds for each operation.
    """

    def __init__(self, recorder: Recorder, always: bool) -> None:
        self._recorder, self._always = recorder, always
        self._mode = Mode(recorder)
        self._looking = False
        self._depth = 0
        self._idle = self._borrowed = False
        self._open: dict[int, tuple[torch.Tensor, int]] = {}
        self._look(always)

    def _look(self, wanted: bool) -> None:
        if wanted and not self._looking:
            self._mode.__enter__()
        elif self._looking and not wanted:
            self._mode.__exit__(None, None, None)
        self._looking = wanted

    def close(self) -> None:
        """Look at nothing any more."""
        self._look(False)

    def before(self, module: Any, args: Any) -> None:
        run = task()
        if self._depth == 0:
            self._borrowed = run >= 0 and not self._looking
            self._look(True)
            if run < 0:
                self._recorder.sites.begin(bool(module.training))
                self._idle = not module.training and self._recorder.sites.modes[True] > 0
            else:
                place = self._recorder.places.here("", True)
                if place is not None and place.regions:
                    self._recorder.sites.replays.rerun(place.regions[0], run)
        self._depth += 1
        if module.training and run < 0:
            self._recorder.sites.called[self._recorder.places.paths[id(module)]] += 1

    def after(self, module: Any, args: Any, output: Any) -> None:
        self._depth = max(0, self._depth - 1)
        if self._recorder.pending:
            self._recorder.compare_gradients()
        if self._depth == 0:
            if self._idle and task() < 0:
                self._note_backward(output)
            self._recorder.forget()
            # what is switched on inside a backward pass is off after it, whether or not it is switched off
            if self._borrowed or task() < 0:
                self._look((self._always or self._recorder.reruns) and not self._borrowed)
            if task() < 0:
                self._recorder.sites.end()

    def _note_backward(self, output: Any) -> None:
        """Count a pass in evaluation mode whose gradients are asked for: somebody trains with dropout left off."""
        first = next(
            (tensor for tensor in tensors(output) if tensor.requires_grad and tensor.grad_fn is not None), None
        )
        if first is not None:
            sites, passes = self._recorder.sites, self._recorder.sites.passes
            first.register_hook(lambda gradient: sites.trained.add(passes))

    def before_dropout(self, module: Any, args: Any) -> None:
        if len(args) == 1 and isinstance(args[0], torch.Tensor) and module.training and task() < 0:
            self._open[id(module)] = (prefix(args[0]), self._recorder.draws)

    def after_dropout(self, module: Any, args: Any, output: Any) -> None:
        opened = self._open.pop(id(module), None)
        if opened is None or not isinstance(output, torch.Tensor) or output.shape != args[0].shape:
            return
        values, draws = opened
        sites, path = self._recorder.sites, self._recorder.places.paths[id(module)]
        site = sites.last(path)
        if self._recorder.draws == draws + 1 and site is not None and site.wants_values:
            site.add_values(prefix(output), values)
        elif self._recorder.draws == draws and not getattr(module, "inplace", False):
            # what draws is no operation of torch: the zeros of the output show it
            first = site is None and sites.named().get(path) is None
            if values.numel() and (not first or bool((output != args[0]).any())):
                outputs.add(sites, path, module, outputs.code(args[0], output), prefix(output), values)
                self._recorder.opaque[path] = torch.ones_like(args[0], requires_grad=True)


def _around(step: Any, model: torch.nn.Module, hooks: _Hooks) -> Any:
    @wraps(step)
    def called(*args: Any, **kwargs: Any) -> Any:
        hooks.before(model, args)
        output = None
        try:
            output = step(*args, **kwargs)
            return output
        finally:
            hooks.after(model, args, output)

    return called


@contextmanager
def watching(model: torch.nn.Module, sites: Sites, always: bool = False) -> Iterator[Recorder]:
    """See every draw that a model makes; with `always`, look at operations between the calls of the model, too."""
    scripted = [name for name, module in model.named_modules() if isinstance(module, torch.jit.ScriptModule)]
    if scripted:
        raise TypeError(
            f"model must not be TorchScript, which shows no draw: give the module that was scripted; got "
            f"{scripted[0] or 'the model'!r} as one"
        )
    recorder = Recorder(Places(model), sites)
    recorder.unseen.update(compiled.out_of_sight(model))
    with ExitStack() as stack:
        hooks = _Hooks(recorder, always)
        stack.callback(hooks.close)
        stack.enter_context(compiled.handing_out(model, recorder, hooks.before, hooks.after))
        for name in _STEPS:
            step = getattr(model, name, None)
            if callable(step):
                setattr(model, name, _around(step, model, hooks))
                stack.callback(delattr, model, name)
        inside = compiled.inside(model)
        for module in model.modules():
            if id(module) in inside:
                continue
            stack.callback(module.register_forward_pre_hook(hooks.before).remove)
            if declares.is_dropout(module, recorder.places.paths[id(module)]) and declares.scales(module):
                stack.callback(module.register_forward_pre_hook(hooks.before_dropout).remove)
                stack.callback(module.register_forward_hook(hooks.after_dropout).remove)
            stack.callback(module.register_forward_hook(hooks.after, always_call=True).remove)
        yield recorder
