"""A figure that stands, in closed form, for motions made of it."""

import torch

from realign.motion.bone_lengths import reference_lengths
from realign.motion.skeleton import Skeleton

_DOWN, _AHEAD, _UP = (0.0, -1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)
_WAYS = {"ankle": _DOWN, "knee": _DOWN, "elbow": _DOWN, "wrist": _DOWN, "foot": (0.0, -0.4, 0.92), "toes": _AHEAD}
_LENGTHS_KIT = 150.0  # units


def standing(skeleton: Skeleton, frames: int = 30, bend: float = 0.3) -> torch.Tensor:
    """Joints (F, J, 3) in the skeleton's unit: toes at height 0, knees bent by `bend` radians forwards and back."""
    thigh = (0.0, -torch.cos(torch.tensor(bend)).item(), torch.sin(torch.tensor(bend)).item())
    shank = (0.0, thigh[1], -thigh[2])
    pose = torch.zeros(skeleton.num_joints, 3, dtype=torch.float64)
    if skeleton.rest_offsets is None:
        lengths = torch.full((skeleton.num_joints - 1,), _LENGTHS_KIT, dtype=torch.float64)
    else:
        lengths = reference_lengths(pose[None], skeleton)
    for joint, parent in enumerate(skeleton.parents):
        if parent < 0:
            continue
        side, _, part = skeleton.joints[joint].rpartition("_")
        way = {"knee": thigh, "ankle": shank}.get(part, _WAYS.get(part, _UP))
        if part in ("hip", "collar", "shoulder"):
            way = (1.0 if side == "left" else -1.0, 0.0, 0.0)
        pose[joint] = pose[parent] + lengths[joint - 1] * torch.nn.functional.normalize(pose.new_tensor(way), dim=0)
    pose[:, 1] -= pose[list(skeleton.feet), 1].min()
    return pose.expand(frames, -1, -1).clone()


def bone_lengths(joints: torch.Tensor, skeleton: Skeleton) -> torch.Tensor:
    """Lengths (F, J - 1)."""
    return (joints[:, 1:] - joints[:, list(skeleton.parents[1:])]).norm(dim=-1)
