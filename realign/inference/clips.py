"""Clips from a generator, with their rewards."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxtyping import Float, Int
from torch import Tensor

from realign.diffusion.windows import WindowPlan
from realign.interfaces import TextToMotionModel
from realign.motion.cleaning import clean_motion
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
    names: Sequence[str] | None = None,
    raw: bool = False,
) -> list[MotionClip]:
    """Motions of one batch.

    Args:
        generator: Makes them.
        steering: Guides them; None does not.
        objective: Rates them, as the network says them; None does not.
        captions: One a motion, or one a window.
        lengths: Frames of each motion.
        seeds: One a motion: all its randomness.
        options: Of `generator.sample`; `windows` if motions are made of several.
        names: Captions of the clips, if they are not those that motions are made from.
        raw: Do not clean them.
    """
    with exact_float32(generator.device):
        if steering is None:
            features = generator.sample(captions, lengths, seeds, **options)
        else:
            features = steering.sample(generator, captions, lengths, seeds, **options)
    skeleton = get_skeleton(generator.skeleton)
    convert = features_to_joints if raw else clean_motion
    clips = [
        MotionClip(convert(each[:frames], skeleton).numpy(), skeleton.fps, text, skeleton.name)
        for each, frames, text in zip(features.float().cpu(), lengths.tolist(), names or captions, strict=True)
    ]
    if objective is not None:
        _rate(clips, objective, features, lengths, captions, options.get("windows"))
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
