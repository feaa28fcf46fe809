"""The random states of torch's own generators, one a device."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def state(device: torch.device) -> torch.Tensor:
    """Return the state of a device's generator."""
    if device.type == "cpu":
        return torch.get_rng_state()
    found: torch.Tensor = torch.get_device_module(device).get_rng_state(*_which(device))
    return found


def set_state(device: torch.device, given: torch.Tensor) -> None:
    """Set the state of a device's generator."""
    if device.type == "cpu":
        torch.set_rng_state(given)
    else:
        torch.get_device_module(device).set_rng_state(given, *_which(device))


def _which(device: torch.device) -> list[torch.device]:
    return [] if device.type == "mps" else [device]  # of which there is one


@contextmanager
def kept(device: torch.device) -> Iterator[None]:
    """Put the state of a device's generator back, whatever happens."""
    before = state(device)
    try:
        yield
    finally:
        set_state(device, before)


def states() -> dict[torch.device, torch.Tensor]:
    """Return the states of the generators of all devices that are in use."""
    devices = [torch.device("cpu")]
    if torch.accelerator.is_available():
        kind: Any = torch.accelerator.current_accelerator()
        if getattr(torch.get_device_module(kind), "is_initialized", lambda: True)():
            devices += [torch.device(kind.type, index) for index in range(torch.accelerator.device_count())]
    return {device: state(device) for device in devices}
