"""What an operation of a jaxpr is: the jaxprs inside it, whether it draws, where it was written."""

from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from jax._src import source_info_util
from jax.extend import core

# Operations that are run again in the backward pass.
CHECKPOINT = ("checkpoint", "remat", "remat2")
# Operations that draw.
RANDOM = ("random_bits", "random_gamma", "rng_bit_generator", "rng_uniform")


def jaxprs_of(eqn: Any) -> list[Any]:
    """Return the jaxprs that an operation contains."""
    found = []
    for value in eqn.params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            inner = getattr(one, "jaxpr", one)
            if isinstance(inner, core.Jaxpr):
                found.append(inner)
    return found


def inner_of(eqn: Any) -> Any:
    """Return the closed jaxpr that an operation runs; None where there is none, or more than one."""
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        found = eqn.params.get(key)
        if isinstance(found, core.Jaxpr):
            return core.ClosedJaxpr(found, ())
        if found is not None:
            return found
    return None


def function_of(eqn: Any) -> str:
    """Return the name of the function outside of JAX that makes an operation; nothing where it has none."""
    frame = source_info_util.user_frame(eqn.source_info.traceback)
    name = str(getattr(frame, "function_name", "")).rpartition(".")[2]
    return "" if name.startswith("<") else name


def draws(jaxpr: Any) -> bool:
    """Tell whether anything random is drawn in a jaxpr, or one inside it."""
    if jaxpr is None:
        return False
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    return any(eqn.primitive.name in RANDOM or any(draws(one) for one in jaxprs_of(eqn)) for eqn in inner.eqns)


def limit_of(closed: Any) -> int:
    """Return which argument of JAX's Bernoulli draw its uniform numbers are compared with."""
    compared = next(eqn.invars[1] for eqn in reversed(closed.jaxpr.eqns) if eqn.primitive.name == "lt")
    return next((i for i, given in enumerate(closed.jaxpr.invars) if given is compared), 1)


def apart(array: Any) -> Any:
    """Return an array that a compiler does not take for the one that it is, keys included."""
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        data = jax.lax.optimization_barrier(jax.random.key_data(array))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
    return jax.lax.optimization_barrier(array)


def checkpointed(jaxpr: Any) -> bool:
    """Tell whether anything is drawn in a part of a jaxpr that is computed again in the backward pass."""
    return any(
        draws(eqn.params["jaxpr"]) if eqn.primitive.name in CHECKPOINT else any(map(checkpointed, jaxprs_of(eqn)))
        for eqn in jaxpr.eqns
    )


def number(array: Any) -> float | None:
    """Return the number that an array is known to hold; None where it is not known."""
    if isinstance(array, int | float):
        return float(array)
    known = isinstance(array, np.ndarray | np.generic | jax.Array) and not isinstance(array, jax.core.Tracer)
    if known and array.size == 1 and jnp.issubdtype(array.dtype, jnp.number):
        return float(np.asarray(array).reshape(-1)[0])
    return None


def is_float(array: Any) -> bool:
    """Tell whether an array has a floating-point type."""
    return bool(jnp.issubdtype(getattr(array, "dtype", None) or jnp.result_type(array), jnp.floating))
