"""Masks of fused attention, which keeps them to itself: found by running it again on values that show them."""

from typing import Any

import torch

_ARGUMENTS = ("query", "key", "value", "dropout_p")


def places(func: Any) -> dict[str, int] | None:
    """Return where attention takes its arguments; None of another operation."""
    found = {argument.name: index for index, argument in enumerate(func._schema.arguments)}
    return found if all(name in found for name in _ARGUMENTS) else None


def rate(func: Any, args: tuple[Any, ...]) -> float:
    """Return the drop probability that a call asks for."""
    return float(args[(places(func) or {})["dropout_p"]])


def random_state(device: torch.device) -> torch.Tensor:
    """Return the state of a device's own generator."""
    if device.type == "cuda" and torch.cuda.is_available():
        return torch.cuda.get_rng_state(device)
    return torch.get_rng_state()


def set_random_state(device: torch.device, state: torch.Tensor) -> None:
    """Set the state of a device's own generator."""
    if device.type == "cuda" and torch.cuda.is_available():
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def mask(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], state: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mask of a call of attention, (batch, heads, queries, keys), and where it can be told.

    The call is repeated from the random state before it, with queries of zeros, so that each key that may be looked at
    has the same weight, and with values that are columns of the identity, so that the output is the weights themselves;
    and once more without dropout, which tells the keys that may not be looked at.
    """
    at = places(func)
    assert at is not None
    query, value = args[at["query"]], args[at["value"]]
    device, width, keys = query.device, value.shape[-1], value.shape[-2]
    after = random_state(device)
    given = list(args)
    given[at["query"]] = torch.zeros_like(query)
    shown: list[list[torch.Tensor]] = [[], []]
    for left in range(0, keys, width):
        columns = torch.zeros_like(value)
        count = min(width, keys - left)
        columns[..., torch.arange(left, left + count), torch.arange(count)] = 1
        given[at["value"]] = columns
        for seen, p in zip(shown, (args[at["dropout_p"]], 0.0), strict=True):
            given[at["dropout_p"]] = p
            set_random_state(device, state)
            result = func(*given, **kwargs)
            output = result if isinstance(result, torch.Tensor) else result[0]
            seen.append(output[..., :count] != 0)
    set_random_state(device, after)
    kept, known = (torch.cat(seen, -1) for seen in shown)
    return kept, known
