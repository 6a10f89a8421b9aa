"""Clips from a generator, with their rewards."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxtyping import Float, Int
from torch import Tensor

from realign.interfaces import TextToMotionModel
from realign.motion.clip import MotionClip
from realign.motion.features import features_to_joints
from realign.motion.skeleton import get_skeleton
from realign.precision import exact_float32

if TYPE_CHECKING:
    from realign.guidance.objective import RewardObjective
    from realign.guidance.steering import Steering


def make_clips(
    generator: TextToMotionModel,
    steering: "Steering | None",
    objective: "RewardObjective | None",
    captions: Sequence[str],
    lengths: Int[Tensor, "B"],
    seeds: Int[Tensor, "B"],
    options: Mapping[str, Any],
) -> list[MotionClip]:
    """Motions of one batch.

    Args:
        generator: Makes them.
        steering: Guides them; None does not.
        objective: Rates them; None does not.
        captions: One a motion.
        lengths: Frames of each motion.
        seeds: One a motion: all its randomness.
        options: Of `generator.sample`.
    """
    with exact_float32(generator.device):
        if steering is None:
            features = generator.sample(captions, lengths, seeds, **options)
        else:
            features = steering.sample(generator, captions, lengths, seeds, **options)
    skeleton = get_skeleton(generator.skeleton)
    joints = features_to_joints(features.float().cpu(), skeleton)
    clips = [
        MotionClip(each[:frames].numpy(), skeleton.fps, text, skeleton.name)
        for each, frames, text in zip(joints, lengths.tolist(), captions, strict=True)
    ]
    if objective is not None:
        _rate(clips, objective, features, lengths)
    return clips


def _rate(
    clips: Sequence[MotionClip],
    objective: "RewardObjective",
    features: Float[Tensor, "B F C"],
    lengths: Int[Tensor, "B"],
) -> None:
    """Write the rewards of motion features into their clips."""
    total, text, motion = objective.rate(features, lengths, [clip.caption for clip in clips])
    by_motion = [None] * len(clips) if motion is None else motion.tolist()
    for clip, *rewards in zip(clips, total.tolist(), text.tolist(), by_motion, strict=True):
        clip.reward, clip.text_reward, clip.motion_reward = rewards
