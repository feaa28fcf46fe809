"""Draws of a Keras model, seen where layers ask the backend for them."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from types import FrameType
from typing import Any, NamedTuple

import keras
import numpy as np
from keras.src import backend
from keras.src.backend.common import global_state
from keras.src.backend.common.symbolic_scope import in_symbolic_scope
from keras.src.layers.rnn.dropout_rnn_cell import DropoutRNNCell
from keras.src.utils.jax_utils import is_in_jax_tracing_scope

from dropstats.models.keras import backends, declares
from dropstats.models.sites import Draw, Site, Sites

# What Keras keeps compiled code in.
_COMPILED = ("train_function", "test_function", "predict_function")
# Functions of the backend whose numbers may become a mask.
_NUMBERS = ("uniform", "normal", "truncated_normal", "randint", "binomial")
_ALPHA = keras.layers.AlphaDropout
# Recurrent layers draw their masks before they look whether they are in training.
_AHEAD = DropoutRNNCell._create_dropout_mask.__code__


class _Place(NamedTuple):
    """Where something is drawn; `ahead` says that it is before it is known whether it is of use."""

    site: str
    path: str
    layer: Any
    ahead: bool = False


class _Call(NamedTuple):
    """A call of somebody's own dropout layer that is under way: numbers that it drew, and how many masks before it."""

    layer: Any
    numbers: list[tuple[str, Any]]
    draws: int


