"""What differs from one backend of Keras to another: callbacks of traced code, gradients, random states."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras.src import backend
from keras.src.backend.common import global_state
from keras.src.backend.common.remat import get_current_remat_mode
from keras.src.utils.jax_utils import is_in_jax_tracing_scope

NAME = keras.backend.backend()
_GENERATOR = "global_seed_generator"


def device(array: Any) -> str:
    """Return where an array is; of a traced one, which is nowhere yet, nothing."""
    device = "" if is_in_jax_tracing_scope(array) else getattr(array, "device", "")
    return str(device() if callable(device) else device)


def run(function: Callable[..., None], *arrays: Any) -> None:
    """Call a function with arrays: now, or each time that the traced code is run."""
    if NAME == "jax" and is_in_jax_tracing_scope():
        import jax

        # where order cannot be kept, turns still tell the draws of a site apart
        ordered = jax.device_count() == 1 and get_current_remat_mode() is None
        jax.debug.callback(function, *arrays, ordered=ordered)
    elif NAME == "tensorflow":
        import tensorflow as tf

        if tf.executing_eagerly():
            function(*arrays)
        else:
            tf.py_function(function, arrays, [])
    else:
        function(*arrays)


def task() -> int:
    """Return the number of the backward pass that is under way and runs layers again, or -1."""
    if NAME != "torch":
        return -1
    import torch

    number: int = torch._C._current_graph_task_id()
    return number


def settle() -> None:
    """Wait for callbacks of traced code."""
    if NAME == "jax":
        import jax

        jax.effects_barrier()


def with_gradient(function: Any, ones: Any) -> tuple[Any, Any] | None:
    """Return a function's output on ones, and the gradient of its sum; None where the backend has none."""
    if NAME == "torch":
        import torch

        with torch.enable_grad():
            given = ones.detach().requires_grad_(True)
            output = function(given)
            (gradient,) = torch.autograd.grad(output.sum(), given, allow_unused=True)
        gradient = torch.zeros_like(given) if gradient is None else gradient
    elif NAME == "jax":
        import jax

        output, backward = jax.vjp(function, ones)
        (gradient,) = backward(jax.numpy.ones_like(output))
    elif NAME == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(ones)
            output = function(ones)
        gradient = tape.gradient(output, ones, unconnected_gradients="zero")
    else:
        return None
    return np.asarray(backend.convert_to_numpy(output)), np.asarray(backend.convert_to_numpy(gradient))


def generators(model: Any) -> list[Any]:
    """Return the generators that a model's layers draw from, and Keras' own."""
    found = [generator for layer in model._flatten_layers() for generator in layer._seed_generators]
    own = global_state.get_global_attribute(_GENERATOR)
    return list({id(one): one for one in [*found, *([] if own is None else [own])]}.values())


def random_state(seeds: list[Any]) -> list[tuple[Any, Any]]:
    """Return what sets these generators, and the backend's own, back to where they are."""
    own = global_state.get_global_attribute(_GENERATOR)
    generators = [own if seed is None else seed for seed in seeds]
    state = [(one.state.assign, one.state.value * 1) for one in generators if hasattr(one, "state")]
    if NAME == "torch":
        import torch

        if torch.cuda.is_available():
            state.append((torch.cuda.set_rng_state, torch.cuda.get_rng_state()))
        state.append((torch.set_rng_state, torch.get_rng_state()))
    return state


def set_random_state(state: list[tuple[Any, Any]]) -> None:
    """Set generators back to what `random_state` found."""
    for put_back, value in state:
        put_back(value)
