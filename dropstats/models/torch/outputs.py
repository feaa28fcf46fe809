"""Masks told from what goes into and comes out of a dropout module."""

import numpy as np
import torch

from dropstats.models.sites import Draw, Sites
from dropstats.models.torch import declares


def code(given: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """Return 1 where an output was kept, 0 where dropped, 2 where it cannot be told: the input is 0, the output NaN."""
    return torch.where((given == 0) | (output != output), 2, (output != 0).to(torch.uint8)).to(torch.uint8)


def add(
    sites: Sites,
    path: str,
    module: torch.nn.Module,
    codes: torch.Tensor,
    output: torch.Tensor,
    given: torch.Tensor,
) -> None:
    """Add a draw from the codes of a call and its first outputs and inputs."""
    flat = np.asarray(codes.detach().reshape(-1)[: sites.width(path)].cpu().numpy())
    p = [rate for _, rate in declares.attributes(module, path)]
    one = 1 - p[0] if len(p) == 1 else None
    dtype, device = str(output.dtype).removeprefix("torch."), str(codes.device)
    draw = Draw(path, flat == 1, tuple(codes.shape), one, dtype, device, module=path, recorder="outputs")
    site = sites.add(draw._replace(known=flat != 2))
    if site is not None and site.wants_values:
        site.add_values(output.detach().cpu(), given.detach().cpu())
