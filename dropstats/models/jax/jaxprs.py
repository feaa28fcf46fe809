"""A jaxpr evaluated so that each dropout mask in it is seen, and what it is applied to."""

import math
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from jax._src import source_info_util
from jax.extend import core

from dropstats.models.jax.modules import AT, LOST
from dropstats.models.sites import Site

# Operations after which a mask is the same mask, numbers the same numbers.
_SAME = {
    *("convert_element_type", "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "copy"),
    *("stop_gradient", "name", "sharding_constraint"),
}
_JIT = ("jit", "pjit")
# Precedes the name of a function that is called, in the names of where something stands.
CALLED = "called:"
_FLIPPED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}


class Place(NamedTuple):
    """Where something is drawn: its name, and the path of its module, where known."""

    site: str
    module: str | None


@dataclass
class Mask:
    """A mask: its bits, the probability of a 1, and what it was applied to (None inside loops and hand-written rules).

    `keeps` tells for each use whether a 1 keeps; `values` are the first outputs and inputs.
    """

    place: Place
    bits: Any
    one: Any
    keeps: list[bool] = field(default_factory=list)
    values: list[tuple[Any, Any]] = field(default_factory=list)


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


class Reading:
    """Evaluates jaxprs; gathers masks, draws that are none, and what can be held against gradients.

    With `taps`, two zero arrays for each use of a mask, what goes in and what comes out have gradients of their own.
    `uses` are the sites, shapes and types of these uses, `kept` what each of them keeps.
    """

    hand_written: bool

    def __init__(self, own: set[str], taps: list[Any] | None = None, compares: bool = False) -> None:
        self.masks: list[Mask] = []
        self.numbers: dict[int, Place] = {}
        self.unread: list[tuple[str, str]] = []
        self.uses: list[tuple[str, tuple[int, ...], Any]] = []
        self.kept: list[Any] = []
        self.by_hand: list[tuple[str, Any, Any]] = []
        self.hand_written = False
        self._own, self._taps, self._compares = own, taps, compares
        self._inside = 0

    def run(self, closed: Any, consts: list[Any], args: list[Any]) -> list[Any]:
        """Evaluate a closed jaxpr; return its outputs."""
        known = [_Value(given, literal=_number(const)) for given, const in zip(consts, closed.consts, strict=True)]
        outs = self._evaluate(closed.jaxpr, [*known, *map(_Value, args)], "")
        self.unread += [(place.site, "uniform") for place in self.numbers.values()]
        return [out.array for out in outs]

    def _evaluate(self, jaxpr: Any, values: list[_Value], where: str) -> list[_Value]:
        """Evaluate a jaxpr on the values of its constants and arguments."""
        env = dict(zip([*jaxpr.constvars, *jaxpr.invars], values, strict=True))
        for eqn in jaxpr.eqns:
            given = [_literal(v) if isinstance(v, core.Literal) else env[v] for v in eqn.invars]
            outs = self._step(eqn, given, f"{where}/{eqn.source_info.name_stack}")
            env.update(zip(eqn.outvars, outs, strict=True))
        return [_literal(v) if isinstance(v, core.Literal) else env[v] for v in jaxpr.outvars]

    def _step(self, eqn: Any, values: list[_Value], where: str) -> list[_Value]:
        """Evaluate one operation."""
        name, label = eqn.primitive.name, str(eqn.params.get("name", ""))
        if name in _JIT and label in ("_bernoulli", "_uniform"):
            (out,) = _bind(eqn, values)
            place = self._place(eqn, where)
            if label == "_bernoulli":
                return [_Value(out, self._mask(place, out, values[1].array))]
            if [value.literal for value in values[1:3]] == [0.0, 1.0]:
                self.numbers[len(self.numbers) + len(self.masks)] = place
                return [_Value(out, _Mark(numbers=len(self.numbers) + len(self.masks) - 1))]
            self.unread.append((place.site, "uniform"))
            return [_Value(out)]
        inner = _inner(eqn)
        if name == "scan" and _draws(inner):
            return self._scan(eqn, inner, values, where)
        if name.startswith(("custom_vjp", "custom_jvp")) and _draws(inner):
            return self._hand_written(eqn, inner, values, where)
        # normal numbers and the like
        known = name in _JIT and label.startswith("_") and hasattr(jax.random, label[1:])
        if name in (*_JIT, "closed_call", "core_call", "checkpoint", "remat", "remat2") and not known:
            if _draws(inner) or any(value.mark for value in values):
                consts = [_Value(const, literal=_number(const)) for const in inner.consts]
                return self._evaluate(inner.jaxpr, [*consts, *values], f"{where}/{CALLED}{_function(eqn)}")
        elif name == "random_bits" or any(_draws(one) for one in core_jaxprs(eqn)):
            self.unread.append((self._place(eqn, where).site, label.strip("_") or name))
        return self._follow(eqn, values)

    def _place(self, eqn: Any, where: str) -> Place:
        """Return where an operation stands, from the names that JAX keeps of what it traces."""
        paths = re.findall(rf"{AT}([^/()]*)", where)
        functions = [_function(eqn), *re.findall(rf"{CALLED}([^/]+)", where)[::-1], "function"]
        function = next(name for name in functions if name)
        where = re.sub(rf"/{CALLED}[^/]*", "", where)
        known = [path for path in paths if path != LOST]
        if known and (paths[-1] != LOST or known[-1] in self._own):
            path = known[-1]
            return Place(path if path in self._own else f"{path}.{function}" if path else function, path)
        where = where.rpartition(AT + LOST)[2]
        scopes = [part for part in re.sub(r"\w+\(([^()]*)\)", r"\1", where).split("/") if part.strip("()")]
        return Place(".".join(scopes) or function, None)

    def _mask(self, place: Place, bits: Any, one: Any) -> _Mark:
        self.masks.append(Mask(place, bits, jnp.reshape(one, (-1,))[:1] if jnp.size(one) == 1 else None))
        return _Mark(len(self.masks) - 1)

    def _scan(self, eqn: Any, inner: Any, values: list[_Value], where: str) -> list[_Value]:
        """Evaluate a loop: what it draws at a place is one mask."""
        params, first = eqn.params, len(self.masks)
        fixed, carried = params["num_consts"], params["num_consts"] + params["num_carry"]

        def body(carry: Any, x: Any) -> Any:
            del self.masks[first:]
            given = [_Value(const) for const in inner.consts]
            arrays = [*(value.array for value in values[:fixed]), *carry, *x]
            outs = [out.array for out in self._evaluate(inner.jaxpr, [*given, *map(_Value, arrays)], where)]
            size = carried - fixed
            return outs[:size], (outs[size:], [(mask.bits, mask.one) for mask in self.masks[first:]])

        self._inside += 1
        init, xs = ([value.array for value in part] for part in (values[fixed:carried], values[carried:]))
        carry, (ys, masks) = jax.lax.scan(
            body, init, xs, length=params["length"], reverse=params["reverse"], unroll=params["unroll"]
        )
        self._inside -= 1
        for mask, (bits, one) in zip(self.masks[first:], masks, strict=True):
            mask.bits, mask.one = bits, None if one is None else one[0]
        return [_Value(array) for array in (*carry, *ys)]

    def _hand_written(self, eqn: Any, inner: Any, values: list[_Value], where: str) -> list[_Value]:
        """Evaluate a function with a derivative of its own, and beside it what it draws."""
        outs = _bind(eqn, values)
        self._inside += 1
        given = [_Value(const) for const in inner.consts]
        stopped = [_Value(jax.lax.stop_gradient(value.array), literal=value.literal) for value in values]
        first = len(self.masks)
        self._evaluate(inner.jaxpr, [*given, *stopped], where)
        self._inside -= 1
        at = next((i for i, v in enumerate(values) if jnp.shape(v.array) == outs[0].shape and _floats(v.array)), None)
        self.hand_written = self.hand_written or len(self.masks) > first
        if self._compares and at is not None and len(self.masks) > first:

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
        if self._inside or not _floats(out) or jnp.shape(given.array) != out.shape:
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


