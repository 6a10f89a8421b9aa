"""Motions made by forward kinematics of smooth random bone directions: no data needed."""

import numpy as np
import torch
from plain_features import qrot

from realign.motion import HUMANML3D, KIT

# Any bone lengths will do, since the published target clip of KIT is not available.
KIT_SCALED = KIT.with_target(300 * torch.randn(21, 3, generator=torch.Generator().manual_seed(0)))


def smooth_noise(rng, frames, *shape):
    """Sum of three slow sinusoids per channel."""
    time = np.linspace(0, 1, frames).reshape(-1, *[1] * len(shape))
    total = np.zeros((frames, *shape))
    for cycles in (0.5, 1.3, 2.9):
        total += rng.normal(size=shape) * np.sin(2 * np.pi * (cycles * time + rng.uniform(size=shape)))
    return total / 3


def chained(root, bones, skeleton):
    joints = np.zeros_like(bones)
    joints[..., 0, :] = root
    for chain in skeleton.chains:
        for joint, child in zip(chain, chain[1:], strict=False):
            joints[..., child, :] = joints[..., joint, :] + bones[..., child, :]
    return joints


def standing_bones(skeleton):
    """Bones (J, 3) in metres of a person facing Z+, arms and legs down, shoulders wider than hips."""
    right_hip, left_hip, right_shoulder, left_shoulder = skeleton.facing
    bones = 0.2 * np.array(skeleton.raw_offsets)
    bones[[right_hip, left_hip]] = [[-0.1, 0, 0], [0.1, 0, 0]]
    bones[[right_shoulder, left_shoulder]] = [[-0.2, -0.05, 0], [0.2, -0.05, 0]]
    return bones


def upright(frames, skeleton=HUMANML3D):
    """Float64 joints of a person who stands still at the origin, facing Z+."""
    joints = chained(np.zeros(3), standing_bones(skeleton), skeleton)
    return torch.from_numpy(joints).expand(frames, -1, -1).clone()


def person(seed, frames, skeleton=HUMANML3D, turn=0.5):
    """Float64 joints (frames, J, 3): bones sway about a standing pose while the body turns and wanders."""
    rng = np.random.default_rng(seed)
    unit = 1.0 if skeleton.unit == "m" else 400.0
    bones = standing_bones(skeleton)
    sizes = np.linalg.norm(bones, axis=-1, keepdims=True)
    bones = bones + 0.3 * sizes * smooth_noise(rng, frames, skeleton.num_joints, 3)
    angle = turn * np.pi * smooth_noise(rng, frames) + rng.uniform(-3, 3)
    heading = np.stack([np.cos(angle / 2), 0 * angle, np.sin(angle / 2), 0 * angle], -1)
    root = smooth_noise(rng, frames, 3) + [0.3, 1.0, -0.2]
    return torch.from_numpy(unit * chained(root, qrot(heading[:, None], bones), skeleton))
