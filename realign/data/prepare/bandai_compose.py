"""Motions composed of two recordings: the arms of one on the walk of another, or one action after the other."""

import numpy as np
from numpy.typing import NDArray

from realign.data.prepare.bandai_measures import SHOULDERS, facing_yaw
from realign.motion.bvh.body import body_frame
from realign.motion.bvh.retarget import scale_to_skeleton
from realign.motion.skeleton import HUMANML3D

BLENDED = 8
"""Frames over which one action goes over into the next."""
MEET = 0.09
"""Metres that the poses may be apart where they do, the mean of all joints over these frames."""
_SPINE3, _NECK = 9, 12
_ARMS = ((9, 13, 16, 18, 20), (9, 14, 17, 19, 21))
Joints = NDArray[np.floating]


def arms_on_walk(walk: Joints, arms: Joints, start: int) -> Joints:
    """A walk whose arms move as those of another motion, seen from the chest; legs, trunk and path are untouched.

    Args:
        walk: Positions (F, 22, 3), Y up.
        arms: Positions (G, 22, 3).
        start: First frame taken of the longer one; the result is as long as the shorter one.
    """
    frames = min(len(walk), len(arms))
    walk = walk[start : start + frames] if len(walk) > frames else walk
    arms = arms[start : start + frames] if len(arms) > frames else arms
    turned = _chest(walk) @ _chest(arms).swapaxes(-1, -2)
    result = walk.copy()
    for chain in _ARMS:
        for above, joint in zip(chain, chain[1:], strict=False):
            bone = arms[:, joint] - arms[:, above]
            result[:, joint] = result[:, above] + (turned @ bone[..., None])[..., 0]
    return result


def in_turn(first: Joints, second: Joints) -> tuple[Joints, float]:
    """One motion after the other, turned and moved to begin where the first one ends.

    Args:
        first: Positions (F, 22, 3), Y up, of at least `BLENDED` frames.
        second: Positions (G, 22, 3), the same.

    Returns:
        Positions (F + G - BLENDED, 22, 3), and how far apart the poses are on average where they are blended.
    """
    end, begin = first[-BLENDED:], second[:BLENDED]
    turn = facing_yaw(end).mean() - facing_yaw(begin).mean()
    cos, sin = np.cos(turn), np.sin(turn)
    about = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    moved = second @ about.T
    shift = (end[:, 0] - moved[:BLENDED, 0]).mean(axis=0) * [1, 0, 1]
    moved = moved + shift
    apart = float(np.linalg.norm(end - moved[:BLENDED], axis=-1).mean())
    weight = (np.arange(1, BLENDED + 1) / (BLENDED + 1))[:, None, None]
    blended = end * (1 - weight) + moved[:BLENDED] * weight
    joined = np.concatenate([first[:-BLENDED], blended, moved[BLENDED:]])
    return scale_to_skeleton(joined, HUMANML3D), apart


def _chest(joints: Joints) -> Joints:
    """(F, 3, 3) axes of the chest: left, up, ahead."""
    across = joints[:, SHOULDERS[0]] - joints[:, SHOULDERS[1]]
    return body_frame(across, joints[:, _NECK] - joints[:, _SPINE3])
