"""Bones of given lengths: the nearest joints to those of a motion."""

import torch
from jaxtyping import Float
from torch import Tensor

from realign.motion.skeleton import Skeleton

_STEPS = 6  # of Newton; the last ones change micrometres
_TINY = 1e-9


def reference_lengths(joints: Float[Tensor, "F J 3"], skeleton: Skeleton) -> Float[Tensor, "K"]:
    """Lengths of the bones that end in each joint but the root: the skeleton's, or the motion's mean if it has none.

    Args:
        joints: Positions in the skeleton's unit.
        skeleton: Their skeleton.
    """
    if skeleton.rest_offsets is not None:
        return torch.tensor(skeleton.rest_offsets, dtype=joints.dtype)[1:].norm(dim=-1)
    return mean_lengths(joints, skeleton)


def mean_lengths(joints: Float[Tensor, "F J 3"], skeleton: Skeleton) -> Float[Tensor, "K"]:
    """Mean lengths of the bones that end in each joint but the root.

    Args:
        joints: Positions.
        skeleton: Their skeleton.
    """
    return (joints[:, 1:] - joints[:, list(skeleton.parents[1:])]).norm(dim=-1).mean(dim=0)


def hold_lengths(
    joints: Float[Tensor, "F J 3"], lengths: Float[Tensor, "K"], parents: tuple[int, ...]
) -> Float[Tensor, "F J 3"]:
    """Joints moved as little as bones of constant length allow, all joints alike.

    Each step moves the two ends of every bone along it, by the shifts that would bring all bones to their lengths at
    once if directions did not change (constraint projection, as SHAKE of molecular dynamics). An error is shared by the
    joints on both sides of its bone, where keeping directions would pass it on to the end of the limb.

    Args:
        joints: Positions in float64.
        lengths: Of the bone that ends in each joint but the root.
        parents: Parent of each joint, -1 for the root; parents come first.
    """
    bones = torch.zeros(len(parents) - 1, len(parents), dtype=joints.dtype)
    row = torch.arange(len(bones))
    bones[row, row + 1], bones[row, list(parents[1:])] = 1, -1
    for _ in range(_STEPS):
        ends = bones @ joints
        size = ends.norm(dim=-1, keepdim=True).clamp(min=_TINY)
        along = ends / size
        meeting = (bones @ bones.mT) * (along @ along.mT)
        meeting.diagonal(dim1=-2, dim2=-1).clamp_(min=1)  # a bone without a length has no direction
        joints = joints - bones.mT @ (torch.linalg.solve(meeting, size - lengths[:, None]) * along)
    return joints
