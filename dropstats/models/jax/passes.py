"""Passes of a JAX function or module that an audit makes, and what they may change."""

import inspect
from typing import Any, Self

import jax
import numpy as np
from jax import numpy as jnp

from dropstats.models.jax import modules
from dropstats.models.jax.traced import Drawn, Traced, compare
from dropstats.models.sites import Declared, Draw, Sites

# Seed of the passes whose keys nobody sees.
_SEED = 20_140_615


class _Keyed:
    """A function of a key, or an equinox module that takes one: each pass has a key of its own."""

    def __init__(self, model: Any, inputs: tuple[Any, ...], keywords: dict[str, Any], evaluation: Any = None) -> None:
        self._model, self._inputs, self._keywords = model, inputs, keywords
        self._evaluation = model if evaluation is None else evaluation
        self._passes = 0
        for function in (self._model, self._evaluation):
            self._check(function)

    def _check(self, function: Any) -> None:
        """Raise TypeError where a function cannot be called with a key and the inputs."""
        equinox = modules.is_equinox(function)
        inputs, keywords = self._inputs, self._keywords
        given, names = (inputs, {**keywords, "key": None}) if equinox else ((None, *inputs), keywords)
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # of a function that has none
            return
        try:
            bound = signature.bind(*given, **names)
            if not equinox and "key" in list(bound.arguments)[1:]:
                raise TypeError("the key comes first")
        except TypeError as error:
            name = type(function).__name__ if equinox else getattr(function, "__name__", type(function).__name__)
            call = "(*inputs, key=key)" if equinox else "(key, *inputs)"
            raise TypeError(
                f"model is called as model{call}, with {len(inputs)} inputs; got {name}{signature}: {error}"
            ) from None

    def trained(self, training: bool) -> Any:
        """Return the model in training or evaluation mode."""
        if not modules.is_equinox(self._model):
            return self._model if training else self._evaluation
        import equinox

        return equinox.nn.inference_mode(self._model, not training)

    def function(self, training: bool, called: list[Declared]) -> Any:
        """Return the function to trace, of what `argument` returns: its output, and what is kept of it."""
        model = self.trained(training)

        def function(key: Any) -> Any:
            with modules.named(model, called):
                if modules.is_equinox(model):
                    return model(*self._inputs, key=key, **self._keywords), ()
                return model(key, *self._inputs, **self._keywords), ()

        return function

    def argument(self, seed: int | None) -> Any:
        """Return the key of the next pass, or that of a seed."""
        self._passes += 1
        return jax.random.fold_in(jax.random.key(_SEED), self._passes) if seed is None else jax.random.key(seed)

    def keep(self, state: Any) -> None:
        """Keep nothing."""

    def arrays(self) -> dict[str, list[Any]]:
        """Return what a pass may change."""
        return {}


