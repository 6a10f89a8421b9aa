"""Joints to the HumanML3D (263) or KIT-ML (251) features of Guo et al. (CVPR 2022) and back, batched and in torch.

The published program does three things that its description omits; features must agree with it, so they are kept. The
smoothed facing subtracts the axis of the hips from that of the shoulders (the unsmoothed one adds them). Rotations of
every chain, arms included, start from the rotation of the root. The root rotation of the first frame is the identity,
whatever its facing.

This module also defines results where the published steps are undefined. A frame without a facing adds nothing to the
smoothed facing. If the smoothed facing vanishes, the frame takes that of the nearest earlier frame that has one (else
the nearest later, else Z+). Opposite vectors turn half a turn about a fixed axis. A bone of zero length points along
its neutral direction.

One value is corrected. When the facing passes Z-, the root quaternion changes sign and the published yaw velocity of
that step has the wrong sign, so that joints recovered from it turn in the wrong direction. Here the step takes the
smaller angle; `published_yaw` restores the published value.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from realign.motion.canonical import canonicalize_joints, check_joints, horizontal, unit_or_neighbour
from realign.motion.layout import check_features, feature_groups
from realign.motion.rotations import (
    planar_stack,
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_to_sixd,
    rotate_yaw,
    shortest_arc,
    squared_length,
)
from realign.motion.skeleton import HUMANML3D, Skeleton
from realign.precision import double, widest
from realign.transfer import places, upload

_SIGMA = 20  # frames; width of the Gaussian that smooths the facing
_RADIUS = 4 * _SIGMA  # the published filter cuts it off here
_BATCH_FRAMES = 2048  # frames of clips computed together: enough to amortise calls, few enough for the cache


def joints_to_features(
    joints: Float[Tensor, "*B T J 3"], skeleton: Skeleton = HUMANML3D, *, canonical: bool = False
) -> Float[Tensor, "*B T-1 C"]:
    """Features of joint positions, computed in the published order.

    Args:
        joints: Global positions in the skeleton's unit, Y up, at the skeleton's fps, T >= 2 frames.
        skeleton: The skeleton of the joints; the clip is scaled to its `rest_offsets`.
        canonical: The joints are already scaled, on the floor, at the origin and facing Z+: skip those steps.

    Returns:
        Features of all frames but the last, C = 12 J - 1, in the type and on the device of `joints`; finite for finite
        joints. A NaN affects only its own clip.

    Raises:
        InputError: Wrong number of joints, fewer than 2 frames, or legs of zero length in a first frame.
    """
    check_joints(joints, skeleton, least=2)
    x = planar_stack(joints.to(widest(joints.device)).unbind(-1))
    if not canonical:
        x = canonicalize_joints(x, skeleton)
    forward = _root_facing(x, skeleton)
    now = forward[..., :-1, :]
    velocity = x.diff(dim=-3)
    local = x[..., :-1, 1:, :] - x[..., :-1, :1, :] * x.new_tensor([1.0, 0.0, 1.0])
    still = squared_length(velocity[..., list(skeleton.feet), :]) < skeleton.contact_threshold
    parts = [
        _yaw_velocity(forward),
        rotate_yaw(forward[..., 1:, :], velocity[..., 0, :])[..., ::2],
        x[..., :-1, 0, 1:2],
        rotate_yaw(now[..., None, :], local).flatten(-2),
        _rotations(x[..., :-1, :, :], now, skeleton).flatten(-2),
        rotate_yaw(now[..., None, :], velocity).flatten(-2),
        still.to(x.dtype),
    ]
    return torch.cat(parts, dim=-1).to(joints.dtype)


def _root_facing(joints: Tensor, skeleton: Skeleton) -> Float[Tensor, "*B T 2"]:
    """Smoothed unit facing (x, z) of every frame, Z+ in the first; the root rotation takes it to Z+."""
    right_hip, left_hip, right_shoulder, left_shoulder = joints[..., list(skeleton.facing), :].unbind(-2)
    # The published program reads the hips in the opposite order here, and features must agree with it.
    across = right_shoulder - left_shoulder - (right_hip - left_hip)
    forward = unit_or_neighbour(_smooth(horizontal(across)))
    first = torch.zeros_like(forward[..., :1, :])
    first[..., 1] = 1
    return torch.cat([first, forward[..., 1:, :]], dim=-2)


def _smooth(x: Float[Tensor, "*B T 2"]) -> Float[Tensor, "*B T 2"]:
    """Gaussian filter along time; edges are padded with their nearest value."""
    offset = torch.arange(-_RADIUS, _RADIUS + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (offset / _SIGMA).square())
    rows = x.movedim(-1, -2).reshape(-1, 2, x.shape[-2])
    rows = torch.nn.functional.pad(rows, (_RADIUS, _RADIUS), mode="replicate")
    smooth = rows.unfold(-1, 2 * _RADIUS + 1, 1) @ (kernel / kernel.sum())  # several times faster than a convolution
    return smooth.reshape(*x.shape[:-2], 2, x.shape[-2]).movedim(-2, -1)


def _half_angle(forward: Float[Tensor, "*B T 2"]) -> Float[Tensor, "*B T 1"]:
    """Half the angle about Y that takes the facing to Z+, at most a quarter turn to either side."""
    return torch.atan2(-forward[..., :1], forward[..., 1:]) / 2


def _yaw_velocity(forward: Float[Tensor, "*B T 2"]) -> Float[Tensor, "*B T-1 1"]:
    """Arcsin of the y component of the root quaternion's step, for the quaternion of positive scalar part."""
    step = _half_angle(forward).diff(dim=-2)
    return step - math.pi * torch.round(step / math.pi)


