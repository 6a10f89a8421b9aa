"""Canonical form of joints in the dataset (reference bone lengths, floor, origin, facing Z+), and mirroring.

All functions are batched over leading dimensions and keep the device and type of their input.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from realign.errors import InputError
from realign.motion.rotations import planar_stack, rotate_yaw, squared_length
from realign.motion.skeleton import HUMANML3D, Skeleton

_DEGENERATE = 1e-8  # a shorter horizontal part of a unit vector has no direction


def canonicalize_joints(joints: Float[Tensor, "*B T J 3"], skeleton: Skeleton = HUMANML3D) -> Float[Tensor, "*B T J 3"]:
    """Joints scaled to the skeleton, on the floor, the first root at the xz origin and the first frame facing Z+.

    Args:
        joints: Global positions in the skeleton's unit, Y up.
        skeleton: The skeleton of the joints.

    Raises:
        InputError: Wrong number of joints, or legs of zero length in a first frame.
    """
    return face_forward(put_at_origin(put_on_floor(uniform_skeleton(joints, skeleton))), skeleton)


def uniform_skeleton(joints: Float[Tensor, "*B T J 3"], skeleton: Skeleton = HUMANML3D) -> Float[Tensor, "*B T J 3"]:
    """The same bone directions with the skeleton's bone lengths, and the root trajectory scaled by the leg lengths.

    The published program applies inverse and forward kinematics with shortest-arc rotations. These take each neutral
    direction exactly to the bone's direction, so only that direction and the target length matter. A bone of zero
    length points along its neutral direction. Without known `rest_offsets` the joints are returned unchanged.

    Args:
        joints: Global positions in the skeleton's unit.
        skeleton: The skeleton of the joints; its `rest_offsets` are the target.

    Raises:
        InputError: Wrong number of joints, or legs of zero length in a first frame.
    """
    check_joints(joints, skeleton)
    if skeleton.rest_offsets is None:
        return joints
    lengths = joints.new_tensor(skeleton.rest_offsets).norm(dim=-1)
    bones = joints[..., 1:, :] - joints[..., list(skeleton.parents[1:]), :]
    sizes = squared_length(bones).sqrt()[..., None]
    legs = [joint - 1 for joint in skeleton.leg_joints]
    own = sizes[..., :1, legs, 0].sum(-1, keepdim=True)  # (*B, 1, 1), from each clip's first frame
    if not bool((own > 0).all()):
        raise InputError(
            "the length of the legs in a first frame is zero or NaN: leave the clip out, it cannot be scaled"
        )
    empty = sizes == 0
    if bool(empty.any()):
        neutral = joints.new_tensor(skeleton.raw_offsets[1:])
        bones, sizes = torch.where(empty, neutral, bones), torch.where(empty, 1, sizes)
    root = joints[..., :1, :] * (lengths[list(skeleton.leg_joints)].sum() / own[..., None])
    offsets = torch.cat([root, bones * (lengths[1:, None] / sizes)], dim=-2)
    return torch.einsum("jk,...kc->...jc", _ancestors(skeleton).to(offsets), offsets)


def _ancestors(skeleton: Skeleton) -> Tensor:
    """Matrix (J, J) that sums the offsets along the chain from the root to each joint."""
    matrix = torch.eye(skeleton.num_joints)
    for chain in skeleton.chains:
        for joint, child in zip(chain, chain[1:], strict=False):
            matrix[child] += matrix[joint]
    return matrix


def put_on_floor(joints: Float[Tensor, "*B T J 3"]) -> Float[Tensor, "*B T J 3"]:
    """Joints moved vertically so that the lowest joint of a clip is at height 0."""
    height = joints[..., 1]
    return _replace_y(joints, height - height.amin(dim=(-2, -1), keepdim=True))


def put_at_origin(joints: Float[Tensor, "*B T J 3"]) -> Float[Tensor, "*B T J 3"]:
    """Joints moved horizontally so that the first frame's root is at the xz origin."""
    return joints - _replace_y(joints[..., :1, :1, :], torch.zeros_like(joints[..., :1, :1, 0]))


def _replace_y(joints: Tensor, y: Tensor) -> Tensor:
    return planar_stack([joints[..., 0], y, joints[..., 2]])


def face_forward(joints: Float[Tensor, "*B T J 3"], skeleton: Skeleton = HUMANML3D) -> Float[Tensor, "*B T J 3"]:
    """Joints turned about the Y axis so that the first frame faces Z+; the facing is not smoothed.

    Args:
        joints: Global positions.
        skeleton: The skeleton of the joints.
    """
    return rotate_yaw(facing_of_joints(joints, skeleton)[..., :1, None, :], joints)


