"""Passes of a Keras model that an audit makes, and the state of the model before them, to which it returns."""

import random
from contextlib import ExitStack
from typing import Any, Self

import keras
import numpy as np
from keras.src import backend

from dropstats.models.keras import backends
from dropstats.models.keras.draws import watching
from dropstats.models.sites import Sites


class State:
    """The random state and the variables, but weights, of a model as they are now."""

    def __init__(self, model: Any) -> None:
        self._model = model
        generators = backends.generators(model)
        self._random = backends.random_state(generators)
        self._host = (random.getstate(), np.random.get_state())  # noqa: NPY002
        seeds = {id(one.state) for one in generators}
        self._variables = [(one, one.numpy()) for one in model.non_trainable_variables if id(one) not in seeds]

    def changed(self) -> list[str]:
        """Return what differs by now: 'random state', 'buffers'."""
        now = State(self._model)
        before, after = ([np.asarray(value) for _, value in one._random] for one in (self, now))
        same = len(before) == len(after) and all(map(np.array_equal, before, after))
        found = [] if same and repr(now._host) == repr(self._host) else ["random state"]
        if not all(np.array_equal(old, one.numpy(), equal_nan=True) for one, old in self._variables):
            found.append("buffers")
        return found

    def restore(self) -> None:
        """Put everything back."""
        backends.set_random_state(self._random)
        random.setstate(self._host[0])
        np.random.set_state(self._host[1])  # noqa: NPY002
        for variable, value in self._variables:
            variable.assign(value)


class Passes:
    """Runs a model on given inputs; a context that leaves the model as it was."""

    has_modes = True
    called: tuple[Any, ...] = ()

    def __init__(self, model: Any, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self._model, self._inputs, self._keywords = model, inputs, keywords
        self._training = True

    def __enter__(self) -> Self:
        if not all(layer.built for layer in self._model._flatten_layers()):
            self._model(*self._inputs, **self._keywords, training=False)
        self._state = State(self._model)
        self._stack = ExitStack()
        self._stack.callback(self._state.restore)
        self._recorder = self._stack.enter_context(watching(self._model, Sites()))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def state(self) -> State:
        """Return the state of the model as it is now, to compare with later."""
        return State(self._model)

    def set_mode(self, training: bool) -> None:
        """Call the model with this `training` from now on."""
        self._training = training

    def run(self, sites: Sites, *, gradient: bool = False, seed: int | None = None) -> list[Any]:
        """Run the model once and return the arrays of its output, in a fixed order."""
        if seed is not None:
            keras.utils.set_random_seed(seed)
            for number, generator in enumerate(backends.generators(self._model)):
                generator.state.assign(np.array([seed, number], dtype=backend.random_seed_dtype()))
        self._recorder.sites, self._recorder.compares = sites, gradient
        output = self._model(*self._inputs, **self._keywords, training=self._training)
        backends.settle()
        arrays = [one for one in keras.tree.flatten(output) if backend.is_tensor(one)]
        return [np.asarray(backend.convert_to_numpy(one)) for one in arrays]

    @staticmethod
    def equal(first: list[Any], second: list[Any]) -> bool:
        """Tell whether two passes gave the same output, bit for bit."""
        same = (a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=False))
        return len(first) == len(second) and all(same)

    def described(self) -> str:
        """Return the shapes of the inputs, for messages."""
        given = keras.tree.flatten([self._inputs, self._keywords])
        return ", ".join(str(tuple(one.shape)) for one in given if hasattr(one, "shape")) or "none"
