"""Steering of a frozen generator by a gradient, while it samples."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

from realign.diffusion.path import CLEAN_STEP
from realign.diffusion.prediction import Level, PredictionType, to_sample
from realign.diffusion.solver import Evaluation, Solver
from realign.diffusion.steered import SteeredSteps, Steers
from realign.guidance.config import GuidanceConfig
from realign.guidance.updates import UPDATES
from realign.masking import apply_mask
from realign.precision import exact_float32

_PROFILES: dict[str, Callable[[Level], Tensor | float]] = {
    "constant": lambda level: 1.0,
    "noise": lambda level: level.sigma,
    "signal": lambda level: level.alpha,
}


class Guidance(Steers):
    """A direction in which samples are steered. Captions and anchors are bound at construction, in the order of
    samples.

    Attributes:
        config: When and how strongly to steer.
    """

    config: GuidanceConfig = GuidanceConfig.plain()

    @abstractmethod
    def gradient(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B N W"]:
        """Direction at noisy samples; row i may depend on sample i alone.

        Args:
            x_t: Noisy samples, zero at padding.
            t: Timesteps, or `CLEAN_STEP` for clean samples.
            mask: True where a token exists.
        """

    def over(self, solver: Solver, kind: PredictionType) -> "GuidedSteps":
        """Begin a call of the sampler.

        Raises:
            InputError: The update acts on the next sample, which the solver recomputes.
        """
        return GuidedSteps(self, solver, kind)

    def push(
        self,
        output: Float[Tensor, "B N W"],
        x_t: Float[Tensor, "B N W"],
        t: Real[Tensor, "B"],
        level: Level,
        kind: PredictionType,
        mask: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B N W"]:
        """Strength times gradient at one step, in float32: at x_t, or at the predicted clean sample.

        Args:
            output: What the model predicted.
            x_t: Noisy samples that the model received, or those after the step with the point ``x_next``; zero at
                padding.
            t: Their timesteps.
            level: Signal and noise of the step.
            kind: What the output is.
            mask: True where a token exists.
        """
        if self.config.point != "x0":
            gradient = self.gradient(x_t, t, mask)
        else:
            x0 = apply_mask(to_sample(output, x_t, level, kind), mask)
            along = level.alpha / (level.alpha**2 + level.sigma**2)
            gradient = along * self.gradient(x0, torch.full_like(t, CLEAN_STEP), mask)
        return scaled(self.config, apply_mask(gradient.float(), mask), level, mask)


def scaled(
    config: GuidanceConfig, gradient: Float[Tensor, "B N W"], level: Level, mask: Bool[Tensor, "B N"]
) -> Float[Tensor, "B N W"]:
    """Strength times gradient, with the profile applied and the root mean square controlled.

    Args:
        config: Strength, profile and norm.
        gradient: Gradient of each sample's reward, zero at padding.
        level: Signal and noise of the step.
        mask: True where a token exists.
    """
    factor = config.strength * _PROFILES[config.profile](level)
    if config.batch_mean:
        factor = factor / len(gradient)
    if config.norm != "none":
        entries = (mask.sum(1) * gradient.shape[2]).clamp(min=1)
        rms = (gradient.square().sum((1, 2)) / entries).sqrt().clamp(min=torch.finfo(gradient.dtype).tiny)
        scale = config.norm_limit / rms
        factor = factor * (scale.clamp(max=1) if config.norm == "clip" else scale).reshape(-1, 1, 1)
    return factor * gradient


class GuidedSteps(SteeredSteps):
    """Applies a gradient over the steps of one call, within the configured window and interval."""

    def __init__(self, guidance: Guidance, solver: Solver, kind: PredictionType) -> None:
        config = guidance.config
        if config.update != "score_shift":
            solver.check_update(config.update)
        self.guidance, self.update, self.kind = guidance, UPDATES[config.update], kind
        self.weights = config.weights(solver.steps)
        self._push: Callable[[Tensor], Tensor] | None = None

    def output(
        self,
        call: Evaluation,
        output: Float[Tensor, "B N W"],
        x_t: Float[Tensor, "B N W"],
        t: Real[Tensor, "B"],
        mask: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B N W"]:
        """The output with the push added, if the update acts on outputs and this step is guided."""
        self._push = None
        if call.step not in self.weights:
            return output

        def push(x: Tensor) -> Tensor:
            pushed = self.guidance.push(output, x, t, call.level, self.kind, mask)
            return self.weights[call.step] * pushed

        if self.guidance.config.point == "x_next":
            self._push = lambda x_next: push(apply_mask(x_next, mask))
            return output
        found = push(x_t)
        self._push = lambda x_next: found
        return self.update.output(output, found, call.level, self.kind)

    def sample(self, call: Evaluation, x_next: Float[Tensor, "B N W"]) -> Float[Tensor, "B N W"]:
        """The next samples with the push added, if the update acts on samples."""
        return x_next if self._push is None else self.update.sample(x_next, self._push(x_next), call.level, call.after)


class RewardGradient(Guidance):
    """Guidance by the gradient of a reward.

    It works under ``no_grad``, ``inference_mode`` and autocast: the reward is evaluated on copies, in float32 (float64
    input stays float64). Tensors that a subclass binds must not be inference tensors: clone what was made under
    ``inference_mode``.
    """

    @abstractmethod
    def reward(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B"]:
        """Reward of each sample, differentiable in `x_t`; arguments as in `gradient`."""

    def gradient(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B N W"]:
        """Gradient of every sample's own reward, zero at padding."""
        with torch.inference_mode(False), torch.enable_grad(), exact_float32(x_t.device):
            x = x_t.detach().clone().to(torch.promote_types(x_t.dtype, torch.float32)).requires_grad_()
            mask = mask.clone()
            # The sum, not the mean: samples are independent, so each row is its own gradient in a batch of any size.
            (gradient,) = torch.autograd.grad(self.reward(x, t.clone(), mask).sum(), x)
        return apply_mask(gradient, mask)
