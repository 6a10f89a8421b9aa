"""Motions computed from a few sines, with captions that describe them.

They need no download, so every task, configuration and notebook can be tried in seconds. They do not replace motion
capture.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from realign.errors import InputError
from realign.files import atomic_path
from realign.motion.skeleton import HUMANML3D

GAITS = {"stands still": (0.0, 0.0), "walks": (1.1, 1.8), "runs": (2.6, 2.8)}  # speed (m/s), steps per second
TURNS = {"": 0.0, " and turns left": 0.45, " and turns right": -0.45}  # yaw rate (rad/s)
ARMS = {
    "": (0.0, 0.0),
    " while raising the left hand": (2.6, 0.0),
    " while raising the right hand": (0.0, 2.6),
    " while raising both hands": (2.6, 2.6),
}  # left and right shoulder angle (rad)

Array = npt.NDArray[np.float64]


def procedural_clip(number: int, seed: int = 0) -> tuple[npt.NDArray[np.float32], str]:
    """One clip of the HumanML3D skeleton at 20 fps and its caption.

    Args:
        number: Number of the clip; clips cycle through the 36 combinations of gait, turn and arms.
        seed: Varies length, phase and speed.

    Returns:
        Joints (frames, 22, 3) in metres, 60 to 99 frames, Y up, floor near 0; and the caption.
    """
    rng = np.random.default_rng([seed, number])
    gait, turn, arms = _combination(number)
    frames = int(rng.integers(60, 100))
    time = np.arange(frames) / HUMANML3D.fps
    speed, rate = GAITS[gait]
    yaw = TURNS[turn] * time * rng.uniform(0.9, 1.1)
    phase = np.pi * rate * time + rng.uniform(0, 2 * np.pi)
    step = rng.uniform(0.9, 1.1) * speed / HUMANML3D.fps
    root = np.zeros((frames, 3))
    root[1:, 0], root[1:, 2] = np.cumsum(step * np.sin(yaw[:-1])), np.cumsum(step * np.cos(yaw[:-1]))
    joints = _forward_kinematics(root, yaw, _pose(phase, 0.35 * np.tanh(speed), ARMS[arms], time))
    joints[..., 1] -= joints[..., 1].min()
    return joints.astype(np.float32), f"a person {gait}{turn}{arms}"


def write_procedural_folder(folder: str | Path, clips: int = 72, seed: int = 0) -> Path:
    """Write clips in the HumanML3D folder layout (`new_joints`, `texts`, split lists), ready for `prepare`.

    Args:
        folder: Folder to write; replaced as a whole at the end.
        clips: Number of clips; two thirds train, a sixth each val and test.
        seed: As in `procedural_clip`.

    Raises:
        InputError: For fewer than 6 clips, which leaves a split empty.
    """
    if clips < 6:
        raise InputError(f"A procedural set of {clips} clips leaves a split empty; ask for at least 6.")
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    with atomic_path(folder) as path:
        for name in ("new_joints", "texts"):
            (path / name).mkdir(parents=True)
        for number in range(clips):
            joints, caption = procedural_clip(number, seed)
            np.save(path / "new_joints" / f"{number:06d}.npy", joints)
            (path / "texts" / f"{number:06d}.txt").write_text(f"{caption}##0.0#0.0\n", encoding="utf-8")
            splits[("train", "train", "val", "train", "train", "test")[number % 6]].append(f"{number:06d}")
        for split, names in splits.items():
            (path / f"{split}.txt").write_text("\n".join(names) + "\n")
    return Path(folder)


def _combination(number: int) -> tuple[str, str, str]:
    shuffled = number * 13 % 36  # 13 and 36 are coprime: successive clips differ in gait, turn and arms
    return list(GAITS)[shuffled % 3], list(TURNS)[shuffled // 3 % 3], list(ARMS)[shuffled // 9]


def _pose(phase: Array, swing: float, arms: tuple[float, float], time: Array) -> dict[str, Array]:
    """Rotations (frames, 3, 3) of the joints that move, relative to the parent."""
    raised = np.clip(time / 1.0, 0, 1)
    pose: dict[str, Array] = {}
    for side, sign, arm in (("left", 1.0, arms[0]), ("right", -1.0, arms[1])):
        leg = sign * np.sin(phase)
        pose[f"{side}_hip"] = _about("x", -swing * 1.6 * leg)
        pose[f"{side}_knee"] = _about("x", swing * 1.6 * np.clip(np.cos(phase) * sign, 0, None))
        pose[f"{side}_shoulder"] = _about("x", swing * leg) @ _about("z", sign * arm * raised)
        pose[f"{side}_elbow"] = _about("x", np.full_like(time, -0.3))
    return pose


def _about(axis: str, angle: Array) -> Array:
    c, s, one, zero = np.cos(angle), np.sin(angle), np.ones_like(angle), np.zeros_like(angle)
    rows = {
        "x": [[one, zero, zero], [zero, c, -s], [zero, s, c]],
        "y": [[c, zero, s], [zero, one, zero], [-s, zero, c]],
        "z": [[c, -s, zero], [s, c, zero], [zero, zero, one]],
    }[axis]
    return np.moveaxis(np.array(rows), -1, 0)


def _forward_kinematics(root: Array, yaw: Array, pose: dict[str, Array]) -> Array:
    offsets = np.array(HUMANML3D.rest_offsets)
    turn = _about("y", yaw)
    rotation, position = [turn], [root]
    for joint, parent in enumerate(HUMANML3D.parents[1:], start=1):
        local = pose.get(HUMANML3D.joints[joint])
        position.append(position[parent] + rotation[parent] @ offsets[joint])
        rotation.append(rotation[parent] if local is None else rotation[parent] @ local)
    return np.stack(position, 1)
