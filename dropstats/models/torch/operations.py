"""Random operations of a torch model, seen one by one as it runs eagerly, and what becomes of them."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch._subclasses import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from dropstats.models.sites import Bits, Draw, Gradients, Site, Sites
from dropstats.models.torch import attention
from dropstats.models.torch.following import FOLLOWED, Drawn, Follower, scalar
from dropstats.models.torch.places import Place, Places

# Operations that only look random, or draw what is no part of a model's dropout.
_NO_DRAW = {"normal_functional", "empty", "empty_like"}


def task() -> int:
    """Return the number of the backward pass that is under way, or -1."""
    number: int = torch._C._current_graph_task_id()
    return number


def read(tensor: torch.Tensor, width: int) -> Bits:
    """Return where the first positions of a tensor are not 0."""
    flat = tensor.detach().reshape(-1)[:width]
    return np.asarray((flat if flat.dtype == torch.bool else flat != 0).cpu().numpy())


class Recorder:
    """Turns random operations into draws of sites; with `compares`, holds gradients against masks as well.

    `reruns` tells whether something was drawn that a backward pass may draw again. `generators` are those that the
    model draws from beside torch's own, each with its state before. `unseen` names modules whose draws cannot be seen,
    `opaque` those that draw by no operation of torch, each with an input of ones.
    """

    places: Places
    sites: Sites
    reruns: bool
    draws: int

    def __init__(self, places: Places, sites: Sites) -> None:
        self.places, self.sites = places, sites
        self.generators: dict[torch.Generator, torch.Tensor] = {}
        self.unseen: dict[str, str] = {}
        self.opaque: dict[str, torch.Tensor] = {}
        self._state: torch.Tensor | None = None
        self.draws = 0
        self.compares = self.reruns = False
        self.pending: list[tuple[torch.Tensor, Drawn, bool]] = []
        self._follower = Follower(self._mask, self._use, self._end)

    def before(self, func: Any, args: Any, kwargs: Any) -> None:
        """Note the random state before an operation: of fused attention, and of a generator of the model's own."""
        if attention.places(func) is not None and not _idle(func, args, kwargs or {}):
            self._state = attention.random_state(args[0].device)
        generator = kwargs.get("generator") if kwargs else None
        if generator is not None and generator not in self.generators:
            self.generators[generator] = generator.get_state()

    def random(self, func: Any, name: str, args: Any, kwargs: Any, result: Any) -> None:
        """Take a random operation's result."""
        place = self.places.here(name.removesuffix("_"), task() >= 0)
        if place is None:
            return
        self.reruns = self.reruns or place.reruns
        if attention.places(func) is not None and not _idle(func, args, kwargs):
            self._attention(place, func, args, kwargs)
            return
        drawn, one = _drawn(place, name, args, kwargs, result)
        if drawn is None and _idle(func, args, kwargs):
            return
        self.draws += 1
        if drawn is None:
            self.sites.unread[place.site, name] += 1
            return
        self._follower.draw(drawn, one)
        if name in ("native_dropout", "_fused_dropout"):
            self._follower._used(drawn, True, result[0], args[0])

    def _attention(self, place: Place, func: Any, args: Any, kwargs: Any) -> None:
        """Take the mask of fused attention."""
        assert self._state is not None
        self.draws += 1
        try:
            kept, known = attention.mask(func, args, kwargs, self._state)
            width = self.sites.width(place.site)
            bits, sure = read(kept, width), read(known, width)
        except (RuntimeError, NotImplementedError):  # fake tensors, or a kernel that takes no such values
            self.sites.unread[place.site, "a fused kernel, which cannot be run again"] += 1
            return
        drawn = Drawn(kept, place, str(func), mask=True)
        one = 1 - attention.rate(func, args)
        site = self.sites.add(self._draw(drawn, bits, one)._replace(known=sure))
        if site is not None:
            site.keeps[True] += 1

    def follow(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        """Follow an operation that may turn drawn numbers into a mask, or apply one."""
        if self._follower.recent:
            self._follower.step(name, args, result)

    def forget(self) -> None:
        """Let go of what was drawn: the pass is over."""
        self._follower.forget()

    def _mask(self, drawn: Drawn, one: float | None) -> Site | None:
        place: Place = drawn.place
        try:
            bits = read(drawn.tensor, self.sites.width(place.site))
        except (RuntimeError, NotImplementedError):  # a tensor without data: fake, meta
            self.sites.unread[place.site, f"{drawn.operation}, without data"] += 1
            return None
        return self.sites.add(self._draw(drawn, bits, one))

    def _draw(self, drawn: Drawn, bits: Bits, one: float | None) -> Draw:
        place, run = drawn.place, task()
        phase: Any = "forward" if run < 0 else "recomputed" if place.recomputed else "backward"
        dtype, device = str(drawn.tensor.dtype).removeprefix("torch."), str(drawn.tensor.device)
        shape = tuple(drawn.tensor.shape)
        draw = Draw(place.site, bits, shape, one, dtype, device, phase, place.training, place.module)
        return draw._replace(regions=place.regions, run=run)

    def _use(self, drawn: Drawn, keeps: bool, result: Any, values: Any) -> None:
        site: Site | None = drawn.handle
        if site is not None:
            site.keeps[keeps] += 1
            plain = drawn.scaled and not drawn.place.own and "alpha" not in site.base
            if plain and site.wants_values and isinstance(values, torch.Tensor):
                site.add_values(prefix(result), prefix(values))
        if self.compares and (drawn.place.node is not None or torch.is_grad_enabled()):
            self.pending.append((result, drawn, keeps))

    def compare_gradients(self) -> None:
        """Let the gradients of what masks were applied to be held against the masks, once they come."""
        pending, self.pending = self.pending, []
        for result, drawn, keeps in pending:
            node = drawn.place.node if drawn.place.node is not None else result.grad_fn
            if node is not None:
                kept = (drawn.tensor != 0) == (keeps == drawn.keeps)
                blank = kept & (result == 0) if result.shape == kept.shape else None
                node.register_hook(partial(_hold, self.sites.gradients, drawn.place.site, kept, blank))

    def _end(self, drawn: Drawn) -> None:
        self.sites.unread[drawn.place.site, drawn.operation] += 1


def tensors(output: Any) -> list[torch.Tensor]:
    """Return the tensors of an output, in a fixed order."""
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, Mapping):
        return [tensor for value in output.values() for tensor in tensors(value)]
    if isinstance(output, list | tuple | set):
        return [tensor for value in output for tensor in tensors(value)]
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return [tensor for field in dataclasses.fields(output) for tensor in tensors(getattr(output, field.name))]
    return []


