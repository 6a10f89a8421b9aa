"""Several rewards at once, each with its own strength and window."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from realign.diffusion.windows import WindowPlan
from realign.errors import InputError
from realign.guidance.composed import Together
from realign.guidance.steering import GradientSteering, RewardSteering, Steering
from realign.interfaces import TextToMotionModel


class SeveralRewards(GradientSteering):
    """Steers by the sum of the gradients of several rewards.

    Args:
        parts: What steers by each; the first one's objective rates the motions.

    Raises:
        InputError: There is none, or one does not steer by a gradient.
    """

    def __init__(self, parts: Sequence[Steering]) -> None:
        wrong = next((each for each in parts if not isinstance(each, RewardSteering)), None)
        if wrong is not None or not parts:
            shown = "none" if wrong is None else type(wrong).__name__
            raise InputError(
                f"Several rewards steer by their gradients together, but got {shown}; load each as 'reward'."
            )
        super().__init__(parts[0].objective)
        self.parts = [each for each in parts if isinstance(each, RewardSteering)]

    def check(self, generator: TextToMotionModel) -> None:
        """Refuse a generator that one of the rewards does not fit."""
        for part in self.parts:
            part.check(generator)

    def to(self, device: torch.device) -> "SeveralRewards":
        """Move the rewards."""
        for part in self.parts:
            part.to(device)
        return self

    def bound(
        self,
        generator: TextToMotionModel,
        captions: Sequence[str],
        lengths: Int[Tensor, "B"],
        seeds: Int[Tensor, "B"],
        exclude: Sequence[str] | None = None,
        plan: WindowPlan | None = None,
    ) -> Together:
        """All of them, in order; arguments as in `GradientSteering`."""
        return Together([part.bound(generator, captions, lengths, seeds, exclude, plan) for part in self.parts])
