from collections.abc import Mapping

import numpy as np

from realign.motion.bvh.reader import Bvh
from realign.motion.bvh.rig_map import ResolvedRig

# HumanML3D's offsets of joints that other rigs place elsewhere or lack, in metres on a body with the reference leg, in
# frames (left, up, ahead): hips from the pelvis (mean directions in that dataset times its bone lengths), the base of
# the toes from the ankle, the neck from the middle of the shoulders, the head from the neck.
LEG = 0.8158
_LEFT_HIP, _RIGHT_HIP = np.array([0.0590, -0.0828, -0.0175]), np.array([-0.0604, -0.0908, -0.0137])
_TOES, _NECK, _HEAD = np.array([0.0, -0.055, 0.13]), np.array([0.0, 0.07, 0.0]), np.array([0.0, 0.089, 0.050])
# A bone shorter than this fraction of the legs counts as absent.
_NO_LENGTH = 1e-3
# Heights of spine1, spine2 and spine3 as fractions of the line from the pelvis to the neck, which are those of
# HumanML3D's bones. The top of the breastbone is at a fraction of the line from spine3 to the neck; collars are halfway
# between it and the shoulders.
_SPINE, _BREASTBONE = (0.2386, 0.4982, 0.6023), 0.6
# Height above the middle of the hips by which the pelvis stands upright; a joint of the rig within `_SNAP` replaces it.
_CHEST, _SNAP = 0.58, 0.08
_LEG_BONES = (("hip", "knee"), ("knee", "ankle"))
_TINY = 1e-9


def place_joints(positions: np.ndarray, rig: ResolvedRig) -> dict[str, np.ndarray]:
    """The HumanML3D joints of a foreign body, in its own size.

    Limbs, neck and head are the rig's joints. If the rig does not name them, pelvis and hips get HumanML3D's offsets
    from the middle of the hips, spine joints are distributed along the rig's spine in the proportions of HumanML3D's
    bones, and neck, collars, head and toes follow the body's. A joint at the end of a bone without length counts as not
    named.

    Args:
        positions: (T, S, 3) positions of the file's joints, Y up.
        rig: Indices of the rig's joints among them.

    Returns:
        (T, 3) positions of each of the 22 joints by name.
    """
    body = _with_length(rig.body(positions))
    leg = leg_length(body)
    size = leg / LEG
    hips, middle = body["left_hip"] - body["right_hip"], (body["left_hip"] + body["right_hip"]) / 2
    shoulders = body["left_shoulder"] - body["right_shoulder"]
    if _mean_length(hips) < _NO_LENGTH * leg:  # hips without a distance turn with the shoulders
        hips = shoulders
    if "neck" not in body:
        between = (body["left_shoulder"] + body["right_shoulder"]) / 2
        body["neck"] = between + body_frame(shoulders, between - middle) @ _NECK * size
    line = [*(positions[:, index] for index in rig.spine), body["neck"]]
    pelvis = body_frame(hips, body.get("spine2", _chest(np.stack([middle, *line]))) - middle)
    if "pelvis" not in body:
        body["pelvis"] = middle - pelvis @ (_LEFT_HIP + _RIGHT_HIP) * (size / 2)
        body["left_hip"] = body["pelvis"] + pelvis @ _LEFT_HIP * size
        body["right_hip"] = body["pelvis"] + pelvis @ _RIGHT_HIP * size
    trunk = np.stack([body["pelvis"], *line])
    for name, fraction in zip(("spine1", "spine2", "spine3"), _SPINE, strict=True):
        body.setdefault(name, _along(trunk, fraction))
    breastbone = _along(trunk, _SPINE[-1] + _BREASTBONE * (1 - _SPINE[-1]))
    for side in ("left", "right"):
        body.setdefault(f"{side}_collar", (breastbone + body[f"{side}_shoulder"]) / 2)
        ankle = body[f"{side}_ankle"]
        foot = body_frame(pelvis[..., 0], body[f"{side}_knee"] - ankle)
        body.setdefault(f"{side}_foot", ankle + foot @ _TOES * size)
    upper = body_frame(shoulders, body["neck"] - body["spine3"])
    body.setdefault("head", body["neck"] + upper @ _HEAD * size)
    return body


