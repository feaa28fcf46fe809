"""Masks of fused attention, which keeps them to itself: found by running it again on values that show them."""

import math
from functools import cache
from typing import Any

import torch

from dropstats.models.torch import generators

_NAMES = (("query", "key", "value", "dropout_p"), ("q", "k", "v", "dropout_p"))
# Kernels of which the axis before the last is that of the heads, and the one before that the keys'.
_HEADS_LAST = ("aten._flash_attention_forward", "aten._efficient_attention_forward", "flash_attn.")
# Arguments that pack sequences of unlike length into one.
_PACKED = ("cum_seq", "cu_seqlens")


@cache
def places(func: Any) -> tuple[int, int, int] | None:
    """Return where attention takes its queries, its values and its rate; None of another operation, or of a gradient.

    A gradient is given the seed of the forward pass, and draws nothing.
    """
    found = {argument.name: index for index, argument in enumerate(func._schema.arguments)}
    for query, key, value, rate in _NAMES:
        if {query, key, value, rate} <= found.keys() and "backward" not in str(func):
            return found[query], found[value], found[rate]
    return None


def mask(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], state: torch.Tensor, neurons: int = 2**62
) -> tuple[torch.Tensor, torch.Tensor, tuple[int, ...]] | None:
    """Return the mask of a call of attention, where it can be told, and its shape: (batch, heads, queries, keys).

    The call is repeated from the random state before it, with queries of zeros, so that each key that may be looked at
    has the same weight, and with values that are columns of the identity, so that the output is the weights themselves;
    and once more without dropout, which tells the keys that may not be looked at. Of the batch as much is returned as
    has so many neurons; nothing where sequences of unlike length are packed into one.
    """
    at = places(func)
    assert at is not None
    given = list(args)
    arguments = [argument.name for argument in func._schema.arguments[: len(given)]]
    packed = [value for name, value in zip(arguments, given, strict=True) if name.startswith(_PACKED)]
    query, value, p = (given[index] for index in at)
    if value.ndim != 4 or any(isinstance(one, torch.Tensor) for one in packed):
        return None
    axis = -3 if str(func).startswith(_HEADS_LAST) else -2
    keys, width = value.shape[axis], value.shape[-1]
    given[at[0]] = torch.zeros_like(query)
    shown: list[list[torch.Tensor]] = [[], []]
    shape: tuple[int, ...] = ()
    with generators.kept(query.device):
        for left in range(0, keys, width):
            count = min(width, keys - left)
            given[at[1]] = _columns(value, axis, left, count)
            for seen, rate in zip(shown, (p, 0.0), strict=True):
                given[at[2]] = rate
                generators.set_state(query.device, state)
                result = func(*given, **kwargs)
                output = result if isinstance(result, torch.Tensor) else result[0]
                output = output if axis == -2 else output.transpose(-2, -3)
                shape = (*output.shape[:-1], keys)
                seen.append(output[: -(-neurons // math.prod(shape[1:])), ..., :count] != 0)
    kept, known = (torch.cat(seen, -1) for seen in shown)
    return kept, known, shape


def _columns(value: torch.Tensor, axis: int, left: int, count: int) -> torch.Tensor:
    """Return values of zeros but for these keys, each of which is a column of its own."""
    columns = torch.zeros_like(value)
    ones = columns.transpose(axis, -2)
    ones[..., torch.arange(left, left + count), torch.arange(count)] = 1
    return columns
