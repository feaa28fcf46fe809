"""Random operations of a torch model, seen one by one as it runs eagerly, and what becomes of them."""

import dataclasses
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch._subclasses import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from dropstats.models.sites import Bits, Draw, Gradients, Site, Sites
from dropstats.models.torch import attention, generators
from dropstats.models.torch.following import FOLLOWED, Drawn, Follower, scalar
from dropstats.models.torch.places import Place, Places

# Operations that only look random, or draw what is no part of a model's dropout.
_NO_DRAW = {"normal_functional", "empty", "empty_like", "_cudnn_init_dropout_state", "_fused_sdp_choice"}
# Arguments in which operations take a drop probability.
_RATES = ("dropout_p", "dropout", "p_dropout")
_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd


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
    `opaque` those that draw by no operation of torch, each with an input of ones; `fused` has a call of each site of
    fused attention, where gradients are compared.
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
        self.fused: dict[str, attention.Call] = {}
        self._state: torch.Tensor | None = None
        self.draws = 0
        self.compares = self.reruns = False
        self.pending: list[tuple[torch.Tensor, Drawn, bool]] = []
        self._follower = Follower(self._mask, self._use, self._end)

    def before(self, func: Any, args: Any, kwargs: Any) -> None:
        """Note the random state before an operation: of fused attention, and of a generator of the model's own."""
        generator = kwargs.get("generator") if kwargs else None
        at = attention.places(func)
        if (at is None and generator is None) or hidden(args):
            return
        if at is not None:
            self._state = generators.state(args[at[0]].device)
        if generator is not None and generator not in self.generators:
            self.generators[generator] = generator.get_state()

    def random(self, func: Any, name: str, args: Any, kwargs: Any, result: Any) -> None:
        """Take a random operation's result."""
        place = self.places.here(name.removesuffix("_"), task() >= 0)
        p = _rate(func, name, args, kwargs)
        if place is None or p == 0:
            return
        self.reruns = self.reruns or place.reruns
        self.draws += 1
        why = hidden(result) or self._take(place, func, name, args, kwargs, result, p)
        if why is not None:
            self._unread(place, name, p, next(iter(tensors(result)), None), why)

    def _take(
        self, place: Place, func: Any, name: str, args: Any, kwargs: Any, result: Any, p: float | None
    ) -> str | None:
        """Take what an operation drew; return why no mask comes of it, or None where one may."""
        if attention.places(func) is not None and p is not None:
            return self._attention(place, func, args, kwargs, p)
        drawn, one = _drawn(place, name, args, kwargs, result)
        if drawn is None:
            return ""
        drawn.dtype = _dtype(tensors(result)[0])
        self._follower.draw(drawn, one)
        if name in ("native_dropout", "_fused_dropout"):
            self._follower._used(drawn, True, result[0], args[0])
        return None

    def _unread(self, place: Place, name: str, p: float | None, tensor: Any, why: str) -> None:
        """List a draw of which no mask comes: at which rate, of which dtype and where, if it is known to be dropout."""
        if p is not None:
            self.sites.unread_at[place.site].add(p)
            name += f" at p = {p:g}"
            if tensor is not None:
                name += f" in {_dtype(tensor)} on {tensor.device}"
        self.sites.unread[place.site, f"{name}, {why}" if why else name] += 1

    def _attention(self, place: Place, func: Any, args: Any, kwargs: Any, p: float) -> str | None:
        """Take the mask of fused attention; return why there is none, or None."""
        assert self._state is not None
        width = self.sites.width(place.site)
        call = attention.Call(func, args, kwargs, self._state)
        try:
            found = attention.mask(call, width)
        except torch.OutOfMemoryError:
            return "which there is no memory to run again"
        except (RuntimeError, NotImplementedError):  # a kernel that takes no such values
            return "a fused kernel, which cannot be run again"
        if found is None:
            return "whose sequences are packed into one"
        kept, known, shape = found
        drawn = Drawn(kept, place, str(func), mask=True, dtype=_dtype(args[0]))
        draw = self._draw(drawn, read(kept, width), 1 - p)
        site = self.sites.add(draw._replace(known=read(known, width), shape=shape))
        if site is not None:
            site.keeps[True] += 1
        if self.compares and task() < 0:
            self.fused.setdefault(place.site, call._replace(kept=kept, known=known))
        return None

    def follow(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        """Follow an operation that may turn drawn numbers into a mask, or apply one."""
        if self._follower.recent:
            self._follower.step(name, args, result)

    def forget(self) -> None:
        """Let go of what was drawn: the pass is over."""
        self._follower.forget()

    def _mask(self, drawn: Drawn, one: float | None) -> Site | None:
        bits = read(drawn.tensor, self.sites.width(drawn.place.site))
        return self.sites.add(self._draw(drawn, bits, one))

    def _draw(self, drawn: Drawn, bits: Bits, one: float | None) -> Draw:
        place, run = drawn.place, task()
        phase: Any = "forward" if run < 0 else "recomputed" if place.recomputed else "backward"
        shape, device = tuple(drawn.tensor.shape), str(drawn.tensor.device)
        draw = Draw(place.site, bits, shape, one, drawn.dtype, device, phase, place.training, place.module)
        return draw._replace(regions=place.regions, run=run)

    def _use(self, drawn: Drawn, keeps: bool, result: Any, values: Any) -> None:
        site: Site | None = drawn.handle
        if site is not None:
            site.keeps[keeps] += 1
            size = math.prod(site.shape) * (site.shapes == 1)
            if isinstance(result, torch.Tensor) and size and result.numel() % size == 0:
                site.shared = max(site.shared, result.numel() // size)
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


def hidden(output: Any) -> str:
    """Return why the values of tensors cannot be read, or nothing."""
    if any(torch._C._functorch.is_functorch_wrapped_tensor(tensor) for tensor in tensors(output)):
        return "inside a transform of torch.func"
    if any(tensor.is_meta or isinstance(tensor, FakeTensor) for tensor in tensors(output)):
        return "without data"
    # to read is not permitted, and what is read would be no draw
    if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
        return "captured in a CUDA graph, whose replays are not seen"
    return ""


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


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
    """Return a copy of a tensor's first values, on the host; of one that cannot be read nothing."""
    if hidden(tensor):
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
    gradients.count(site, shown.sum(), wrong.sum())
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
        numbers = [a for a in args if isinstance(a, int)] or ([_largest(result)] if base == "random" else [])
        low, high = numbers[:2] if len(numbers) > 1 else (0, *numbers) if numbers else (0, 0)
        return (Drawn(result, place, name, float(low), float(high), whole=True) if high > low else None), None
    return None, None


def _largest(tensor: torch.Tensor) -> int:
    """Return how many integers `random_` draws from where it is told none."""
    if tensor.dtype == torch.bool:
        return 2
    if tensor.is_floating_point():
        return round(2 / float(torch.finfo(tensor.dtype).eps))
    return int(torch.iinfo(tensor.dtype).max) + 1


def _rate(func: Any, name: str, args: Any, kwargs: Any) -> float | None:
    """Return the drop probability that an operation such as attention asks for, 0 where it is told not to drop."""
    p = None
    for index, argument in enumerate(func._schema.arguments):
        value = args[index] if index < len(args) else kwargs.get(argument.name, argument.default_value)
        if argument.name in ("train", "training") and value is not None and not value:
            return 0.0
        if argument.name in _RATES or (argument.name == "p" and "dropout" in name):
            p = None if value is None else float(value)
    return 1 - p if p is not None and name == "_fused_dropout" else p


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
        if role[0] == "composite":  # in inference mode: what it is made of is seen
            with self:
                return func._op_dk(_COMPOSITE, *args, **kwargs or {})
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
    packet = str(func).removeprefix("aten.").rpartition(".")[0]
    role = "other"
    if _random(func, packet):
        composite = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), _COMPOSITE)
        role = "composite" if composite else "random"
    elif packet.removesuffix("_") in FOLLOWED:
        role, packet = "follow", packet.removesuffix("_")
    _roles[id(func)] = (role, packet, func)
    return _roles[id(func)]


def _random(func: Any, packet: str) -> bool:
    """Tell whether an operation draws: as torch says, or, of other libraries, as an argument for a rate does."""
    if packet in _NO_DRAW or "backward" in packet:
        return False
    tagged = torch.Tag.nondeterministic_seeded in func.tags
    return tagged or any(argument.name in _RATES for argument in func._schema.arguments)
