"""A jaxpr evaluated so that each dropout mask in it is seen, and what it is applied to."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import jax
from jax import numpy as jnp
from jax.experimental import io_callback
from jax.extend import core

from dropstats.models.jax.equations import (
    CHECKPOINT,
    RANDOM,
    apart,
    draws,
    function_of,
    inner_of,
    is_float,
    jaxprs_of,
    limit_of,
    number,
)
from dropstats.models.jax.modules import AT, LOST
from dropstats.models.sites import Phase, Site

# Operations after which a mask is the same mask, numbers the same numbers.
_SAME = {
    *("convert_element_type", "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "copy"),
    *("stop_gradient", "name", "sharding_constraint"),
}
_JIT = ("jit", "pjit")
# Precedes the name of a function that is called, in the names of where something stands.
CALLED = "called:"
# JAX's name of what is computed again in the backward pass.
_AGAIN = "rematted_computation"
_FLIPPED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}


class Place(NamedTuple):
    """Where something is drawn: its name, the path of its module, where known, and in which part of a pass."""

    site: str
    module: str | None
    phase: Phase = "forward"


@dataclass
class Mask:
    """A mask: its bits, the probability of a 1, and what it was applied to (None inside loops and hand-written rules).

    `keeps` tells for each use whether a 1 keeps; `values` are the first outputs and inputs. `drawn` tells which of the
    leading positions were drawn at all, where a branch may be passed by; None is all. In a loop of unknown length the
    bits of each round are handed over under `loop`.
    """

    place: Place
    bits: Any
    one: Any
    keeps: list[bool] = field(default_factory=list)
    values: list[tuple[Any, Any]] = field(default_factory=list)
    drawn: Any = None
    loop: tuple[int, int] | None = None


class _Mark(NamedTuple):
    """Says that an array is a mask, by its number, or uniform numbers and what was added to them."""

    mask: int = -1
    keeps: bool = True
    numbers: int = -1
    offset: Any = 0.0


class _Value(NamedTuple):
    """An array as it is passed on: `literal` if it holds one known number, `plain` what it was before it was scaled.

    `scaled` says of a mask that a number has multiplied it.
    """

    array: Any
    mark: _Mark | None = None
    literal: float | None = None
    number: bool = False
    plain: Any = None
    scaled: bool = False


@dataclass
class _Found:
    """What was found inside an operation: masks, draws that are none, numbers of which nothing came yet."""

    masks: list[Mask]
    unread: list[tuple[str, str]]
    numbers: dict[int, Place]

    def held(self, certain: bool = False) -> list[Any]:
        """Return the arrays of the masks; with `certain`, that they were drawn is one of them."""
        held = []
        for mask in self.masks:
            drawn = jnp.ones((), bool) if certain and mask.drawn is None else mask.drawn
            held.append((None, None, None) if mask.loop else (mask.bits, mask.one, drawn))
        return held


class Reading:
    """Evaluates jaxprs; gathers masks, draws that are none, and what can be held against gradients.

    With `taps`, two zero arrays for each use of a mask, what goes in and what comes out have gradients of their own.
    `uses` are the sites, shapes and types of these uses, `kept` what each of them keeps. `rounds` takes what loops of
    unknown length draw, each time that they are run.
    """

    hand_written: bool

    def __init__(
        self,
        own: set[str],
        taps: list[Any] | None = None,
        compares: bool = False,
        rounds: Callable[..., None] | None = None,
    ) -> None:
        self.masks: list[Mask] = []
        self.numbers: dict[int, Place] = {}
        self.unread: list[tuple[str, str]] = []
        self.uses: list[tuple[str, tuple[int, ...], Any]] = []
        self.kept: list[Any] = []
        self.by_hand: list[tuple[str, Any, Any]] = []
        self.hand_written = False
        self._own, self._taps, self._compares, self._rounds = own, taps, compares, rounds
        self._inside = 0
        self._backward = False
        self._count = count()

    def run(self, closed: Any, consts: list[Any], args: list[Any]) -> list[Any]:
        """Evaluate a closed jaxpr; return its outputs."""
        known = [_Value(given, literal=number(const)) for given, const in zip(consts, closed.consts, strict=True)]
        outs = self._evaluate(closed.jaxpr, [*known, *map(_Value, args)], "")
        self.unread += [(place.site, "uniform") for place in self.numbers.values()]
        return [out.array for out in outs]

    def _evaluate(self, jaxpr: Any, values: list[_Value], where: str) -> list[_Value]:
        """Evaluate a jaxpr on the values of its constants and arguments."""
        env = dict(zip([*jaxpr.constvars, *jaxpr.invars], values, strict=True))
        for eqn in jaxpr.eqns:
            given = [literal(v) if isinstance(v, core.Literal) else env[v] for v in eqn.invars]
            outs = self._step(eqn, given, f"{where}/{eqn.source_info.name_stack}")
            env.update(zip(eqn.outvars, outs, strict=True))
        return [literal(v) if isinstance(v, core.Literal) else env[v] for v in jaxpr.outvars]

    def _step(self, eqn: Any, values: list[_Value], where: str) -> list[_Value]:
        """Evaluate one operation."""
        name, label = eqn.primitive.name, str(eqn.params.get("name", ""))
        inner, self._backward = inner_of(eqn), "transpose(" in where
        # differentiation may split these: what draws nothing is no draw, and what is drawn comes first
        if name in _JIT and label in ("_bernoulli", "_uniform") and draws(inner):
            (first, *others), place = _bind(eqn, values), self._place(eqn, where)
            mark = None
            if label == "_bernoulli" and first.dtype == bool:
                mark = self._mask(place, first, values[limit_of(inner)].array)
            elif label == "_uniform" and [value.literal for value in values[1:]] == [0.0, 1.0]:
                mark = _Mark(numbers=next(self._count))
                self.numbers[mark.numbers] = place
            else:
                self.unread.append((place.site, label[1:]))
            return [_Value(first, mark), *map(_Value, others)]
        if name == "scan" and draws(inner):
            return self._scan(eqn, inner, values, where)
        if name == "while" and draws(eqn.params["body_jaxpr"]) and not draws(eqn.params["cond_jaxpr"]):
            return self._while(eqn, values, where)
        if name == "cond" and any(map(draws, eqn.params["branches"])):
            return self._branches(eqn, values, where)
        if name.startswith(("custom_vjp", "custom_jvp")) and draws(inner):
            return self._hand_written(eqn, inner, values, where)
        # normal numbers and the like
        known = name in _JIT and label.startswith("_") and hasattr(jax.random, label[1:])
        if name in (*_JIT, *CHECKPOINT, "closed_call", "core_call") and not known:
            if draws(inner) or any(value.mark for value in values):
                if eqn.params.get("differentiated") and eqn.params.get("prevent_cse"):
                    # as JAX does, lest what is computed again be merged with what was before
                    values = [value._replace(array=apart(value.array)) for value in values]
                consts = [_Value(const, literal=number(const)) for const in inner.consts]
                return self._evaluate(inner.jaxpr, [*consts, *values], f"{where}/{CALLED}{function_of(eqn)}")
        elif name in RANDOM or any(draws(one) for one in jaxprs_of(eqn)):
            self.unread.append((self._place(eqn, where).site, label.strip("_") or name))
        return self._follow(eqn, values)

    def _place(self, eqn: Any, where: str) -> Place:
        """Return where an operation stands, from the names that JAX keeps of what it traces."""
        paths = re.findall(rf"{AT}([^/()]*)", where)
        functions = [function_of(eqn), *re.findall(rf"{CALLED}([^/]+)", where)[::-1], "function"]
        function = next(name for name in functions if name)
        where = re.sub(rf"/{CALLED}[^/]*", "", where)
        phase: Phase = "recomputed" if _AGAIN in where else "backward" if "transpose(" in where else "forward"
        known = [path for path in paths if path != LOST]
        if known and (paths[-1] != LOST or known[-1] in self._own):
            path = known[-1]
            return Place(path if path in self._own else f"{path}.{function}" if path else function, path, phase)
        parts = re.sub(r"\w+\(|\)", "", where.rpartition(AT + LOST)[2]).split("/")
        scopes = [part for part in parts if part not in ("", _AGAIN)]
        return Place(".".join(scopes if phase == "forward" else dict.fromkeys(scopes)) or function, None, phase)

    def _mask(self, place: Place, bits: Any, one: Any) -> _Mark:
        self.masks.append(Mask(place, bits, jnp.reshape(one, (-1,))[:1] if jnp.size(one) == 1 else None))
        return _Mark(len(self.masks) - 1)

    def _apart(self, closed: Any, arrays: Any, where: str) -> tuple[list[Any], "_Found"]:
        """Evaluate what an operation runs; return its outputs and what was found, which is not yet among the rest."""
        before = self.masks, self.unread, self.numbers
        self.masks, self.unread, self.numbers = [], [], {}
        self._inside += 1
        given = [_Value(const, literal=number(const)) for const in closed.consts]
        outs = [out.array for out in self._evaluate(closed.jaxpr, [*given, *map(_Value, arrays)], where)]
        found = _Found(self.masks, self.unread, self.numbers)
        self._inside -= 1
        self.masks, self.unread, self.numbers = before
        return outs, found

    def _take(self, found: "_Found", held: list[Any]) -> None:
        """Add what was found inside an operation, its masks as they come out of it."""
        for mask, (bits, one, drawn) in zip(found.masks, held, strict=True):
            mask.bits, mask.one, mask.drawn = bits, one, drawn
        self.masks += found.masks
        self.unread += found.unread
        self.numbers |= found.numbers

    def _scan(self, eqn: Any, inner: Any, values: list[_Value], where: str) -> list[_Value]:
        """Evaluate a loop: what it draws at a place is one mask."""
        params, arrays = eqn.params, [value.array for value in values]
        fixed, size = params["num_consts"], params["num_carry"]
        last = _Found([], [], {})

        def body(carry: Any, x: Any) -> Any:
            nonlocal last
            outs, last = self._apart(inner, [*arrays[:fixed], *carry, *x], where)
            return outs[:size], (outs[size:], last.held())

        options = {name: params[name] for name in ("length", "reverse", "unroll")}
        carry, (ys, held) = jax.lax.scan(body, arrays[fixed : fixed + size], arrays[fixed + size :], **options)
        self._take(last, held)
        return [_Value(array) for array in (*carry, *ys)]

    def _while(self, eqn: Any, values: list[_Value], where: str) -> list[_Value]:
        """Evaluate a loop of unknown length: the masks of each round are handed over as they are drawn."""
        params, key, arrays = eqn.params, next(self._count), [value.array for value in values]
        test, fixed = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        last = _Found([], [], {})

        def body(carry: Any) -> Any:
            nonlocal last
            outs, last = self._apart(params["body_jaxpr"], [*arrays[test:fixed], *carry], where)
            for place, mask in enumerate(last.masks):
                if mask.loop is None:
                    mask.loop = (key, place)
                    if self._rounds is not None:
                        hand = partial(self._rounds, mask.loop)
                        io_callback(hand, None, mask.bits, mask.one, mask.drawn, ordered=True)
            return outs

        goes_on = core.jaxpr_as_fun(params["cond_jaxpr"])
        outs = jax.lax.while_loop(lambda carry: goes_on(*arrays[:test], *carry)[0], body, arrays[fixed:])
        self._take(last, [(None, None, None)] * len(last.masks))
        return [_Value(array) for array in outs]

    def _branches(self, eqn: Any, values: list[_Value], where: str) -> list[_Value]:
        """Evaluate one of several branches: a mask says whether it was drawn."""
        branches, arrays = eqn.params["branches"], [value.array for value in values[1:]]
        found: list[_Found] = []

        def held(branch: Any, *given: Any) -> Any:
            found.append(self._apart(branch, given, where)[1])
            return found[-1].held(certain=True)

        shapes = [jax.eval_shape(partial(held, branch), *arrays) for branch in branches]

        def run(number: int, *given: Any) -> Any:
            outs, inside = self._apart(branches[number], given, where)
            masks = jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), shapes)
            masks[number] = inside.held(certain=True)
            return outs, masks

        outs, masks = jax.lax.switch(values[0].array, [partial(run, i) for i in range(len(branches))], *arrays)
        for inside, drawn in zip(found, masks, strict=True):
            self._take(inside, drawn)
        return [_Value(array) for array in outs]

    def _hand_written(self, eqn: Any, inner: Any, values: list[_Value], where: str) -> list[_Value]:
        """Evaluate a function with a derivative of its own, and beside it what it draws."""
        outs = _bind(eqn, values)
        self._inside += 1
        given = [_Value(const, literal=number(const)) for const in inner.consts]
        stopped = [_Value(jax.lax.stop_gradient(value.array), literal=value.literal) for value in values]
        first = len(self.masks)
        self._evaluate(inner.jaxpr, [*given, *stopped], where)
        self._inside -= 1
        at = next((i for i, v in enumerate(values) if jnp.shape(v.array) == outs[0].shape and is_float(v.array)), None)
        self.hand_written = self.hand_written or len(self.masks) > first
        if self._compares and not self._inside and at is not None and len(self.masks) > first:

            def on(x: Any) -> Any:
                return _bind(eqn, [v._replace(array=x) if i == at else v for i, v in enumerate(values)])[0]

            output, backward = jax.vjp(on, jnp.ones_like(values[at].array))
            self.by_hand.append((self.masks[first].place.site, output, backward(jnp.ones_like(output))[0]))
        return [_Value(out) for out in outs]

    def _follow(self, eqn: Any, values: list[_Value]) -> list[_Value]:
        """Evaluate an operation, and say what becomes of a mask, of numbers, or of what a number scales."""
        name = eqn.primitive.name
        index = next((i for i, value in enumerate(values) if value.mark is not None), None)
        if index is None or eqn.primitive.multiple_results:
            outs = _bind(eqn, values)
            if len(outs) == 1 and len(values) == 1 and name in _SAME:
                return [values[0]._replace(array=outs[0], plain=None, number=_is_number(values[0]))]
            if name in ("mul", "div") and len(values) == 2 and not eqn.primitive.multiple_results:
                scaled = next((v for v, other in (values, values[::-1]) if _is_number(other)), None)
                return [_Value(outs[0], plain=None if scaled is None else scaled.array)]
            return [_Value(out) for out in outs]
        mark = values[index].mark
        assert mark is not None
        other = values[1 - index] if len(values) == 2 else None
        if mark.numbers >= 0:
            return [self._compared(eqn, values, index, mark, other)]
        if name == "mul" and other is not None and not _is_number(other):
            return [self._used(eqn, values, index, mark, mark.keeps, 1 - index)]
        if name == "select_n" and index == 0 and len(values) == 3:
            for zero, at, keeps in ((1, 2, mark.keeps), (2, 1, not mark.keeps)):
                if values[zero].literal in (0.0, -math.inf):
                    return [self._used(eqn, values, index, mark, keeps, at)]
        (out,) = _bind(eqn, values)
        if name in _SAME:
            return [_Value(out, mark, scaled=values[index].scaled)]
        if name in ("mul", "div") and other is not None and _is_number(other):
            return [_Value(out, mark, scaled=True)]
        if name == "not" or (name == "sub" and index == 1 and values[0].literal == 1):
            return [_Value(out, mark._replace(keeps=not mark.keeps))]
        return [_Value(out)]

    def _compared(self, eqn: Any, values: list[_Value], index: int, mark: _Mark, other: _Value | None) -> _Value:
        """Follow uniform numbers: a mask comes of them where they are compared with a number, or rounded."""
        name = eqn.primitive.name
        (out,) = _bind(eqn, values)
        if name in _SAME:
            return _Value(out, mark)
        if name == "add" and other is not None and _is_number(other):
            return _Value(out, mark._replace(offset=mark.offset + jnp.reshape(other.array, (-1,))[0]))
        one = None
        if name == "floor":
            one = mark.offset
        elif name in _FLIPPED and other is not None and _is_number(other):
            limit = jnp.reshape(other.array, (-1,))[0] - mark.offset
            one = limit if (name if index == 0 else _FLIPPED[name]) in ("lt", "le") else 1 - limit
        if one is None:
            return _Value(out)
        drawn = self.numbers.pop(mark.numbers, None)
        return _Value(out, None if drawn is None else self._mask(drawn, out, one))

    def _used(self, eqn: Any, values: list[_Value], index: int, mark: _Mark, keeps: bool, at: int) -> _Value:
        """Apply a mask."""
        mask, given = self.masks[mark.mask], values[at]
        mask.keeps.append(keeps)
        (out,) = _bind(eqn, values)
        if self._inside or self._backward or not is_float(out) or jnp.shape(given.array) != out.shape:
            return _Value(out)
        if given.plain is not None or values[index].scaled:  # else it may be scaled later
            plain = given.array if given.plain is None else given.plain
            pair = (jnp.reshape(array, (-1,))[: Site.VALUES] for array in (out, plain))
            mask.values.append(tuple(pair))
        self.uses.append((mask.place.site, out.shape, out.dtype))
        if self._taps is not None:
            kept = jnp.broadcast_to((values[index].array != 0) == (keeps == mark.keeps), out.shape)
            before, after = self._taps[len(self.kept)]
            self.kept.append(kept)
            tapped = [v._replace(array=v.array + before) if i == at else v for i, v in enumerate(values)]
            out = _bind(eqn, tapped)[0] + after
        return _Value(out)


def _bind(eqn: Any, values: list[_Value]) -> list[Any]:
    """Run an operation."""
    params = eqn.primitive.get_bind_params(eqn.params)
    functions, params = params if isinstance(params, tuple) else ((), params)
    found = eqn.primitive.bind(*functions, *(value.array for value in values), **params)
    return list(found) if eqn.primitive.multiple_results else [found]


def literal(variable: Any) -> _Value:
    """Return a number that stands in a jaxpr."""
    return _Value(variable.val, literal=number(variable.val), number=True)


def _is_number(value: _Value) -> bool:
    return value.number or value.literal is not None or jnp.size(value.array) == 1
