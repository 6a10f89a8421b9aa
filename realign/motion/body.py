import numpy as np

from realign.motion.bvh_reader import Bvh
from realign.motion.rig_map import ResolvedRig

# Where HumanML3D has the joints that other rigs put elsewhere or lack, in metres on a body with the reference leg, in
# frames (left, up, ahead): hips from the pelvis (mean directions of motions in that dataset's skeleton times its bone
# lengths), the base of the toes from the ankle, the head from the neck.
_LEG = 0.8158
_LEFT_HIP, _RIGHT_HIP = np.array([0.0590, -0.0828, -0.0175]), np.array([-0.0604, -0.0908, -0.0137])
_TOES, _HEAD = np.array([0.0, -0.055, 0.13]), np.array([0.0, 0.089, 0.050])
# Heights of spine1 and spine2 as shares of the way from between the hips to the neck. Where the rig has a joint within
# `_SNAP` of them, that one is taken: the back bends there.
_SPINE1, _SPINE2, _SNAP = 0.34, 0.58, 0.08
# Shares of the way from spine2 to the neck: spine3, and the top of the breastbone, from where collars reach half way
# to the shoulders.
_SPINE3, _BREASTBONE = 0.2, 2 / 3
_TINY = 1e-9


def place_joints(positions: np.ndarray, rig: ResolvedRig) -> dict[str, np.ndarray]:
    """The HumanML3D joints of a foreign body, in its own size.

    Limbs, neck and head are the rig's joints. Unless the rig names them: pelvis and hips get HumanML3D's places about
    the middle of the hips, the spine is shared out along the rig's own, collars, head and toes stand in the body's
    proportions.

    Args:
        positions: (T, S, 3) positions of the file's joints, Y up.
        rig: Where the rig's joints are among them.

    Returns:
        (T, 3) positions of each of the 22 joints by name.
    """
    body = {name: positions[:, index] for name, index in rig.joints.items()}
    size = leg_length(positions, rig) / _LEG
    middle = (body["left_hip"] + body["right_hip"]) / 2
    trunk = np.stack([middle, *(positions[:, index] for index in rig.spine), body["neck"]])
    chest = _snapped(trunk, _SPINE2)
    for name, share in (("spine1", _snapped(trunk, _SPINE1)), ("spine2", chest), ("spine3", _beyond(chest, _SPINE3))):
        body.setdefault(name, _along(trunk, share))
    pelvis = _frame(body["left_hip"] - body["right_hip"], body["spine2"] - middle)
    if "pelvis" not in body:
        body["pelvis"] = middle - pelvis @ (_LEFT_HIP + _RIGHT_HIP) * (size / 2)
        body["left_hip"] = body["pelvis"] + pelvis @ _LEFT_HIP * size
        body["right_hip"] = body["pelvis"] + pelvis @ _RIGHT_HIP * size
    for side in ("left", "right"):
        breastbone = _along(trunk, _beyond(chest, _BREASTBONE))
        body.setdefault(f"{side}_collar", (breastbone + body[f"{side}_shoulder"]) / 2)
        ankle = body[f"{side}_ankle"]
        foot = _frame(pelvis[..., 0], body[f"{side}_knee"] - ankle)
        body.setdefault(f"{side}_foot", ankle + foot @ _TOES * size)
    shoulders = _frame(body["left_shoulder"] - body["right_shoulder"], body["neck"] - body["spine3"])
    body.setdefault("head", body["neck"] + shoulders @ _HEAD * size)
    return body


def leg_length(positions: np.ndarray, rig: ResolvedRig) -> float:
    """Mean length of thigh and shin together."""
    length = 0.0
    for side in ("left", "right"):
        hip, knee, ankle = (positions[:, rig.joints[f"{side}_{part}"]] for part in ("hip", "knee", "ankle"))
        length += float(np.mean(np.linalg.norm(knee - hip, axis=-1) + np.linalg.norm(ankle - knee, axis=-1))) / 2
    return length


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _TINY)


def _frame(across: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(T, 3, 3) rotations whose columns are: left, up at right angles to it, ahead."""
    left = _unit(across)
    upright = _unit(up - (up * left).sum(axis=-1, keepdims=True) * left)
    return np.stack([left, upright, np.cross(left, upright)], axis=-1)


def _ends(points: np.ndarray) -> np.ndarray:
    """Shares (K,) of a polyline's mean length at which its points (K, T, 3) stand."""
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(axis=1)
    return np.concatenate([[0.0], np.cumsum(lengths)]) / max(float(lengths.sum()), _TINY)


def _snapped(points: np.ndarray, share: float) -> float:
    """The share of the polyline's nearest inner point where that is near enough, else the share itself."""
    inner = _ends(points)[1:-1]
    nearest = float(inner[np.abs(inner - share).argmin()]) if inner.size else share
    return nearest if abs(nearest - share) < _SNAP else share


def _beyond(share: float, part: float) -> float:
    """The share that lies a part of the rest further."""
    return share + part * (1 - share)


def _along(points: np.ndarray, share: float) -> np.ndarray:
    """Positions (T, 3) at a share of the mean length of a polyline (K, T, 3)."""
    ends = _ends(points)
    piece = int(np.clip(np.searchsorted(ends, share), 1, len(ends) - 1))
    weight = (share - ends[piece - 1]) / max(float(ends[piece] - ends[piece - 1]), _TINY)
    return points[piece - 1] * (1 - weight) + points[piece] * weight


def stands_along_z(rest: np.ndarray, positions: np.ndarray, rig: ResolvedRig) -> bool:
    """Whether the body points up Z both at rest and in the middle of its motion; BVH means Y otherwise.

    Both are asked, as people also crawl along Z, and some rigs' rest pose is no pose at all.
    """

    def standing(joints: np.ndarray) -> bool:
        ankles = (joints[..., rig.joints["left_ankle"], :] + joints[..., rig.joints["right_ankle"], :]) / 2
        x, y, z = np.median(np.atleast_2d(joints[..., rig.joints["neck"], :] - ankles), axis=0)
        return bool(z > 2 * max(abs(x), abs(y)))

    return standing(rest) and standing(positions)


def has_added_pose(bvh: Bvh, positions: np.ndarray, rig: ResolvedRig) -> bool:
    """Whether a converter added a T-pose as the first frame: the body jumps from it, or its root is not turned.

    Args:
        bvh: The file.
        positions: (T, J, 3) joints of its first frames, Y up.
        rig: Where the rig's joints are among them.
    """
    if len(positions) < 3:
        return False
    pose = {name: positions[0, index] for name, index in rig.joints.items()}
    left = _unit(pose["left_shoulder"] - pose["right_shoulder"])
    straight = [_unit(pose["left_wrist"] - pose["left_shoulder"]) @ left]
    straight.append(_unit(pose["right_shoulder"] - pose["right_wrist"]) @ left)
    straight += [_unit(pose[f"{side}_hip"] - pose[f"{side}_ankle"])[1] for side in ("left", "right")]
    steps = np.linalg.norm(np.diff(positions[:, sorted(rig.joints.values())], axis=0), axis=-1).mean(axis=-1)
    jump = steps[0] > max(4 * steps[1:].max(), 0.01 * leg_length(positions[:1], rig))
    turns = bvh.motion[:2, bvh.columns("rotation", root=True)]
    unturned = not turns[0].any() and bool(turns[1].any())
    return bool(min(straight) > 0.9 and (jump or unturned))
