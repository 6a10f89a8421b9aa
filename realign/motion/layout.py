"""Layout of the 263 (HumanML3D) or 251 (KIT-ML) feature columns, and their mirroring."""

from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from realign.errors import InputError
from realign.motion.skeleton import HUMANML3D, Skeleton


def feature_groups(skeleton: Skeleton = HUMANML3D) -> dict[str, slice]:
    """Columns of each of the seven feature groups.

    Args:
        skeleton: Skeleton of the features.

    Returns:
        "yaw" (1, radians of half angle per frame), "root_velocity" (x and z, 2), "height" (1), "positions" (3 (J - 1)),
        "rotations" (6 (J - 1)), "velocities" (3 J) and "contacts" (left two, right two), in the order of the layout.
    """
    bones, joints = skeleton.num_joints - 1, skeleton.num_joints
    sizes = {
        "yaw": 1,
        "root_velocity": 2,
        "height": 1,
        "positions": 3 * bones,
        "rotations": 6 * bones,
        "velocities": 3 * joints,
        "contacts": 4,
    }
    groups, start = {}, 0
    for name, size in sizes.items():
        groups[name] = slice(start, start + size)
        start += size
    return groups


def mirror_features(features: Float[Tensor, "*B F C"], skeleton: Skeleton = HUMANML3D) -> Float[Tensor, "*B F C"]:
    """Features of the mirrored motion: an exact permutation with signs, which is its own inverse.

    Args:
        features: Unnormalised features.
        skeleton: Their skeleton.

    Raises:
        InputError: Features of another width.
    """
    check_features(features, skeleton)
    order, signs = mirror_map(skeleton)
    return features[..., order.to(features.device)] * signs.to(features)


@lru_cache
def mirror_map(skeleton: Skeleton) -> tuple[Int[Tensor, "C"], Float[Tensor, "C"]]:
    """Permutation and signs of `mirror_features`: `mirrored = features[..., order] * signs`."""
    groups = feature_groups(skeleton)
    joints = torch.tensor(skeleton.mirror_order)
    order, signs = torch.arange(skeleton.num_features), torch.ones(skeleton.num_features)
    signs[groups["yaw"]] = -1
    signs[groups["root_velocity"]] = torch.tensor([-1.0, 1.0])
    # Reflecting x on both sides of a rotation matrix negates every entry with exactly one index x.
    axes = {"positions": [-1, 1, 1], "rotations": [1, -1, -1, -1, 1, 1], "velocities": [-1, 1, 1]}
    for name, sign in axes.items():
        which = joints if name == "velocities" else joints[1:] - 1  # the root has no position or rotation
        columns = order[groups[name]].view(len(which), len(sign))
        order[groups[name]] = columns[which].flatten()
        signs[groups[name]] = torch.tensor(sign, dtype=signs.dtype).repeat(len(which))
    order[groups["contacts"]] = order[groups["contacts"]].roll(2)
    return order, signs


def check_features(features: Tensor, skeleton: Skeleton) -> None:
    """Refuse features that are not (..., F, C) of the skeleton.

    Raises:
        InputError: Another shape.
    """
    if features.ndim < 2 or features.shape[-1] != skeleton.num_features:
        raise InputError(
            f"features of shape {tuple(features.shape)} do not fit skeleton {skeleton.name!r}: "
            f"give (..., frames, {skeleton.num_features})"
        )
