"""Copies from the host to a device without waiting."""

from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor

PINNED = {"cuda"}
"""Kinds of devices that copy from page-locked memory while the host continues."""


def upload(values: Tensor, device: torch.device | str | None) -> Tensor:
    """The values on a device; a copy from the host to CUDA does not wait.

    On other devices a copy without waiting might read freed memory, so it waits.

    Args:
        values: Values on any device.
        device: The target device; None leaves them in place.
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
