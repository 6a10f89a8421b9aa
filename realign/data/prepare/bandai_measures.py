"""Measurements of a clip's joints in metres, degrees, seconds and counts, for the captions of `bandai`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PELVIS, NECK, HEAD = 0, 12, 15
HIPS, SHOULDERS, ELBOWS, WRISTS, ANKLES = (1, 2), (16, 17), (18, 19), (20, 21), (7, 8)
_STEP_SWING = 0.10  # m: the feet pass each other by at least this much in the direction of walking
_WAVE_SWING = 0.03  # m: a waving hand travels at least this far relative to its elbow between two turning points
_TURN_SWING = 45.0  # degrees: smaller changes of the facing count as sway
_RAISED = -0.12  # m relative to the shoulder: a hand above this counts as raised

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Hand:
    """One hand: its largest height above the shoulder (m), whether it passes the head, the time (s), and its waves."""

    peak: float
    over_head: bool
    when: float
    waves: int
    raised: bool


@dataclass(frozen=True)
class Measures:
    """Measurements of one clip in metres, seconds and degrees.

    Attributes:
        seconds: Length of the clip.
        walked: Length of the pelvis trajectory on the ground.
        forward: Distance in the direction that the body faces, negative backward.
        leftward: Distance to the body's left.
        turns: Successive turns of at least 45 degrees, positive to the left.
        steps: Steps of the feet.
        bow: Largest forward lean of the trunk relative to its first frames.
        bow_when: Time of that lean.
        left: The left hand.
        right: The right hand.
    """

    seconds: float
    walked: float
    forward: float
    leftward: float
    turns: tuple[float, ...]
    steps: int
    bow: float
    bow_when: float
    left: Hand
    right: Hand


def facing_yaw(joints: Array) -> Array:
    """Yaw (F,) in radians of the body's facing, unwrapped; 0 faces Z+, positive turns to the left (Y up)."""
    leftward = (joints[:, 1] - joints[:, 2]) + (joints[:, 16] - joints[:, 17])
    return np.unwrap(np.arctan2(-leftward[:, 2], leftward[:, 0]))


def turning_points(signal: Array, swing: float) -> list[int]:
    """Frames at which a signal reverses after moving by at least `swing`, with its first extreme."""
    found: list[int] = []
    low = high = 0
    direction = 0
    for i, value in enumerate(signal):
        if value > signal[high]:
            high = i
        if value < signal[low]:
            low = i
        if direction >= 0 and signal[high] - value >= swing:
            found.append(high)
            direction, low, high = -1, i, i
        elif direction <= 0 and value - signal[low] >= swing:
            found.append(low)
            direction, low, high = 1, i, i
    return found


def _smooth(x: Array, width: int = 3) -> Array:
    kernel = np.ones(width) / width
    padded = np.pad(x, [(width // 2, width // 2), *[(0, 0)] * (x.ndim - 1)], mode="edge")
    return np.apply_along_axis(np.convolve, 0, padded, kernel, mode="valid")


def _to_body(vectors: Array, yaw: Array) -> Array:
    """World vectors (F, 3) as (leftward, up, forward) seen from the body."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    x, y, z = vectors.T
    return np.stack([x * cos - z * sin, y, x * sin + z * cos], axis=1)


def _hand(joints: Array, yaw: Array, side: int, fps: float) -> Hand:
    wrist, shoulder = joints[:, WRISTS[side]], joints[:, SHOULDERS[side]]
    height = _smooth(wrist[:, 1] - shoulder[:, 1])
    up = height > _RAISED
    waves = 0
    if up.sum() >= 6:
        frames = np.flatnonzero(height > max(_RAISED, height.max() - 0.35))
        reach = _to_body(wrist - joints[:, ELBOWS[side]], yaw)[frames[0] : frames[-1] + 1]
        waves = max(_waves(reach[:, axis]) for axis in range(3))
    return Hand(
        peak=float(height.max()),
        over_head=bool((wrist[:, 1] - joints[:, HEAD, 1]).max() > 0.02),
        when=float(np.average(np.arange(len(height)), weights=np.where(up, height - _RAISED, 0) + 1e-6) / fps),
        waves=waves,
        raised=bool(up.any()),
    )


def _waves(signal: Array) -> int:
    """Full swings to and fro; a raise and a lowering have at most two turning points and count as none."""
    return max(0, (len(turning_points(signal, _WAVE_SWING)) - 1) // 2)


def measure(joints: Array, fps: float = 20.0) -> Measures:
    """Measure one clip.

    Args:
        joints: Positions (F, 22, 3) of the HumanML3D skeleton, metres, Y up.
        fps: Frames per second.
    """
    joints = np.asarray(joints, dtype=np.float64)
    yaw = facing_yaw(joints)
    root = _smooth(joints[:, PELVIS], 9)  # nine frames: removes the hip sway of steps
    travel = _to_body(np.diff(root, axis=0), yaw[:-1])
    walked = np.linalg.norm(np.diff(root[:, [0, 2]], axis=0), axis=1).sum()
    feet = _to_body(joints[:, ANKLES[0]] - joints[:, ANKLES[1]], yaw)
    stride = _smooth(feet[:, 2] if abs(travel[:, 2].sum()) >= abs(travel[:, 0].sum()) else feet[:, 0])
    trunk = joints[:, NECK] - joints[:, PELVIS]
    lean = np.degrees(np.arctan2(_to_body(trunk, yaw)[:, 2], trunk[:, 1]))
    settled = np.degrees(_smooth(yaw, 9))
    ends = [0, *turning_points(settled, _TURN_SWING), len(settled) - 1]
    turns = [float(settled[b] - settled[a]) for a, b in zip(ends, ends[1:], strict=False)]
    return Measures(
        seconds=len(joints) / fps,
        walked=float(walked),
        forward=float(travel[:, 2].sum()),
        leftward=float(travel[:, 0].sum()),
        turns=tuple(turn for turn in turns if abs(turn) >= _TURN_SWING),
        steps=max(0, len(turning_points(stride, _STEP_SWING)) - 1),
        bow=float(lean.max() - np.median(lean[:5])),
        bow_when=float(lean.argmax() / fps),
        left=_hand(joints, yaw, 0, fps),
        right=_hand(joints, yaw, 1, fps),
    )
