"""Copies from the host to a device that nobody waits for."""

from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor

PINNED = {"cuda"}
"""Kinds of devices that copy from page-locked memory while the host goes on."""


def upload(values: Tensor, device: torch.device | str | None) -> Tensor:
    """The values on a device; a copy from the host neither waits for the device nor stops it.

    Elsewhere than on CUDA a copy that is not waited for may read memory that was freed, so it is waited for.

    Args:
        values: Numbers anywhere.
        device: Where they are wanted; where they are when None.
    """
    if device is None or values.device == torch.device(device):
        return values
    if torch.device(device).type not in PINNED or values.device.type != "cpu":
        return values.to(device)
    return (values if values.is_pinned() else values.pin_memory()).to(device, non_blocking=True)


@lru_cache(maxsize=64)
def places(indices: tuple[int, ...], device: torch.device) -> Int[Tensor, "N"]:
    """Fixed positions to index with, copied to a device once: a list of them would be copied at every use."""
    with torch.inference_mode(False):
        return upload(torch.tensor(indices), device)
