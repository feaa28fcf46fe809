"""Masks of fused attention, which keeps them to itself: found by running it again on values that show them."""

import math
from functools import cache
from typing import Any, NamedTuple

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


class Call(NamedTuple):
    """A call of attention, the random state before it, and the mask that it drew with where this can be told."""

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    state: torch.Tensor
    kept: torch.Tensor | None = None
    known: torch.Tensor | None = None

    @property
    def axis(self) -> int:
        """The axis of the queries and the keys."""
        return -3 if str(self.func).startswith(_HEADS_LAST) else -2

    def again(self, changed: dict[int, Any]) -> torch.Tensor:
        """Return the output of the call with other arguments and the same random numbers."""
        given = [changed.get(index, argument) for index, argument in enumerate(self.args)]
        generators.set_state(self.args[0].device, self.state)
        result = self.func(*given, **self.kwargs)
        output: torch.Tensor = result if isinstance(result, torch.Tensor) else result[0]
        return output


def mask(call: Call, neurons: int = 2**62) -> tuple[torch.Tensor, torch.Tensor, tuple[int, ...]] | None:
    """Return the mask of a call of attention, where it can be told, and its shape: (batch, heads, queries, keys).

    The call is repeated from the random state before it, with queries of zeros, so that each key that may be looked at
    has the same weight, and with values that are columns of the identity, so that the output is the weights themselves;
    and once more without dropout, which tells the keys that may not be looked at. Of the batch as much is returned as
    has so many neurons; nothing where sequences of unlike length are packed into one.
    """
    at = places(call.func)
    assert at is not None
    names = [argument.name for argument in call.func._schema.arguments[: len(call.args)]]
    packed = [one for name, one in zip(names, call.args, strict=True) if name.startswith(_PACKED)]
    query, value, p = (call.args[index] for index in at)
    if value.ndim != 4 or any(isinstance(one, torch.Tensor) for one in packed):
        return None
    keys, width = value.shape[call.axis], value.shape[-1]
    zeros, shape = torch.zeros_like(query), tuple[int, ...]()
    shown: list[list[torch.Tensor]] = [[], []]
    with generators.kept(query.device):
        for left in range(0, keys, width):
            count = min(width, keys - left)
            values = _columns(value, call.axis, left, count)
            for seen, rate in zip(shown, (p, 0.0), strict=True):
                output = call.again({at[0]: zeros, at[1]: values, at[2]: rate}).transpose(call.axis, -2)
                shape = (*output.shape[:-1], keys)
                seen.append(output[: -(-neurons // math.prod(shape[1:])), ..., :count] != 0)
    kept, known = (torch.cat(seen, -1) for seen in shown)
    return kept, known, shape


def gradient(call: Call) -> torch.Tensor | None:
    """Return where the gradient of a call's values is not zero, as its mask is laid out; None where there is none.

    With queries of zeros, the gradient of a key's value with respect to the output of a query is their weight, which is
    zero where it was dropped; gradients of the output that are columns of the identity tell the queries apart.
    """
    at = places(call.func)
    assert at is not None
    query = call.args[at[0]]
    value = torch.ones_like(call.args[at[1]]).requires_grad_()
    width, shown = query.shape[-1], []
    with generators.kept(query.device), torch.enable_grad():
        for left in range(0, query.shape[call.axis], width):
            output = call.again({at[0]: torch.zeros_like(query), at[1]: value})
            if not output.requires_grad:
                return None
            count = min(width, query.shape[call.axis] - left)
            (inner,) = torch.autograd.grad(output, value, _columns(output, call.axis, left, count))
            shown.append(inner.transpose(call.axis, -2)[..., :count] != 0)
    return torch.cat(shown, -1).transpose(-1, -2)


def _columns(tensor: torch.Tensor, axis: int, left: int, count: int) -> torch.Tensor:
    """Return zeros but for these positions of an axis, each of which has a one in a column of its own."""
    columns = torch.zeros_like(tensor)
    ones = columns.transpose(axis, -2)
    ones[..., torch.arange(left, left + count), torch.arange(count)] = 1
    return columns
