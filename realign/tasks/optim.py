"""Learning-rate schedules counted in optimiser steps."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from realign.errors import InputError


class WarmupCosine(LambdaLR):
    """Linear warm-up from zero, then half a cosine down to a floor.

    Args:
        optimizer: The optimiser whose rates are scaled.
        warmup_steps: Steps of the warm-up.
        total_steps: Step at which the floor is reached.
        floor: Share of the rate that remains.
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int, total_steps: int, floor: float = 0.0) -> None:
        if not 0 <= warmup_steps < total_steps:
            raise InputError(f"warmup_steps={warmup_steps} must lie below total_steps={total_steps}.")
        self.warmup_steps, self.total_steps, self.floor = warmup_steps, total_steps, floor
        super().__init__(optimizer, self.share)

    def share(self, step: int) -> float:
        """Share of the full rate at a step."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        progress = min(1.0, (step - self.warmup_steps) / (self.total_steps - self.warmup_steps))
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))