def _rotations(joints: Tensor, forward: Tensor, skeleton: Skeleton) -> Float[Tensor, "*B T K 6"]:
    """6-d form of each bone's shortest-arc rotation relative to the previous bone of its chain."""
    before = [0] * skeleton.num_joints
    for chain in skeleton.chains:
        for joint, child in zip(chain[1:], chain[2:], strict=False):
            before[child] = joint  # the first bone of a chain keeps 0, the rotation of the root
    bones = joints[..., 1:, :] - joints[..., places(skeleton.parents[1:], joints.device), :]
    world = shortest_arc(_neutral(skeleton, joints.device).to(joints.dtype), bones)
    half = _half_angle(forward)
    zero = torch.zeros_like(half)
    root = torch.cat([torch.cos(half), zero, torch.sin(half), zero], dim=-1)
    parent = torch.cat([root[..., None, :], world], dim=-2)[..., places(tuple(before[1:]), joints.device), :]
    return quaternion_to_sixd(quaternion_multiply(quaternion_conjugate(parent), world))


@lru_cache(maxsize=16)
def _neutral(skeleton: Skeleton, device: torch.device) -> Float[Tensor, "K 3"]:
    """Neutral directions of the bones, copied to a device once."""
    with torch.inference_mode(False):
        return upload(torch.tensor(skeleton.raw_offsets[1:], dtype=torch.float64).to(widest(device)), device)


def published_yaw(features: Float[Tensor, "*B F C"]) -> Float[Tensor, "*B F C"]:
    """Features with the published sign of the yaw velocity in frames where the facing passes Z-.

    Args:
        features: Unnormalised features, beginning with the first frame of a clip.
    """
    half = torch.nn.functional.pad(double(features[..., 0]).cumsum(dim=-1), (1, 0))
    passes = torch.round(half / math.pi).diff(dim=-1) != 0
    yaw = torch.where(passes.to(features.device), -features[..., 0], features[..., 0])
    return torch.cat([yaw[..., None], features[..., 1:]], dim=-1)