class Recorder:
    """Stands in for the backend's random functions; hands each mask to the sites.

    In traced code, which is run later and many times, a mask is handed over by a callback that belongs to the code.
    """

    model: Any
    sites: Sites
    open: bool

    def __init__(self, model: Any, sites: Sites) -> None:
        self.model, self.sites = model, sites
        self.unseen: dict[str, str] = {}
        self.compares = False
        self.open = True
        self._paths = declares.layers(model)
        self._turns: dict[str, int] = {}
        self._calls: list[_Call] = []
        self._draws = 0

    def stand_in(self) -> Iterator[Callable[[], None]]:
        """Take the place of what draws; yield what puts each thing back."""
        functions: dict[str, Any] = {
            "dropout": self._dropout,
            **{name: partial(self._number, name) for name in _NUMBERS},
        }
        for name, function in functions.items():
            original = getattr(backend.random, name)
            setattr(backend.random, name, wraps(original)(partial(function, original)))
            yield partial(setattr, backend.random, name, original)
        for path, layer in self._paths.values():
            if not path or declares.is_own(layer):
                call = self._whole if not path else self._layer
                # Keras itself must not look at this attribute
                vars(layer)["call"] = wraps(layer.call)(partial(call, layer, layer.call))
                yield partial(vars(layer).pop, "call", None)

    def _whole(self, layer: Any, original: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the model itself: a pass."""
        if in_symbolic_scope() or backends.task() >= 0:
            return original(*args, **kwargs)
        self._turns.clear()
        training = kwargs.get("training")  # Keras' compiled steps give it here, and nowhere else
        backends.run(partial(self._begin, _training() if training is None else training))
        output = self._layer(layer, original, *args, **kwargs) if declares.is_own(layer) else original(*args, **kwargs)
        backends.run(self._end)
        return output

    def _begin(self, training: bool | None) -> None:
        if self.open:
            self.sites.begin(bool(training))

    def _end(self) -> None:
        if self.open:
            self.sites.end()

    def _layer(self, layer: Any, original: Any, *args: Any, **kwargs: Any) -> Any:
        """Call somebody's own dropout layer: if it draws no mask by Keras, the zeros of its output show it."""
        self._calls.append(_Call(layer, [], self._draws))
        try:
            output = original(*args, **kwargs)
        finally:
            call = self._calls.pop()
        unseen = call.draws == self._draws and not in_symbolic_scope() and _training() is not False
        if unseen and args and getattr(args[0], "shape", None) == getattr(output, "shape", ()):
            self._by_output(call, lambda x: original(x, *args[1:], **kwargs), args[0], output)
        return output

    def _by_output(self, call: _Call, function: Any, given: Any, output: Any) -> None:
        """See a mask by the zeros of the output: of the shape of what was drawn, where that is known."""
        path = self._paths[id(call.layer)][0]
        place = _Place(path or type(call.layer).__name__, path, call.layer)
        rate = next(iter(declares.rates(call.layer).values()), 0.0)
        if not rate or len(call.numbers) > 1:
            names = ", ".join(name for name, _ in call.numbers)
            if names:
                backends.run(partial(self._count, self.sites.unread, (place.site, names)))
            return
        shape = tuple(call.numbers[0][1].shape) if call.numbers else ()
        same = len(shape) == len(output.shape)
        axes = tuple(axis for axis, size in enumerate(shape) if same and size == 1 != output.shape[axis])
        kept, known = (backend.numpy.any(values != 0, axis=axes, keepdims=True) for values in (output, given))
        if self.compares:
            self._compare(place.site, function, backend.numpy.ones_like(given))
        self._hand(place, kept, rate, [known, output, given])

    def _place(self, function: str) -> _Place | None:
        """Return where in the model a function of the backend is called; None outside it."""
        if not self.open:
            return None
        frame: FrameType | None = sys._getframe(2)
        fresh = ahead = False
        while frame is not None:
            ahead = ahead or frame.f_code is _AHEAD
            if frame.f_code.co_varnames[:1] == ("self",):
                layer = frame.f_locals.get("self")
                if id(layer) not in self._paths and not fresh and declares.is_layer(layer):
                    # layers come to be when they are first called
                    self._paths, fresh = declares.layers(self.model), True
                if id(layer) in self._paths:
                    path = self._paths[id(layer)][0]
                    own = declares.rates(layer) or declares.is_dropout(layer)
                    site = path if own else f"{path}.{function}" if path else function
                    return _Place(site or type(layer).__name__, path, layer, ahead)
            frame = frame.f_back
        return None

    def _dropout(self, original: Any, inputs: Any, rate: float, noise_shape: Any = None, seed: Any = None) -> Any:
        """Drop as the backend does, and see the mask: what is made of ones from the same random state."""
        place = self._place("dropout")
        if place is None or not 0 < rate < 1 or in_symbolic_scope():
            return original(inputs, rate, noise_shape, seed)
        if place.ahead and _training() is False:
            backends.run(partial(self._count, self.sites.unused, place.site))
            return original(inputs, rate, noise_shape, seed)
        ones, draw = backend.numpy.ones_like(inputs), partial(original, rate=rate, noise_shape=noise_shape, seed=seed)
        before = backends.random_state([seed])
        noise = draw(ones)
        backends.set_random_state(before)
        output = draw(inputs)
        if noise_shape is not None:
            one = (isinstance(size, int) and size == 1 for size in noise_shape)
            noise = noise[tuple(slice(0, 1) if shared else slice(None) for shared in one)]
        if self.compares:
            self._compare(place.site, draw, ones)
        self._hand(place, noise != 0, rate, [noise])
        return output

    def _number(self, name: str, original: Any, *args: Any, **kwargs: Any) -> Any:
        """Draw as the backend does; see the mask of alpha dropout, the factors of noise, else note what was drawn."""
        result, place = original(*args, **kwargs), self._place(name)
        if place is None or in_symbolic_scope():
            return result
        if name == "uniform" and isinstance(place.layer, _ALPHA):
            self._hand(place, result >= place.layer.rate, place.layer.rate, [])
        elif name == "normal" and isinstance(place.layer, declares.NOISE):
            # what becomes of an input of 1
            factors = result + 1 if isinstance(place.layer, keras.layers.GaussianNoise) else result
            stddev = kwargs.get("stddev", args[2] if len(args) > 2 else 1.0)
            self._hand(place, factors > 1, declares.of_noise(stddev), [], factors)
        elif self._calls and self._calls[-1].layer is place.layer:
            self._calls[-1].numbers.append((name, result))
        else:
            backends.run(partial(self._count, self.sites.unread, (place.site, name)))
        return result

    def _count(self, counts: Counter[Any], key: Any) -> None:
        if self.open:
            counts[key] += 1

    def _compare(self, site: str, function: Any, ones: Any) -> None:
        """Hold the gradients of a function on ones against the zeros of its output."""
        self.open = False
        found = None if is_in_jax_tracing_scope() else backends.with_gradient(function, ones)
        self.open = True
        if found is not None:
            output, gradient = found
            self.sites.gradients.count(site, output.size, ((output == 0) != (gradient == 0)).sum())

    def _hand(self, place: _Place, kept: Any, rate: float, values: list[Any], factors: Any = None) -> None:
        """Hand a mask, or factors, to the sites: at once, or when the traced code is run."""
        self._draws += 1
        run = backends.task()
        turn = self._turns.get(place.site, 0) + (run < 0)
        self._turns[place.site] = turn
        dtype = backend.standardize_dtype([kept, *values, *([] if factors is None else [factors])][-1].dtype)
        draw = Draw(place.site, np.empty(0, bool), (), 1 - rate, dtype, backends.device(kept), "forward", _training())
        draw = draw._replace(module=place.path, recorder="function" if len(values) < 2 else "outputs", turn=turn)
        if backends.NAME == "torch":  # which draws again where layers are run again
            draw = draw._replace(phase="forward" if run < 0 else "recomputed", run=run)
            draw = draw._replace(regions=(hash((self.sites.passes, place.site)),))
        shape = backend.convert_to_tensor(list(keras.ops.shape(kept)), dtype="int32")
        width = self.sites.width(place.site, turn)
        given = [shape, _first(kept, width)]
        if factors is not None:
            draw = draw._replace(factors=np.empty(0))
            given.append(_first(backend.cast(factors, "float32"), Site.FACTORS))
        elif len(values) == 1:
            given.append(_first(values[0], Site.VALUES))
        elif values:
            known, output, inputs = values
            given += [_first(known, width), _first(output, Site.VALUES), _first(inputs, Site.VALUES)]
        backends.run(partial(self._take, draw), *given)

    def _take(self, draw: Draw, *given: Any) -> None:
        if not self.open:
            return
        shape, bits, *values = (np.asarray(backend.convert_to_numpy(array)) for array in given)
        draw = draw._replace(bits=bits, shape=tuple(map(int, shape)))
        if draw.factors is not None:
            draw, values = draw._replace(factors=values[0]), []
        if len(values) == 3:
            known, output, inputs = values
            if (draw.site, draw.turn) not in self.sites and bits.all() and np.array_equal(output, inputs):
                return
            site = self.sites.add(draw._replace(known=known))
        else:
            output = values[0] if values else np.empty(0)
            site, inputs = self.sites.add(draw), np.ones_like(output)
        if site is not None:
            site.keeps[True] += 1
            if site.wants_values:
                site.add_values(output, inputs)


def _first(array: Any, count: int) -> Any:
    return backend.numpy.reshape(array, (-1,))[:count]


def _training() -> bool | None:
    """Return whether the layer that is being called is in training."""
    context = global_state.get_global_attribute("current_call_ctx")
    return None if context is None else getattr(context, "training", None)


@contextmanager
def watching(model: Any, sites: Sites) -> Iterator[Recorder]:
    """See every draw that a model makes, also in code that Keras compiles: it is traced anew, at both ends."""
    recorder = Recorder(model, sites)
    with ExitStack() as stack:
        for put_back in recorder.stand_in():
            stack.callback(put_back)
        if isinstance(model, keras.Model):
            compiled = model._jit_compile
            stack.callback(setattr, model, "_jit_compile", compiled)
            if backends.NAME != "jax":  # XLA and Dynamo do not call back
                model._jit_compile = False
            for name in _COMPILED:
                setattr(model, name, None)
                stack.callback(setattr, model, name, None)
        yield recorder
        backends.settle()
        recorder.open = False  # code that was compiled elsewhere may still call back
