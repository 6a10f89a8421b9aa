"""In how many bits numbers are computed: the one place that sets it, and that knows what devices can."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_WITHOUT_FLOAT64 = {"mps"}


def use_tensor_cores() -> None:
    """Let float32 products of training be computed in TF32, on the GPUs that can; on a CPU this changes nothing."""
    _set("high", True)


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Compute in float32 proper: no autocast and no TF32, whatever the training or the process around it has set.

    What measures works under it, so that it finds the same digits wherever it is called from; outside all is as before.

    Args:
        device: Where the work is done.
    """
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    _set("highest", False)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        _set(*before)


def _set(products: str, convolutions: bool) -> None:
    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32 = convolutions


def widest(device: torch.device) -> torch.dtype:
    """float64, or float32 where the device knows nothing wider."""
    return torch.float32 if device.type in _WITHOUT_FLOAT64 else torch.float64


def double(x: Tensor) -> Tensor:
    """The same numbers in float64, on the CPU where the device knows none."""
    return (x if widest(x.device) == torch.float64 else x.cpu()).double()