def prefix(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy of a tensor's first values, on the host; of a tensor without data nothing."""
    if tensor.is_meta or isinstance(tensor, FakeTensor):
        return torch.empty(0)
    return tensor.detach().reshape(-1)[: Site.VALUES].clone().cpu()


def _hold(
    gradients: Gradients, site: str, kept: torch.Tensor, blank: torch.Tensor | None, inputs: Any, outputs: Any
) -> None:
    """Compare where the gradient of an input is zero with where the mask dropped, where the output's is not zero."""
    if not outputs:  # the node was already being run when it was first seen
        return
    outer = outputs[0]
    inner = next((g for g in inputs if g is not None and outer is not None and g.shape == outer.shape), None)
    if inner is None:
        return
    shown = outer.abs() > torch.finfo(outer.dtype).tiny * 16  # a product with the scale is not 0 by underflow
    wrong = ((inner != 0) != kept) & shown
    gradients.compared[site] += 1
    gradients.neurons[site] += int(shown.sum())
    gradients.wrong[site] += int(wrong.sum())
    if blank is not None:
        gradients.blank[site] += int((blank & shown).sum())
        gradients.inferred[site] += int((wrong & blank).sum())


def _drawn(place: Place, name: str, args: Any, kwargs: Any, result: Any) -> tuple[Drawn | None, float | None]:
    """Return what an operation drew, and the probability of a 1 of a mask, or None where it can be no mask."""
    base = name.removesuffix("_")
    if base == "bernoulli":
        given = kwargs.get("p", args[1] if len(args) > 1 else 0.5 if name == "bernoulli_" else args[0])
        return Drawn(result, place, name, mask=True), scalar(given)
    if base in ("native_dropout", "_fused_dropout"):
        p = float(args[1])
        return Drawn(result[1], place, name, mask=True, scaled=True), 1 - p if base == "native_dropout" else p
    if base in ("rand", "rand_like", "uniform"):
        bounds = [float(kwargs.get(key, args[i] if len(args) > i else i - 1)) for i, key in ((1, "from"), (2, "to"))]
        low, high = bounds if base == "uniform" else (0.0, 1.0)
        return (Drawn(result, place, name, low, high) if high > low else None), None
    if base in ("randint", "randint_like", "random"):
        numbers = [a for a in args if isinstance(a, int)]
        low, high = (numbers[0], numbers[1]) if len(numbers) > 1 else (0, numbers[0] if numbers else 2)
        return Drawn(result, place, name, float(low), float(high), whole=True), None
    return None, None


def _idle(func: Any, args: Any, kwargs: Any) -> bool:
    """Tell whether an operation that may draw, such as attention, was told not to."""
    for index, argument in enumerate(func._schema.arguments):
        if argument.name in ("dropout_p", "dropout", "train", "training"):
            value = args[index] if index < len(args) else kwargs.get(argument.name, argument.default_value)
            if value is not None and not value:
                return True
    return False


class Mode(TorchDispatchMode):  # type: ignore[misc]
    """Hands random operations and what follows them to a recorder."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # what wraps the method otherwise loads the compiler, and costs more than the method itself
        return False

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let compiled parts run as compiled, not eagerly as under a mode that wants to see inside."""
        return True

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._recorder.pending:
            self._recorder.compare_gradients()
        role = _roles.get(id(func)) or _role(func)
        if role[0] == "random":
            self._recorder.before(func, args, kwargs)
        result = func(*args, **kwargs) if kwargs else func(*args)
        if role[0] == "random":
            self._recorder.random(func, role[1], args, kwargs or {}, result)
        elif role[0] == "follow":
            self._recorder.follow(role[1], args, result)
        return result


# What is to be done with an operation, and its name, by its id: hashing it would cost as much as calling it.
# The operation itself is kept, so that its id stays its own.
_roles: dict[int, tuple[str, str, Any]] = {}


def _role(func: Any) -> tuple[str, str, Any]:
    packet = str(func).removeprefix("aten.").partition(".")[0]
    role = "other"
    if torch.Tag.nondeterministic_seeded in func.tags and packet not in _NO_DRAW:
        role = "random"
    elif packet.removesuffix("_") in FOLLOWED:
        role, packet = "follow", packet.removesuffix("_")
    _roles[id(func)] = (role, packet, func)
    return _roles[id(func)]