def _with_length(body: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Remove joints at the end of bones without length; limbs continue straight there."""
    kept, least = dict(body), _NO_LENGTH * leg_length(body)
    above = {"head": "neck", **{name: name.replace("_foot", "_ankle") for name in body if name.endswith("_foot")}}
    above |= {"spine1": "pelvis", "spine2": "spine1", "spine3": "spine2"}
    above |= {"left_collar": "spine3", "right_collar": "spine3"}
    for joint, parent in above.items():
        if joint in body and parent in body and _mean_length(body[joint] - body[parent]) < least:
            del kept[joint]
    for side in ("left", "right"):
        for limb in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist")):
            first, middle, last = (f"{side}_{part}" for part in limb)
            if _mean_length(body[middle] - body[first]) < least:
                kept[middle] = (body[first] + body[last]) / 2
            elif _mean_length(body[last] - body[middle]) < least:
                kept[last] = 2 * body[middle] - body[first]
                if last == f"{side}_ankle" and f"{side}_foot" in kept:
                    kept[f"{side}_foot"] = kept[f"{side}_foot"] + kept[last] - body[last]
    return kept


def _mean_length(vectors: np.ndarray) -> float:
    """Mean length over all frames."""
    return float(np.linalg.norm(vectors, axis=-1).mean())


def leg_length(body: Mapping[str, np.ndarray]) -> float:
    """Mean length of thigh and shin together, from (T, 3) positions of the legs by name."""
    pairs = [(f"{side}_{upper}", f"{side}_{lower}") for side in ("left", "right") for upper, lower in _LEG_BONES]
    return sum(_mean_length(body[lower] - body[upper]) for upper, lower in pairs) / 2


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _TINY)


def body_frame(across: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(T, 3, 3) rotations with the columns left, up (perpendicular to left) and ahead."""
    left = _unit(across)
    upright = _unit(up - (up * left).sum(axis=-1, keepdims=True) * left)
    return np.stack([left, upright, np.cross(left, upright)], axis=-1)


def _ends(points: np.ndarray) -> np.ndarray:
    """Positions (K,) of a polyline's points (K, T, 3) as fractions of its mean length."""
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(axis=1)
    return np.concatenate([[0.0], np.cumsum(lengths)]) / max(float(lengths.sum()), _TINY)


def _chest(points: np.ndarray) -> np.ndarray:
    """The polyline's inner point that is near the chest; without one, the place of the chest on it."""
    inner = _ends(points)[1:-1]
    nearest = float(inner[np.abs(inner - _CHEST).argmin()]) if inner.size else _CHEST
    return _along(points, nearest if abs(nearest - _CHEST) < _SNAP else _CHEST)


def _along(points: np.ndarray, fraction: float) -> np.ndarray:
    """Positions (T, 3) at a fraction of the mean length of a polyline (K, T, 3)."""
    ends = _ends(points)
    piece = int(np.clip(np.searchsorted(ends, fraction), 1, len(ends) - 1))
    weight = (fraction - ends[piece - 1]) / max(float(ends[piece] - ends[piece - 1]), _TINY)
    return points[piece - 1] * (1 - weight) + points[piece] * weight


def has_added_pose(bvh: Bvh, positions: np.ndarray, rig: ResolvedRig) -> bool:
    """Whether a converter added a T-pose as the first frame: the body jumps from it, or its root is not turned.

    Args:
        bvh: The file.
        positions: (T, J, 3) joints of its first frames, Y up.
        rig: Indices of the rig's joints among them.
    """
    if len(positions) < 3:
        return False
    pose = rig.body(positions[0])
    left = _unit(pose["left_shoulder"] - pose["right_shoulder"])
    straight = [_unit(pose["left_wrist"] - pose["left_shoulder"]) @ left]
    straight.append(_unit(pose["right_shoulder"] - pose["right_wrist"]) @ left)
    straight += [_unit(pose[f"{side}_hip"] - pose[f"{side}_ankle"])[1] for side in ("left", "right")]
    steps = np.linalg.norm(np.diff(positions[:, sorted(rig.joints.values())], axis=0), axis=-1).mean(axis=-1)
    jump = steps[0] > max(4 * steps[1:].max(), 0.01 * leg_length(rig.body(positions[:1])))
    turns = bvh.motion[:2, bvh.columns("rotation", root=True)]
    unturned = not turns[0].any() and bool(turns[1].any())
    return bool(min(straight) > 0.9 and (jump or unturned))
