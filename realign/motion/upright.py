"""Detect which axis of a file points up and whether its coordinates are mirrored, and turn positions to Y up."""

from collections.abc import Mapping

import numpy as np

from realign.errors import InputError

UP_AXES = ("x", "y", "z", "-x", "-y", "-z")
_UPRIGHT = 0.7  # smallest mean cosine between an axis and a body that stands along it
_RESTS = 0.8  # the same for one pose
_NEAR = 0.15  # leg lengths: the lowest joint is on the floor within this distance of height 0
_ABOVE = 0.06  # leg lengths: mean height of the joints above the floor, even of a body that lies
_CLIMB = 1.2  # leg lengths: a body moves up or down by more only when it climbs
_BACKWARD = -0.5  # cosine between feet and forward in mirrored coordinates; toes turned in do not reach it
_TINY = 1e-9


def parse_up(text: str) -> str:
    """An axis of `UP_AXES` from user input.

    Args:
        text: Such as "z", "+Z" or "-y".

    Raises:
        InputError: It is not an axis.
    """
    axis = str(text).strip().lower().removeprefix("+")
    if axis not in UP_AXES:
        raise InputError(f"{text!r} is not an axis that can point up: give one of {', '.join(UP_AXES)}")
    return axis


def turn_up(positions: np.ndarray, up: str) -> np.ndarray:
    """Positions turned by the smallest angle, without mirroring, so that `up` becomes Y.

    Args:
        positions: (..., 3) positions.
        up: One of `UP_AXES`.
    """
    x, y, z = (positions[..., i] for i in range(3))
    turned = {
        "x": (-y, x, z), "y": (x, y, z), "z": (x, z, -y),
        "-x": (y, -x, z), "-y": (x, -y, -z), "-z": (x, -z, y),
    }[up]  # fmt: skip
    return np.stack(turned, axis=-1)


def find_up(
    positions: np.ndarray, body: Mapping[str, np.ndarray], leg: float, rest: Mapping[str, np.ndarray] | None = None
) -> str:
    """The axis along which a body stands in a motion.

    The axis is that of a rest pose that stands along Y or Z, otherwise Y. A motion that stands along another axis
    overrules it. Since people also lie and crawl, the other axis must then fit the floor at height 0 and the root
    trajectory better, unless neither a floor nor a standing rest pose is found.

    Args:
        positions: (T, S, 3) positions of all joints.
        body: (T, 3) positions of pelvis (or hips), shoulders and ankles by HumanML3D name.
        leg: Length of the legs, in the unit of the positions.
        rest: (3,) positions of the same joints in the rest pose, if there is one.

    Returns:
        One of `UP_AXES`.
    """
    at_rest = None if rest is None else _main_axis(_trunk(rest), _RESTS)
    usual = at_rest if at_rest in ("y", "z") else "y"
    found = _main_axis(_trunk(body), _UPRIGHT)
    if found is None or found == usual:
        return usual
    root = (body["left_hip"] + body["right_hip"]) / 2
    better = _fits(positions, root, leg, found) - _fits(positions, root, leg, usual)
    blind = found == "y" or (at_rest != usual and not _on_floor(positions, leg, usual))
    return found if better > 0 or (better == 0 and blind) else usual


def _trunk(body: Mapping[str, np.ndarray]) -> np.ndarray:
    """Mean unit vector from the ankles to the shoulders; zero for a body without size."""
    ankles = body["left_ankle"] + body["right_ankle"]
    trunk = np.atleast_2d(body["left_shoulder"] + body["right_shoulder"] - ankles)
    return np.asarray((trunk / np.maximum(np.linalg.norm(trunk, axis=-1, keepdims=True), _TINY)).mean(axis=0))


def _main_axis(direction: np.ndarray, least: float) -> str | None:
    """The axis along which a mean direction points; None if there is none."""
    axis = int(np.abs(direction).argmax())
    if abs(direction[axis]) < least:
        return None
    return ("" if direction[axis] > 0 else "-") + "xyz"[axis]


def _along(positions: np.ndarray, axis: str) -> np.ndarray:
    """Coordinates along an axis."""
    values = positions[..., "xyz".index(axis[-1])]
    return -values if axis.startswith("-") else values


def _on_floor(positions: np.ndarray, leg: float, axis: str) -> bool:
    """Whether the lowest joint stays near height 0 with the body above it."""
    heights = _along(positions, axis)
    near = (np.abs(heights.min(axis=-1)) < _NEAR * leg).mean() > 0.8
    return bool(near and np.median(heights.mean(axis=-1)) > _ABOVE * leg)


def _fits(positions: np.ndarray, root: np.ndarray, leg: float, axis: str) -> float:
    """How well an axis fits as up: up to 1 for a floor at height 0, minus 1 if the root moves too far along it."""
    flies = bool(np.ptp(_along(root, axis)) > _CLIMB * leg)
    depth = float(np.median(np.abs(_along(positions, axis).min(axis=-1)))) / leg
    # Of two floors, the one closer to the lowest joint wins.
    return float(_on_floor(positions, leg, axis)) * (1.0 - depth) - flies


def is_mirrored(body: Mapping[str, np.ndarray], leg: float) -> bool:
    """Whether feet and knees point backwards, as in left-handed coordinates, which exchange left and right.

    Args:
        body: (T, 3) positions of limbs by HumanML3D name, Y up; toes may be missing.
        leg: Length of the legs.
    """
    across = body["left_hip"] - body["right_hip"] + body["left_shoulder"] - body["right_shoulder"]
    ahead = np.cross(across, [0.0, 1.0, 0.0])
    ahead /= np.maximum(np.linalg.norm(ahead, axis=-1, keepdims=True), _TINY)
    feet, knees = [], []
    for side in ("left", "right"):
        hip, knee, ankle = (body[f"{side}_{part}"] for part in ("hip", "knee", "ankle"))
        knees.append(((knee - (hip + ankle) / 2) * ahead).sum(axis=-1).mean() / leg)
        if f"{side}_foot" in body:
            foot = body[f"{side}_foot"] - ankle
            size = np.linalg.norm(foot, axis=-1)
            feet.append(((foot * ahead).sum(axis=-1) / np.maximum(size, _TINY)).mean())
    if feet:
        return bool(max(feet) < _BACKWARD and np.mean(knees) < 0.02)
    return bool(max(knees) < -0.02)
