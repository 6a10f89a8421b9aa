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
"""A foot below 5 cm counts as in contact; one faster than 0.5 m/s (2.5 cm between frames at 20 fps) skates."""

VISIBLE = 0.1
"""The lower foot visibly slides if it is faster than 0.1 m/s (5 mm between frames at 20 fps)."""


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


def lower_foot(
    joints: Float[Tensor, "B F J 3"],
    mask: Bool[Tensor, "B F"],
    feet: Sequence[int],
    fps: float,
    height: float = CONTACT_HEIGHT,
    slide: float = VISIBLE,
) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
    """Sliding of the lower foot, which carries the body: its mean speed along the floor (m/s), and the fraction of the
    steps between frames in which it is faster than `slide`.

    The lower foot of a step is the one whose heights before and after sum to less. Only steps count in which it is
    low before and after, so that the flight of a run or a jump does not.

    Args:
        joints: Positions (m).
        mask: True where a frame exists.
        feet: Joints that touch the floor, such as the toes of both sides.
        fps: Frames per second.
        height: A foot below it is in contact (m).
        slide: The highest speed of a foot that does not visibly slide (m/s).
    """
    foot = joints[:, :, list(feet)]
    above = foot[..., 1]
    lower = (above[:, 1:] + above[:, :-1]).argmin(dim=-1, keepdim=True)
    speed = (foot[:, 1:] - foot[:, :-1])[..., [0, 2]].norm(dim=-1).gather(-1, lower)[..., 0] * fps
    low = torch.maximum(above[:, 1:], above[:, :-1]).gather(-1, lower)[..., 0] < height
    counted = mask[:, 1:] & low
    return masked_mean(speed, counted), masked_mean((speed > slide).to(joints.dtype), counted)


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
    return _variation(_bone_lengths(joints, parents), mask)


def bone_ranges(
    joints: Float[Tensor, "B F J 3"], mask: Bool[Tensor, "B F"], parents: Sequence[int]
) -> Float[Tensor, "B J-1"]:
    """By how much each bone stretches: its greatest length less its smallest over the motion (m).

    Args:
        joints: Positions (m).
        mask: True where a frame exists.
        parents: Parent of each joint; the root's is negative.
    """
    return _ranges(_bone_lengths(joints, parents), mask)


def _bone_lengths(joints: Float[Tensor, "B F J 3"], parents: Sequence[int]) -> Float[Tensor, "B F J-1"]:
    children = [joint for joint, parent in enumerate(parents) if parent >= 0]
    return (joints[:, :, children] - joints[:, :, [parents[joint] for joint in children]]).norm(dim=-1)


def _variation(lengths: Float[Tensor, "B F J-1"], mask: Bool[Tensor, "B F"]) -> Float[Tensor, "B"]:
    """As `bone_length_variation`, of measured lengths."""
    mean = masked_mean(lengths, mask)
    deviation = masked_mean((lengths - mean[:, None]).square(), mask).sqrt()
    return (deviation / mean.clamp(min=torch.finfo(lengths.dtype).tiny)).mean(-1)


def _ranges(lengths: Float[Tensor, "B F J-1"], mask: Bool[Tensor, "B F"]) -> Float[Tensor, "B J-1"]:
    """As `bone_ranges`, of measured lengths."""
    there = mask[..., None]
    longest, shortest = lengths.where(there, -torch.inf).amax(dim=1), lengths.where(there, torch.inf).amin(dim=1)
    return (longest - shortest).where(mask.any(dim=1, keepdim=True), 0)


def physical_measures(
    joints: Float[Tensor, "B F J 3"],
    mask: Bool[Tensor, "B F"],
    *,
    feet: Sequence[int],
    parents: Sequence[int],
    fps: float,
) -> dict[str, Float[Tensor, "B"]]:
    """All measures by name: foot_skating, foot_speed_m_s and foot_slide (of the lower foot), penetration_m, floating_m,
    jerk_m_s3, bone_variation, bone_range_m (of the bone that stretches most) and bone_range_mean_m (over bones).

    Args:
        joints: Positions (m).
        mask: True where a frame exists.
        feet: Joints that touch the floor.
        parents: Parent of each joint; the root's is negative.
        fps: Frames per second.
    """
    speed, slide = lower_foot(joints, mask, feet, fps)
    lengths = _bone_lengths(joints, parents)
    ranges = _ranges(lengths, mask)
    return {
        "foot_skating": foot_skating_ratio(joints, mask, feet, fps),
        "foot_speed_m_s": speed,
        "foot_slide": slide,
        "penetration_m": penetration(joints, mask),
        "floating_m": floating(joints, mask),
        "jerk_m_s3": jerk(joints, mask, fps),
        "bone_variation": _variation(lengths, mask),
        "bone_range_m": ranges.amax(dim=-1),
        "bone_range_mean_m": ranges.mean(dim=-1),
    }