class _Stateful:
    """A module of flax.nnx, which keeps its keys and counts them up."""

    def __init__(self, model: Any, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        from flax import nnx

        self._nnx, self._inputs, self._keywords = nnx, inputs, keywords
        self._model = nnx.clone(model)
        self._state = nnx.split(self._model)[1]

    def function(self, training: bool, called: list[Declared]) -> Any:
        """Return the function to trace, of what `argument` returns: its output, and what is kept of it."""
        nnx = self._nnx
        self._model.train() if training else self._model.eval()
        graph, _ = nnx.split(self._model)

        def function(state: Any) -> Any:
            model = nnx.merge(graph, state)
            with modules.named(model, called):
                output = model(*self._inputs, **self._keywords)
            return output, nnx.split(model)[1]

        return function

    def argument(self, seed: int | None) -> Any:
        """Return the state; with a seed, equal keys become equal keys of this seed, and are used from the first."""
        if seed is None:
            return self._state
        nnx = self._nnx
        fresh: dict[bytes, Any] = {}

        def reseeded(variable: Any) -> Any:
            if not isinstance(variable, nnx.RngState):
                return variable
            value = variable[...]
            if isinstance(variable, nnx.RngCount):
                return variable.replace(jnp.zeros_like(value))
            data = np.asarray(jax.random.key_data(value)).tobytes()
            key = fresh.setdefault(data, jax.random.fold_in(jax.random.key(seed), len(fresh)))
            return variable.replace(jnp.broadcast_to(key, value.shape))

        return jax.tree.map(reseeded, self._state, is_leaf=lambda one: isinstance(one, nnx.Variable))

    def keep(self, state: Any) -> None:
        """Keep the state after a pass: the next begins with it."""
        self._state = state

    def arrays(self) -> dict[str, list[Any]]:
        """Return what a pass may change."""
        nnx = self._nnx
        leaves = jax.tree.leaves(self._state, is_leaf=lambda one: isinstance(one, nnx.Variable))
        found: dict[str, list[Any]] = {"random state": [], "buffers": []}
        for one in leaves:
            if isinstance(one, nnx.RngState):
                value = one[...]
                keys = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
                found["random state"].append(np.asarray(jax.random.key_data(value) if keys else value))
            elif not isinstance(one, nnx.Param):
                found["buffers"] += [np.asarray(leaf) for leaf in jax.tree.leaves(one)]
        return found


class _State:
    """What passes may change, as it is now."""

    def __init__(self, kind: Any) -> None:
        self._kind, self._arrays = kind, kind.arrays()

    def changed(self) -> list[str]:
        """Return what differs by now: 'random state', 'buffers'."""
        now = self._kind.arrays()
        return [what for what, then in self._arrays.items() if not all(map(np.array_equal, then, now[what]))]


class Passes:
    """Runs a function or module on given inputs; a context that leaves it as it was."""

    has_modes: bool

    def __init__(self, model: Any, inputs: tuple[Any, ...], keywords: dict[str, Any], *evaluation: Any) -> None:
        model = modules.unwrapped(model)
        kind = _Stateful if modules.is_nnx(model) else _Keyed
        self._kind: Any = kind(model, inputs, keywords, *evaluation)
        self._inputs = (inputs, keywords)
        self.has_modes = modules.is_module(model) or bool(evaluation)
        self._training = True
        self._known = modules.declared(model)
        self.called: list[Declared] = []  # rates of modules that are known once they are called
        self._traced: dict[bool, Traced] = {}
        self._stale = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the model, which no pass has changed."""

    def state(self) -> _State:
        """Return what passes may change as it is now, to compare with later."""
        return _State(self._kind)

    def set_mode(self, training: bool) -> None:
        """Put the module into training or evaluation mode."""
        self._stale = training != self._training
        self._training = training

    def run(self, sites: Sites, *, gradient: bool = False, seed: int | None = None) -> list[Any]:
        """Run the function once and return the arrays of its output, in a fixed order."""
        argument = self._kind.argument(seed)
        traced = self._traced.get(self._training)
        if traced is None or self._stale:  # it may have become another function since
            function = self._kind.function(self._training, self.called)
            fresh = Traced(function, argument, self.called, self._known)
            traced = traced if traced is not None and traced.does_as(fresh) else fresh
            self._traced[self._training], self._stale = traced, False
        outs, masks, unread = traced(argument)
        output, state = jax.tree.unflatten(traced.tree, outs)
        if seed is None:
            self._kind.keep(state)
        sites.begin(self._training)
        for drawn in masks:
            if drawn.mask.place.phase == "forward":
                self._hand(sites, drawn)
        compare(masks, sites)
        for site, what in unread:
            sites.unread[site, what] += 1
        sites.end()
        if gradient:
            traced.compare(argument, sites)
        return [np.asarray(leaf) for leaf in jax.tree.leaves(output)]

    def _hand(self, sites: Sites, drawn: Drawn) -> None:
        place, bits, values = drawn.mask.place, drawn.bits, drawn.values
        kept = np.asarray(jnp.reshape(bits, (-1,))[: sites.width(place.site, drawn.turn)]) != 0
        dtype = str(values[0][0].dtype if values else bits.dtype)
        device = str(next(iter(bits.devices()))) if isinstance(bits, jax.Array) else ""
        draw = Draw(place.site, kept, tuple(bits.shape), drawn.one, dtype, device, "forward", self._training)
        site = sites.add(draw._replace(module=place.module, recorder="jaxpr", turn=drawn.turn))
        if site is None:
            return
        for keeps in drawn.mask.keeps:
            site.keeps[keeps] += 1
        if values and site.wants_values:
            site.add_values(*map(np.asarray, values[0]))

    @staticmethod
    def equal(first: list[Any], second: list[Any]) -> bool:
        """Tell whether two passes gave the same output, bit for bit."""
        same = (a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=False))
        return len(first) == len(second) and all(same)

    def described(self) -> str:
        """Return the shapes of the inputs, for messages."""
        given = jax.tree.leaves(self._inputs)
        return ", ".join(str(tuple(one.shape)) for one in given if hasattr(one, "shape")) or "none"
