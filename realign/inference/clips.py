"""Clips from a generator: their joints, their rewards, and the unguided motion beside each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from realign.diffusion.windows import WindowPlan
from realign.guidance.constrained import ConstraintGuidance
from realign.inference.constraining import Constrained
from realign.interfaces import TextToMotionModel
from realign.motion.cleaning import clean_batch, clean_motion
from realign.motion.clip import MotionClip
from realign.motion.familiarity import Familiarity
from realign.motion.features import features_to_joints
from realign.motion.skeleton import get_skeleton
from realign.precision import exact_float32

if TYPE_CHECKING:
    from realign.guidance.objective import RewardObjective
    from realign.guidance.steering import Steering


@dataclass(frozen=True)
class ClipMaker:
    """Makes motions, batch by batch.

    Attributes:
        generator: Makes them.
        steering: Guides them; None does not.
        objective: Rates them, as the network says them; None does not.
        options: Of `generator.sample`.
        compare: Also make each motion unguided from the same noise.
        raw: Do not clean them.
        constrained: What they should meet; None is nothing.
    """

    generator: TextToMotionModel
    steering: "Steering | None"
    objective: "RewardObjective | None"
    options: Mapping[str, Any]
    compare: bool = False
    raw: bool = False
    constrained: Constrained | None = None

    def make(
        self,
        captions: Sequence[str],
        frames: Sequence[int],
        seeds: Int[Tensor, "B"],
        names: Sequence[str] | None = None,
        plan: WindowPlan | None = None,
    ) -> list[MotionClip]:
        """The clips of one batch.

        Args:
            captions: One a motion, or one a window.
            frames: Of each motion.
            seeds: One a motion: all its randomness.
            names: Captions of the clips, if they are not those that motions are made from.
            plan: The windows, if motions are made of several.
        """
        lengths = torch.tensor(frames, device=self.generator.device)
        bound = None if self.constrained is None else self.constrained.guidance(lengths)
        given = captions, lengths, seeds, names or captions, plan, bound
        made = self._clips(self.steering, *given)
        if not self.compare:
            return made
        plain = self._clips(None, *given)
        return [replace(clip, unguided=other) for clip, other in zip(made, plain, strict=True)]

    def _clips(
        self,
        steering: "Steering | None",
        captions: Sequence[str],
        lengths: Int[Tensor, "B"],
        seeds: Int[Tensor, "B"],
        names: Sequence[str],
        plan: WindowPlan | None,
        bound: ConstraintGuidance | None,
    ) -> list[MotionClip]:
        options = dict(self.options) if plan is None else {**self.options, "windows": plan}
        if bound is not None:
            options["guidance"] = bound
        with exact_float32(self.generator.device):
            if steering is None:
                features = self.generator.sample(captions, lengths, seeds, **options)
            else:
                features = steering.sample(self.generator, captions, lengths, seeds, **options)
        skeleton = get_skeleton(self.generator.skeleton)
        clips = [
            MotionClip(joints.numpy(), skeleton.fps, name, skeleton.name)
            for joints, name in zip(self._joints(features, lengths, bound), names, strict=True)
        ]
        if self.objective is not None:
            _rate(clips, self.objective, features, lengths, captions, plan)
        return clips

    def _joints(
        self, features: Float[Tensor, "B F C"], lengths: Int[Tensor, "B"], bound: ConstraintGuidance | None
    ) -> list[Float[Tensor, "F J 3"]]:
        """Joints of motion features; those that meet constraints do so where these lie in the world."""
        skeleton, convert = get_skeleton(self.generator.skeleton), clean_motion
        if self.raw:
            convert = features_to_joints
        elif bound is not None:  # cleaning moves what is kept, so it is put back
            features, convert = bound.finish(clean_batch(features, lengths, skeleton)), features_to_joints
        rows = zip(features.float().cpu(), lengths.tolist(), strict=True)
        joints = [convert(each[:frames], skeleton) for each, frames in rows]
        return joints if self.constrained is None else [self.constrained.in_world(each) for each in joints]


def with_familiarity(clips: list[MotionClip], find: Callable[[str], Familiarity | None]) -> list[MotionClip]:
    """The clips, and the unguided ones beside them, with the familiarity of their captions."""
    for clip in clips:
        for each in (clip,) if clip.unguided is None else (clip, clip.unguided):
            each.familiarity = find(clip.caption)
    return clips


def _rate(
    clips: Sequence[MotionClip],
    objective: "RewardObjective",
    features: Float[Tensor, "B F C"],
    lengths: Int[Tensor, "B"],
    captions: Sequence[str],
    plan: WindowPlan | None,
) -> None:
    """Write the rewards of motion features into their clips; of windows, their mean."""
    if plan is None:
        rated = objective.rate(features, lengths, captions)
    else:
        windows, own = plan.of_frames(features.device)
        each = objective.rate(windows.cut(features), own, captions)
        motion = None if each.motion is None else windows.mean(each.motion)
        rated = each._replace(total=windows.mean(each.total), text=windows.mean(each.text), motion=motion)
    columns = ([None] * len(clips) if reward is None else reward.tolist() for reward in rated)
    for clip, *rewards in zip(clips, *columns, strict=True):
        clip.reward, clip.text_reward, clip.motion_reward = rewards