def core_jaxprs(eqn: Any) -> list[Any]:
    """Return the jaxprs that an operation contains."""
    found = []
    for value in eqn.params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            inner = getattr(one, "jaxpr", one)
            if isinstance(inner, core.Jaxpr):
                found.append(inner)
    return found


def _inner(eqn: Any) -> Any:
    """Return the closed jaxpr that an operation runs; None where there is none, or more than one."""
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        found = eqn.params.get(key)
        if isinstance(found, core.Jaxpr):
            return core.ClosedJaxpr(found, ())
        if found is not None:
            return found
    return None


def _function(eqn: Any) -> str:
    """Return the name of the function outside of JAX that makes an operation; nothing where it has none."""
    frame = source_info_util.user_frame(eqn.source_info.traceback)
    name = str(getattr(frame, "function_name", "")).rpartition(".")[2]
    return "" if name.startswith("<") else name


def _draws(jaxpr: Any) -> bool:
    """Tell whether anything random is drawn in a jaxpr, or one inside it."""
    if jaxpr is None:
        return False
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    return any(
        eqn.primitive.name == "random_bits" or any(_draws(one) for one in core_jaxprs(eqn)) for eqn in inner.eqns
    )


def _bind(eqn: Any, values: list[_Value]) -> list[Any]:
    """Run an operation."""
    params = eqn.primitive.get_bind_params(eqn.params)
    functions, params = params if isinstance(params, tuple) else ((), params)
    found = eqn.primitive.bind(*functions, *(value.array for value in values), **params)
    return list(found) if eqn.primitive.multiple_results else [found]


def _literal(variable: Any) -> _Value:
    return _Value(variable.val, literal=_number(variable.val), number=True)


def _number(array: Any) -> float | None:
    if isinstance(array, int | float):
        return float(array)
    known = isinstance(array, np.ndarray | np.generic | jax.Array) and not isinstance(array, jax.core.Tracer)
    if known and array.size == 1 and np.issubdtype(array.dtype, np.number):
        return float(np.asarray(array).reshape(-1)[0])
    return None


def _is_number(value: _Value) -> bool:
    return value.number or value.literal is not None or jnp.size(value.array) == 1


def _floats(array: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(array), jnp.floating))
