"""The interactive player: motions in step in one HTML file."""

import base64
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from realign.motion.clip import MotionClip
from realign.render.camera import choose_follow
from realign.render.figure import SOLE, Figure, make_figure


def player_page(
    clips: Sequence[MotionClip], *, camera: str = "auto", azimuth: float = 40.0, elevation: float = 16.0,
    labels: Sequence[str] = (), group: int = 1,
) -> str:  # fmt: skip
    """The HTML of a page that plays clips in step; it does not refer to any other file or host.

    Args:
        clips: At least one motion.
        camera: "fixed" shows the whole trajectory, "follow" moves along, "auto" follows long trajectories.
        azimuth: Degrees from the front of the first pose towards the person's right.
        elevation: Degrees of the camera above the horizon.
        labels: One a clip, above its caption; none when empty.
        group: Clips that belong together: a row holds whole groups if the page is wide enough.
    """
    home = resources.files("realign.render")
    page = home.joinpath("player.html").read_text(encoding="utf-8")
    figures = [make_figure(clip) for clip in clips]
    data = {
        "azimuth": azimuth,
        "elevation": elevation,
        "follow": choose_follow(figures, camera),
        "headRadius": Figure.HEAD_RADIUS,
        "floor": -SOLE,
        "group": group,
        "clips": [
            _describe(figure, label) for figure, label in zip(figures, labels or [""] * len(figures), strict=True)
        ],
    }
    # Inside <script> only these characters could end the element or be parsed as markup; JSON allows the escapes.
    text = json.dumps(data, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    script = home.joinpath("player.js").read_text(encoding="utf-8")
    return page.replace("/*PLAYER*/", script).replace("/*DATA*/", text)


def _describe(figure: Figure, label: str) -> dict[str, Any]:
    """Data of a figure for the player; positions are 16-bit steps, finer than 0.1 mm for a trajectory of 3 m."""
    step = max(float(np.abs(figure.points).max()), 1e-6) / 32767
    steps = np.rint(figure.points / step).astype("<i2")
    ahead = figure.forward[0]
    return {
        "label": _writable(label),
        "caption": _writable(figure.caption),
        "fps": figure.fps,
        "frames": steps.shape[0],
        "points": steps.shape[1],
        "step": step,
        "ahead": [float(ahead[0]), float(ahead[2])],
        "head": figure.head,
        "parts": [
            {
                "side": part.side,
                "hull": part.hull,
                "capsules": [[c.start, c.end, *c.radii] for c in part.capsules],
            }
            for part in figure.parts
        ],
        "data": base64.b64encode(steps.tobytes()).decode("ascii"),
    }


def _writable(text: str) -> str:
    """Text that UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
