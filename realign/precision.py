"""The precision of computations, by what devices support."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

_WITHOUT_FLOAT64 = {"mps"}


def use_tensor_cores() -> None:
    """Let float32 products of training be computed in TF32, on the GPUs that can; on a CPU this changes nothing."""
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True


def training_precision(accelerator: Any = "auto") -> Literal["bf16-mixed", "32-true"]:
    """What ``precision: auto`` stands for: bf16-mixed on CUDA GPUs that compute in it, 32-true elsewhere.

    Args:
        accelerator: Lightning's choice of device.
    """
    wanted = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return "bf16-mixed" if wanted and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Compute in true float32: no autocast and no TF32, whatever the training or the process around it has set.

    Measures are computed in this context, so that their digits do not depend on the caller.

    Args:
        device: Where the work is done.
    """
    switches = _switches()
    try:
        for put, _, exact in switches:
            put(exact)
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for put, before, _ in switches:
            put(before)


def _switches() -> list[tuple[Callable[[Any], Any], Any, Any]]:
    """Each switch: its setter, its value, and the value of exact float32."""
    backends: Any = torch.backends
    try:
        return [
            (torch.set_float32_matmul_precision, torch.get_float32_matmul_precision(), "highest"),
            (partial(setattr, backends.cudnn, "allow_tf32"), backends.cudnn.allow_tf32, False),
        ]
    except RuntimeError:  # operators were set one by one (torch 2.9), and there is no answer for all of them
        operators = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul]
        return [(partial(setattr, each, "fp32_precision"), each.fp32_precision, "ieee") for each in operators]


def widest(device: torch.device) -> torch.dtype:
    """float64, or float32 where the device supports nothing wider."""
    return torch.float32 if device.type in _WITHOUT_FLOAT64 else torch.float64


def double(x: Tensor) -> Tensor:
    """The same numbers in float64, on the CPU where the device has none."""
    return (x if widest(x.device) == torch.float64 else x.cpu()).double()
