"""Learning-rate schedules counted in optimiser steps, and optimisers that step in one kernel."""

import math
from typing import Any

from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from realign.errors import InputError

_FUSED = {"cuda"}  # kinds of devices whose fused kernels are faster than a kernel for each operation


def fuse(optimizer: Optimizer) -> Optimizer:
    """Let Adam and AdamW step in one kernel where their weights are on CUDA, unless their options say otherwise.

    Elsewhere, and for other optimisers, torch chooses.
    """
    for group in optimizer.param_groups if isinstance(optimizer, Adam | AdamW) else ():
        chosen = group.get("fused") is not None or group.get("foreach") is not None or group.get("capturable")
        if not chosen and all(each.device.type in _FUSED and each.is_floating_point() for each in group["params"]):
            group["fused"] = True
    return optimizer


class WarmupCosine(LambdaLR):
    """Linear warm-up from zero, then half a cosine down to a floor.

    Args:
        optimizer: The optimiser whose rates are scaled.
        warmup_steps: Steps of the warm-up.
        total_steps: Step at which the floor is reached; None: the run's last, whatever its epochs, batches and
            processes. A task sets it when training starts.
        floor: Fraction of the rate that remains.
    """

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int, total_steps: int | None = None, floor: float = 0.0
    ) -> None:
        if warmup_steps < 0 or (total_steps is not None and warmup_steps >= total_steps):
            raise InputError(f"warmup_steps={warmup_steps} must be 0 or more and lie below total_steps={total_steps}.")
        self.warmup_steps, self.floor = warmup_steps, floor
        self.total_steps: float | None = total_steps
        super().__init__(optimizer, self.fraction)

    def fraction(self, step: int) -> float:
        """Fraction of the full rate at a step."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        left = math.inf if self.total_steps is None else max(1.0, self.total_steps - self.warmup_steps)
        progress = min(1.0, (step - self.warmup_steps) / left)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))

    def state_dict(self) -> dict[str, Any]:
        """The position in the schedule, without its options: a resumed run may be given more steps."""
        options = ("warmup_steps", "total_steps", "floor")
        return {name: value for name, value in super().state_dict().items() if name not in options}
