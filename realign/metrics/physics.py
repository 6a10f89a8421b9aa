"""Physical measures of motions.

All take joints whose Y axis points up, with the floor at 0, and a mask that starts with the existing frames; each
returns one number a motion. Lengths are metres: bring joints in another unit to metres first. A motion too short for a
measure has 0 of it.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from realign.masking import masked_mean

CONTACT_HEIGHT, SLIDE = 0.05, 0.5
"""A foot below 5 cm counts as in contact; one faster than 0.5 m/s (2.5 cm between frames at 20 fps) slides."""


def foot_skating_ratio(
    joints: Float[Tensor, "B F J 3"],
    mask: Bool[Tensor, "B F"],
    feet: Sequence[int],
    fps: float,
    height: float = CONTACT_HEIGHT,
    slide: float = SLIDE,
) -> Float[Tensor, "B"]:
    """Fraction of the steps between frames in which a foot skates (the criterion of GMD, Karunratanakul et al. 2023).

    A foot skates when it is low before and after the step and moves faster than `slide` along the floor.

    Args:
        joints: Positions (m).
        mask: True where a frame exists.
        feet: Joints that touch the floor, such as the toes of both sides.
        fps: Frames per second.
        height: A foot below it is in contact (m).
        slide: The highest speed of a foot that stands (m/s).
    """
    foot = joints[:, :, list(feet)]
    low = foot[..., 1] < height
    moved = (foot[:, 1:] - foot[:, :-1])[..., [0, 2]].norm(dim=-1)
    skates = (low[:, 1:] & low[:, :-1] & (moved > slide / fps)).any(-1)
    return masked_mean(skates.to(joints.dtype), mask[:, 1:])


def penetration(joints: Float[Tensor, "B F J 3"], mask: Bool[Tensor, "B F"]) -> Float[Tensor, "B"]:
    """Mean depth of the lowest joint below the floor (m); 0 in frames where none is."""
    return masked_mean((-joints[..., 1].amin(-1)).clamp(min=0), mask)


def floating(joints: Float[Tensor, "B F J 3"], mask: Bool[Tensor, "B F"]) -> Float[Tensor, "B"]:
    """Mean height of the lowest joint above the floor (m); 0 in frames where it is below. Jumps count, too."""
    return masked_mean(joints[..., 1].amin(-1).clamp(min=0), mask)


def jerk(joints: Float[Tensor, "B F J 3"], mask: Bool[Tensor, "B F"], fps: float) -> Float[Tensor, "B"]:
    """Mean size of the third derivative of positions (m/s^3), by differences over four frames.

    Args:
        joints: Positions (m).
        mask: True where a frame exists.
        fps: Frames per second.
    """
    third = joints.diff(n=3, dim=1) * fps**3
    return masked_mean(third.norm(dim=-1).mean(-1), mask[:, 3:])


def bone_length_variation(
    joints: Float[Tensor, "B F J 3"], mask: Bool[Tensor, "B F"], parents: Sequence[int]
) -> Float[Tensor, "B"]:
    """Standard deviation of a bone's length over the motion, as a fraction of its mean length, averaged over bones.

    Args:
        joints: Positions (m).
        mask: True where a frame exists.
        parents: Parent of each joint; the root's is negative.
    """
    children = [joint for joint, parent in enumerate(parents) if parent >= 0]
    lengths = (joints[:, :, children] - joints[:, :, [parents[joint] for joint in children]]).norm(dim=-1)
    mean = masked_mean(lengths, mask)
    deviation = masked_mean((lengths - mean[:, None]).square(), mask).sqrt()
    return (deviation / mean.clamp(min=torch.finfo(joints.dtype).tiny)).mean(-1)


def physical_measures(
    joints: Float[Tensor, "B F J 3"],
    mask: Bool[Tensor, "B F"],
    *,
    feet: Sequence[int],
    parents: Sequence[int],
    fps: float,
) -> dict[str, Float[Tensor, "B"]]:
    """All measures by name: foot_skating, penetration_m, floating_m, jerk_m_s3, bone_variation.

    Args:
        joints: Positions (m).
        mask: True where a frame exists.
        feet: Joints that touch the floor.
        parents: Parent of each joint; the root's is negative.
        fps: Frames per second.
    """
    return {
        "foot_skating": foot_skating_ratio(joints, mask, feet, fps),
        "penetration_m": penetration(joints, mask),
        "floating_m": floating(joints, mask),
        "jerk_m_s3": jerk(joints, mask, fps),
        "bone_variation": bone_length_variation(joints, mask, parents),
    }
