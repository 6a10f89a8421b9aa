"""Guidance by constraints on the joints of motions: its reward is minus their squared errors."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from realign.diffusion.prediction import Level, PredictionType, to_sample
from realign.errors import InputError
from realign.guidance.config import GuidanceConfig
from realign.guidance.constraints import Constraint
from realign.guidance.gradient import Guidance
from realign.guidance.least_squares import conjugate_gradients, smooth
from realign.masking import apply_mask, lengths_to_mask
from realign.motion.features import consistent_features, features_to_joints
from realign.motion.layout import feature_groups
from realign.motion.normalizer import Normalizer
from realign.motion.skeleton import Skeleton, get_skeleton
from realign.nn.diffusion import Diffusion
from realign.nn.spaces import FeatureSpace, MotionSpace
from realign.precision import exact_float32, widest
from realign.transfer import places, upload

_DAMPING = 1e-4
_BONES = 0.5  # weight of the stretch of bones beside the errors of constraints
_TINY = 1e-12
_FINISH, _FINISH_ITERATIONS = (4.0, 4.0, 4.0, 2.0, 1.0, 0.0), 16
"""Widths of the smoothing (frames) of what is left to correct in the finished motion, round by round."""


@dataclass(frozen=True)
class ConstraintConfig:
    """When and how strongly constraints steer.

    Attributes:
        strength: Fraction of the way that each step goes to meet them.
        start: Fraction of the sampling steps after which they begin.
        stop: Fraction of the sampling steps after which they end.
        iterations: Conjugate gradients of each step.
        smoothing: Standard deviation over which corrections are spread along the tokens (frames).
        finish: Correct what is left in the finished motion, too. Latents alone seldom reach a few centimetres.

    Raises:
        InputError: A number is out of its range.
    """

    strength: float = 1.0
    start: float = 0.0
    stop: float = 1.0
    iterations: int = 8
    smoothing: float = 2.0
    finish: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise InputError(f"The strength of constraints is {self.strength}; give a fraction above 0, up to 1.")
        if not 0 <= self.start <= self.stop <= 1:
            raise InputError(f"The window [{self.start}, {self.stop}] must lie within [0, 1], start first.")
        if self.iterations < 1 or not 0 <= self.smoothing < 100:
            raise InputError(
                f"Constraints are met in {self.iterations} iterations, smoothed over {self.smoothing} frames; give at "
                "least one iteration, and less than 100 frames."
            )


class ConstraintGuidance(Guidance):
    """Moves every predicted clean sample towards one that meets the constraints, by the smallest change.

    The push of an ordinary guidance is a gradient times a strength, which suits a reward of unknown scale. Squared
    errors have a known minimum, so that here a step solves the linearised problem min_d |e(x_0) + J d|^2 + damping
    |d|^2 by conjugate gradients (Gauss-Newton), and pushes the score by what moves the predicted clean sample by d. In
    a space of features, velocities and rotations follow the joints: otherwise the network would believe those.

    Args:
        constraints: Of motions with these lengths, see `realign.guidance.constraints.place`.
        generator: The diffusion that is guided.
        lengths: Frames of each motion.
        config: When and how strongly.
    """

    def __init__(
        self,
        constraints: Sequence[Constraint],
        generator: Diffusion,
        lengths: Int[Tensor, "B"],
        config: ConstraintConfig = ConstraintConfig(),
    ) -> None:
        window = {"start": config.start, "stop": config.stop}
        self.config, self.options = GuidanceConfig.plain(point="x0", strength=config.strength, **window), config
        with torch.inference_mode(False):  # in float64: rounding depends on the batch, and these steps amplify it
            place = generator.device, widest(generator.device)
            self.constraints = [copy.deepcopy(each).to(*place) for each in constraints]
            self.space: MotionSpace = copy.deepcopy(generator.space).to(*place)
            self.normalizer: Normalizer = copy.deepcopy(generator.normalizer).to(*place)
        self.skeleton = get_skeleton(generator.skeleton)
        groups = feature_groups(self.skeleton)
        self.contacts, self.moving = groups["contacts"], slice(groups["velocities"].start, None)
        first = groups["velocities"].start
        columns = tuple(first + 3 * joint + axis for joint in self.skeleton.feet for axis in range(3))
        with torch.inference_mode(False):
            self.feet = places(columns, generator.device)
            self.bones = _lengths(self.skeleton, generator.device)
            self.frames = lengths_to_mask(lengths.to(generator.device).clone())

    def gradient(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B N W"]:
        """The change of clean samples that meets the constraints; arguments as in `Guidance`."""
        width = self.options.smoothing / (self.space.stride or 1)
        return self._change(self.space, x_t, mask, [width], self.options.iterations)

    def push(
        self,
        output: Float[Tensor, "B N W"],
        x_t: Float[Tensor, "B N W"],
        t: Real[Tensor, "B"],
        level: Level,
        kind: PredictionType,
        mask: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B N W"]:
        """The push that moves the predicted clean sample by the change; arguments as in `Guidance.push`."""
        change = self.gradient(apply_mask(to_sample(output, x_t, level, kind), mask), t, mask).to(output.dtype)
        return self.config.strength * level.alpha / level.sigma**2 * change

    def finish(self, motion: Float[Tensor, "B F C"]) -> Float[Tensor, "B F C"]:
        """Motions with what is left of the errors corrected in their features."""
        if not self.options.finish:
            return motion
        space = FeatureSpace(self.space.features)
        tokens = self.normalizer.normalize(motion, self.frames)
        change = self._change(space, tokens, self.frames, _FINISH, _FINISH_ITERATIONS)
        return (motion + self.normalizer.std * change).to(motion.dtype)

    def _change(
        self, space: MotionSpace, x: Tensor, mask: Bool[Tensor, "B N"], rounds: Sequence[float], iterations: int
    ) -> Float[Tensor, "B N W"]:
        """The change of samples in a space, after rounds with these widths of smoothing."""
        # attention has second derivatives in its plain form alone
        with torch.inference_mode(False), torch.enable_grad(), exact_float32(x.device), sdpa_kernel(SDPBackend.MATH):
            start, mask = x.detach().clone().to(self.normalizer.std.dtype), mask.clone()
            moved = start
            for width in rounds:
                moved = moved + self._round(space, moved, mask, width, iterations)
            if not isinstance(space, FeatureSpace):
                return moved - start
            with torch.no_grad():
                change = self._features(self._motion(space, start), self._motion(space, moved))
            return torch.nn.functional.pad(change, (0, 0, 0, start.shape[1] - change.shape[1]))

    def _features(self, before: Float[Tensor, "B F C"], after: Float[Tensor, "B F C"]) -> Float[Tensor, "B F C"]:
        """The normalised change of all features by that of root and positions; contacts change where feet do."""
        first, second = (consistent_features(each, self.skeleton) for each in (before, after))
        change = second - first
        moved = change[..., self.feet].unflatten(-1, (4, 3)).square().sum(-1) > self.skeleton.contact_threshold
        change[..., self.contacts] = torch.where(moved, (second - before)[..., self.contacts], 0)
        followed = torch.nn.functional.pad(self.frames[:, 1:], (0, 1))[..., None]  # velocities need the next frame
        change[..., self.moving] = torch.where(followed, change[..., self.moving], 0)
        return apply_mask(change / self.normalizer.std, self.frames)

    def _round(
        self, space: MotionSpace, x: Tensor, mask: Bool[Tensor, "B N"], width: float, iterations: int
    ) -> Float[Tensor, "B N W"]:
        """One linearised problem."""
        x = x.detach().requires_grad_()
        joints = features_to_joints(self._motion(space, x), self.skeleton) * self.skeleton.metres
        found = [each(joints, self.frames).flatten(1) for each in self.constraints]
        errors = torch.cat(found if self.bones is None else [*found, self._stretch(joints, self.bones)], 1)
        dual = torch.zeros_like(errors, requires_grad=True)
        (transposed,) = torch.autograd.grad(errors, x, dual, create_graph=True)  # linear in dual: its gradient is J

        def forward(d: Tensor) -> Tensor:
            return torch.autograd.grad(transposed, dual, smooth(d, mask, width), retain_graph=True)[0]

        def backward(s: Tensor) -> Tensor:
            (found,) = torch.autograd.grad(errors, x, s, retain_graph=True)
            return smooth(apply_mask(found, mask), mask, width)

        return smooth(conjugate_gradients(forward, backward, -errors.detach(), iterations, _DAMPING), mask, width)

    def _stretch(self, joints: Float[Tensor, "B F J 3"], wanted: Float[Tensor, "K"]) -> Float[Tensor, "B K"]:
        """How far bones are from their lengths (m), so that a kept hand takes its arm along."""
        bones = joints[:, :, 1:] - joints[:, :, places(self.skeleton.parents[1:], joints.device)]
        lengths = (bones.square().sum(-1) + _TINY).sqrt()
        return _BONES * apply_mask(lengths - wanted, self.frames).flatten(1)

    def _motion(self, space: MotionSpace, x: Tensor) -> Float[Tensor, "B F C"]:
        return self.normalizer.denormalize(space.decode(x, self.frames), self.frames)


def _lengths(skeleton: Skeleton, device: torch.device) -> Float[Tensor, "K"] | None:
    """Lengths of the bones (m); None where the skeleton does not fix them."""
    if skeleton.rest_offsets is None:
        return None
    return upload(torch.tensor(skeleton.rest_offsets[1:]).norm(dim=-1) * skeleton.metres, device)