def facing_of_joints(joints: Float[Tensor, "*B T J 3"], skeleton: Skeleton = HUMANML3D) -> Float[Tensor, "*B T 2"]:
    """Horizontal unit facing (x, z) of every frame, by hips and shoulders.

    Args:
        joints: Global positions.
        skeleton: The skeleton of the joints.
    """
    right_hip, left_hip, right_shoulder, left_shoulder = joints[..., list(skeleton.facing), :].unbind(-2)
    return facing_of(right_hip - left_hip + right_shoulder - left_shoulder)


def facing_of(across: Float[Tensor, "*B T 3"]) -> Float[Tensor, "*B T 2"]:
    """Horizontal unit facing (x, z), Y x across, of every frame.

    Args:
        across: Vectors from left to right through the body; if vertical or zero, the frame takes a neighbour's facing.
    """
    return unit_or_neighbour(horizontal(across))


def horizontal(across: Float[Tensor, "*B T 3"]) -> Float[Tensor, "*B T 2"]:
    """Y x (across / |across|) as (x, z), with a length up to 1; zero for a zero vector."""
    across = across / squared_length(across).sqrt()[..., None].clamp(min=torch.finfo(across.dtype).tiny)
    return torch.stack([across[..., 2], -across[..., 0]], dim=-1)


def unit_or_neighbour(direction: Float[Tensor, "*B T 2"]) -> Float[Tensor, "*B T 2"]:
    """Unit directions; a frame without a direction takes the nearest earlier, else the nearest later, else Z+."""
    size = direction.norm(dim=-1, keepdim=True)
    good = size > _DEGENERATE
    if bool(good.all()):
        return direction / size
    direction = direction / torch.where(good, size, 1)
    good = good[..., 0]
    kept = direction.gather(-2, _nearest(good)[..., None].expand_as(direction))
    return torch.where(good.any(-1)[..., None, None], kept, kept.new_tensor([0.0, 1.0]))


def _nearest(good: Bool[Tensor, "*B T"]) -> Tensor:
    """Index of the last good frame up to each frame, or of the first good one if there is none before."""
    frame = torch.arange(good.shape[-1], device=good.device).expand_as(good)
    latest = torch.where(good, frame, -1).cummax(-1).values
    first = good.to(torch.uint8).argmax(-1, keepdim=True)
    return torch.where(latest < 0, first, latest)


def mirror_joints(joints: Float[Tensor, "*B T J 3"], skeleton: Skeleton = HUMANML3D) -> Float[Tensor, "*B T J 3"]:
    """The mirrored motion: x negated, left and right joints exchanged. It is its own exact inverse.

    Args:
        joints: Global positions.
        skeleton: The skeleton of the joints.
    """
    check_joints(joints, skeleton)
    return joints[..., list(skeleton.mirror_order), :] * joints.new_tensor([-1.0, 1.0, 1.0])


def check_joints(joints: Tensor, skeleton: Skeleton, *, least: int = 1) -> None:
    """Refuse joints that are not (..., T, J, 3) with at least `least` frames.

    Raises:
        InputError: Another shape or too few frames.
    """
    if joints.ndim < 3 or tuple(joints.shape[-2:]) != (skeleton.num_joints, 3):
        raise InputError(
            f"joints of shape {tuple(joints.shape)} do not fit skeleton {skeleton.name!r}: "
            f"give (..., frames, {skeleton.num_joints}, 3)"
        )
    if joints.shape[-3] < least:
        raise InputError(f"a clip of {joints.shape[-3]} frames is too short: give at least {least}")


def clip_fault(joints: Tensor, skeleton: Skeleton = HUMANML3D) -> str | None:
    """Why features of a clip cannot be computed, in a few words; None if they can.

    Args:
        joints: Global positions of one clip, of any shape and content.
        skeleton: The skeleton they should fit.
    """
    try:
        check_joints(joints, skeleton, least=2)
    except InputError as error:
        return str(error)
    if not bool(torch.isfinite(joints).all()):
        return "joints hold NaN or infinite values"
    legs = list(skeleton.leg_joints)
    bones = joints[0, legs] - joints[0, [skeleton.parents[joint] for joint in legs]]
    if skeleton.rest_offsets is not None and not bool(bones.abs().sum() > 0):
        return "the legs have zero length in the first frame"
    return None
