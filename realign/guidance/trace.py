"""The reward of samples along the timesteps of sampling."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

from realign.diffusion.path import CLEAN_STEP
from realign.diffusion.prediction import PredictionType, to_sample
from realign.diffusion.solver import Evaluation, Solver
from realign.diffusion.steered import SteeredSteps, Steers
from realign.guidance.gradient import RewardGradient
from realign.masking import apply_mask
from realign.precision import exact_float32


class RewardTrace(Steers):
    """Records the reward at every call of the model, and guides by it or leaves the samples as they are.

    It is handed to the sampler in place of the guidance. What it records stays on the device, so that no step waits.

    Args:
        guidance: The reward, bound to the captions of the samples, as from `RewardSteering.guidance`.
        steer: Also guide by it; otherwise samples are those without guidance.
        point: Record the reward of the predicted clean samples, or that of the noisy samples at their timestep.

    Attributes:
        timesteps: Timestep of each call in the last sampling.
    """

    def __init__(self, guidance: RewardGradient, steer: bool = True, point: Literal["x0", "x_t"] = "x0") -> None:
        self.guidance, self.steer, self.point = guidance, steer, point
        self.timesteps: list[float] = []
        self._rewards: list[Tensor] = []

    @property
    def rewards(self) -> Float[Tensor, "S B"]:
        """Reward of each sample at each call in the last sampling, before that step is guided; on the CPU."""
        return torch.stack(self._rewards).cpu() if self._rewards else torch.zeros(0, 0)

    def over(self, solver: Solver, kind: PredictionType) -> SteeredSteps:
        """Begin a call of the sampler, and forget the previous one."""
        self.timesteps, self._rewards = [], []
        return _TracedSteps(self, self.guidance.over(solver, kind) if self.steer else None, kind)

    def record(
        self,
        call: Evaluation,
        output: Float[Tensor, "B N W"],
        x_t: Float[Tensor, "B N W"],
        t: Real[Tensor, "B"],
        mask: Bool[Tensor, "B N"],
        kind: PredictionType,
    ) -> None:
        """Record the rewards of one call; further arguments are as in `SteeredSteps.output`.

        Args:
            kind: What the output is.
        """
        x = x_t.float()
        if self.point == "x0":
            x, t = apply_mask(to_sample(output, x, call.level, kind), mask), torch.full_like(t, CLEAN_STEP)
        with torch.no_grad(), exact_float32(x.device):
            self._rewards.append(self.guidance.reward(x, t, mask))
        self.timesteps.append(call.t)


class _TracedSteps(SteeredSteps):
    """Records before it lets the guidance of a call act, if there is one."""

    def __init__(self, trace: RewardTrace, inner: SteeredSteps | None, kind: PredictionType) -> None:
        self.trace, self.inner, self.kind = trace, inner, kind

    def output(
        self,
        call: Evaluation,
        output: Float[Tensor, "B N W"],
        x_t: Float[Tensor, "B N W"],
        t: Real[Tensor, "B"],
        mask: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B N W"]:
        self.trace.record(call, output, x_t, t, mask, self.kind)
        return output if self.inner is None else self.inner.output(call, output, x_t, t, mask)

    def sample(self, call: Evaluation, x_next: Float[Tensor, "B N W"]) -> Float[Tensor, "B N W"]:
        return x_next if self.inner is None else self.inner.sample(call, x_next)