def clips_to_features(
    clips: Sequence[Float[Tensor, "_ J 3"]], skeleton: Skeleton = HUMANML3D, *, canonical: bool = False
) -> list[Float[Tensor, "_ C"]]:
    """Features of many clips of different lengths, equal to those of each clip alone but computed many times faster.

    Clips of similar length are computed together, the shorter ones padded with their last frame. This changes neither
    the floor nor the smoothing, which pads edges in the same way.

    Args:
        clips: Global positions, each with at least 2 frames, all of one type and on one device.
        skeleton: The skeleton of the joints.
        canonical: As in `joints_to_features`.

    Returns:
        Features of each clip, in the order of `clips`.

    Raises:
        InputError: As in `joints_to_features`, for any of the clips.
    """
    for clip in clips:
        check_joints(clip, skeleton, least=2)
    order = sorted(range(len(clips)), key=lambda i: len(clips[i]), reverse=True)
    results: list[Tensor] = [torch.empty(0)] * len(clips)
    start = 0
    while start < len(order):
        longest = len(clips[order[start]])
        chosen = order[start : start + max(1, _BATCH_FRAMES // longest)]
        padded = torch.stack(
            [torch.cat([clips[i], clips[i][-1:].expand(longest - len(clips[i]), -1, -1)]) for i in chosen]
        )
        for i, features in zip(chosen, joints_to_features(padded, skeleton, canonical=canonical), strict=True):
            results[i] = features[: len(clips[i]) - 1].clone()  # a view would keep the whole batch alive
        start += len(chosen)
    return results


def features_to_joints(features: Float[Tensor, "*B F C"], skeleton: Skeleton = HUMANML3D) -> Float[Tensor, "*B F J 3"]:
    """Joint positions from the root trajectory and the root-relative positions of the features; differentiable.

    Args:
        features: Unnormalised features.
        skeleton: Their skeleton.

    Returns:
        Global positions in the skeleton's unit, the first frame's root at the xz origin.

    Raises:
        InputError: Features of another width.
    """
    check_features(features, skeleton)
    groups = feature_groups(skeleton)
    # Yaw velocity is a half angle, so the heading is twice its running sum; it applies from the next frame on.
    heading = 2 * _running(features[..., 0])
    back = torch.stack([torch.sin(heading), torch.cos(heading)], dim=-1)  # rotate_yaw(back, .) returns to the world
    along_x, along_z = features[..., :-1, groups["root_velocity"]].unbind(-1)
    step = torch.stack([along_x, torch.zeros_like(along_x), along_z], dim=-1)
    moved = rotate_yaw(back[..., 1:, :], step)
    path = torch.nn.functional.pad(moved, (0, 0, 1, 0)).cumsum(dim=-2)
    local = features[..., groups["positions"]].unflatten(-1, (skeleton.num_joints - 1, 3))
    body = rotate_yaw(back[..., None, :], local) + path[..., None, :]
    root = torch.stack([path[..., 0], features[..., 3], path[..., 2]], dim=-1)
    return torch.cat([root[..., None, :], body], dim=-2)


def consistent_features(features: Float[Tensor, "*B F C"], skeleton: Skeleton = HUMANML3D) -> Float[Tensor, "*B F C"]:
    """Features whose rotations, velocities and contacts are those of the joints that `features_to_joints` gives.

    Velocities and contacts of the last frame, whose next one is unknown, stay as they are. Nothing waits for a device.

    Args:
        features: Unnormalised features.
        skeleton: Their skeleton.

    Raises:
        InputError: Features of another width.
    """
    joints, groups = features_to_joints(features, skeleton), feature_groups(skeleton)
    heading = 2 * _running(features[..., 0])
    forward = torch.stack([-torch.sin(heading), torch.cos(heading)], dim=-1)
    velocities = rotate_yaw(forward[..., :-1, None, :], joints.diff(dim=-3)).flatten(-2)
    velocities = torch.cat([velocities, features[..., -1:, groups["velocities"]]], dim=-2)
    rotations = _rotations(joints, forward, skeleton).flatten(-2)
    moved = joints[..., places(skeleton.feet, joints.device), :].diff(dim=-3)
    still = (squared_length(moved) < skeleton.contact_threshold).to(features.dtype)
    contacts = torch.cat([still, features[..., -1:, groups["contacts"]]], dim=-2)
    return torch.cat([features[..., : groups["rotations"].start], rotations, velocities, contacts], dim=-1)


def _running(velocity: Float[Tensor, "*B F"]) -> Float[Tensor, "*B F"]:
    """Sum of the values of all earlier frames."""
    return torch.nn.functional.pad(velocity[..., :-1], (1, 0)).cumsum(dim=-1)
