"""Check whether a motion can have been recorded at the frame rate of its file."""

from collections.abc import Mapping

import numpy as np

from realign.errors import InputError
from realign.motion.skeleton import MOST_FPS

_LEAST = 1.0  # lowest frame rate of recordings
_USUAL = (8.0, 500.0)
# Leg lengths per second: the body of a sprinter reaches 14; a hand exceeds 25 only for an instant.
_BODY, _HAND = 14.0, 25.0
# Seconds between two steps: 0.2 for a sprinter, 1.2 for a funeral march.
_STEPS = (0.17, 1.8)
_ENOUGH = 10  # fewest frames to judge speeds


def check_header(fps: float) -> None:
    """Refuse a rate in a header that recordings do not have.

    Args:
        fps: Frames per second.

    Raises:
        InputError: The rate is refused.
    """
    if not _LEAST <= fps <= MOST_FPS:
        raise InputError(
            f"its header says {fps:g} frames per second, but recordings have {_LEAST:g} to {MOST_FPS}; give the true "
            "rate with --fps, or as fps in a rig map"
        )


def doubt_rate(body: Mapping[str, np.ndarray], leg: float, fps: float) -> str | None:
    """Why a frame rate is implausible for a motion; None if it is plausible.

    Args:
        body: (T, 3) positions of hips, ankles and wrists by HumanML3D name, Y up.
        leg: Length of the legs.
        fps: Frames per second.
    """
    if not _USUAL[0] <= fps <= _USUAL[1]:
        return "motions are recorded at 8 to 500"
    root = (body["left_hip"] + body["right_hip"]) / 2
    if len(root) < _ENOUGH:
        return None
    speed = float(np.median(np.linalg.norm(np.diff(root, axis=0), axis=-1))) * fps / leg
    hands = [np.linalg.norm(np.diff(body[f"{side}_wrist"], axis=0), axis=-1) for side in ("left", "right")]
    hand = float(np.median(np.max(hands, axis=0))) * fps / leg
    if speed > _BODY or hand > _HAND:
        return f"the body would move {speed:.0f} and a hand {hand:.0f} leg lengths per second"
    pause = _step_seconds(root, body["left_ankle"] - body["right_ankle"], leg, fps)
    if pause is not None and not _STEPS[0] < pause < _STEPS[1]:
        return f"there would be {pause:.2g} s between two steps"
    return None


def _step_seconds(root: np.ndarray, apart: np.ndarray, leg: float, fps: float) -> float | None:
    """Median time between the moments at which the feet pass each other; None for too little walking."""
    path = (root[-1] - root[0]) * [1.0, 0.0, 1.0]
    distance = float(np.linalg.norm(path))
    if distance < 2 * leg:
        return None
    ahead = apart @ (path / distance)
    wide = np.abs(ahead) > 0.2 * leg  # feet side by side do not pass each other
    signs = np.sign(ahead[wide])
    frames = np.flatnonzero(wide)[1:][np.diff(signs) != 0]
    return float(np.median(np.diff(frames))) / fps if len(frames) > 2 else None
