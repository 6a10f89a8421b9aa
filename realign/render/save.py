"""Write motions to files; the suffix chooses the format."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from realign.errors import InputError
from realign.files import atomic_path
from realign.motion.clip import MotionClip
from realign.motion.rigid_files import RigidFiles
from realign.motion.skeleton import check_fps, get_skeleton
from realign.render.camera import choose_follow
from realign.render.figure import SOLE, Figure, make_figure

SUFFIXES = (".gif", ".mp4", ".html", ".png", ".bvh", ".npy", ".npz", ".glb")
SINGLE = (".bvh", ".npy", ".npz", ".glb")  # one clip per file: several clips make numbered files
CAMERAS = ("auto", "fixed", "follow")


@dataclass(frozen=True)
class Look:
    """Options of pictures and videos.

    Attributes:
        size: Height in pixels of a panel (GIF, MP4) or of a pose (PNG).
        camera: "fixed" shows the whole trajectory, "follow" moves along, "auto" follows long trajectories.
        azimuth: Degrees from the front of the first pose towards the person's right.
        elevation: Degrees of the camera above the horizon.
        poses: Number of poses in a PNG strip.
    """

    size: int | None = None
    camera: str = "auto"
    azimuth: float = 40.0
    elevation: float = 16.0
    poses: int = 8

    def __post_init__(self) -> None:
        if self.size is not None and not 64 <= self.size <= 2048:
            raise InputError(f"a size of {self.size} pixels cannot be drawn: choose 64 to 2048")
        if self.camera not in CAMERAS:
            raise InputError(f"unknown camera {self.camera!r}: choose one of {', '.join(CAMERAS)}")
        if not np.isfinite(self.azimuth):
            raise InputError(f"azimuth {self.azimuth} is not an angle: give degrees, for example 40")
        if not -10 <= self.elevation <= 85:
            raise InputError(f"an elevation of {self.elevation} degrees cannot be drawn: choose -10 to 85")
        if not 2 <= self.poses <= 40:
            raise InputError(f"{self.poses} poses do not make a strip: choose 2 to 40")


def check_suffix(path: str | Path) -> str:
    """The suffix of an output path in lower case.

    Args:
        path: The output path.

    Raises:
        InputError: No format has this suffix.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"cannot write {str(path)!r}: end the name with one of {' '.join(SUFFIXES)}")
    return suffix


def check_output(path: str | Path, skeleton: str | None = None, rigid: RigidFiles | None = None) -> None:
    """Refuse an output that could only fail, before there are motions.

    Args:
        path: The output path.
        skeleton: Name of the motions' skeleton, if it is known.
        rigid: Options of files that hold rotations.

    Raises:
        InputError: No format has its suffix or fits the skeleton and the options, it is a folder, or a program that
            writes it is missing.
    """
    suffix = check_suffix(path)
    (rigid or RigidFiles()).check(suffix, skeleton)
    if Path(path).is_dir():
        raise InputError(f"cannot write {str(path)!r}: it is a folder, give the name of a file in it")
    if suffix == ".mp4":
        from realign.render.video import find_ffmpeg

        find_ffmpeg()


def save_motions(
    path: str | Path,
    clips: Sequence[MotionClip],
    *,
    fps: float | None = None,
    body_models: str | Path | None = None,
    smooth: float | None = None,
    **options: Any,
) -> list[Path]:
    """Write motions; the suffix chooses the format.

    .gif and .mp4 show the clips side by side, .html is a self-contained interactive player, .png a strip of poses.
    .bvh (an animated skeleton), .glb (an animated figure), .npz (rotations of SMPL+H as in AMASS) and .npy (joints,
    float32, in the clip's unit) hold one clip: several clips are written to `name_0`, `name_1` and so on, with the same
    number of digits.

    Args:
        path: Output path; its folder is created. If writing fails, no partial file is left behind.
        clips: At least one motion.
        fps: Frames per second of a .bvh, .npz or .glb, None for the clip's.
        body_models: Folder with an SMPL+H or SMPL model for a .npz, whose pelvis and bone directions then count.
        smooth: Standard deviation (s) of a Gaussian over the rotations of a .bvh, .npz or .glb, None for none.
        **options: Fields of `Look`: size, camera, azimuth, elevation, poses.

    Returns:
        The paths written, one for each clip for .bvh, .glb, .npz and .npy and a single one otherwise.

    Raises:
        InputError: An unknown suffix or option, no clips, clips that cannot be drawn, or no ffmpeg for .mp4.
    """
    path = Path(path)
    suffix = check_suffix(path)
    unknown = sorted(set(options) - set(Look.__dataclass_fields__))
    if unknown:
        raise InputError(f"unknown option {unknown[0]!r}: choose from {', '.join(Look.__dataclass_fields__)}")
    look, rigid = Look(**options), RigidFiles(fps, body_models, smooth)
    check_output(path, rigid=rigid)
    if not clips:
        raise InputError(f"there is no motion to write to {path}: give at least one")
    for clip in clips:  # all of them, before the first is written
        _check(clip)
        rigid.check(suffix, clip.skeleton)
    if suffix not in SINGLE:
        with atomic_path(path) as temporary:
            _PICTURES[suffix](temporary, clips, look)
        return [path]
    digits = len(str(len(clips) - 1))
    names = [path.with_name(f"{path.stem}_{i:0{digits}d}{path.suffix}") for i in range(len(clips))]
    names = [path] if len(clips) == 1 else names
    for name, clip in zip(names, clips, strict=True):
        with atomic_path(name) as temporary:
            _write_single(temporary, clip, rigid)
    return names


def _check(clip: MotionClip) -> None:
    """Check a clip again, since its fields may have been changed."""
    name = f"the motion {clip.caption!r}" if clip.caption else "a motion"
    joints = np.asarray(clip.joints)
    expected = get_skeleton(clip.skeleton).num_joints
    if joints.ndim != 3 or joints.shape[1:] != (expected, 3) or not len(joints):
        raise InputError(f"{name} has joints of shape {joints.shape}: give at least one frame of ({expected}, 3)")
    if not np.isfinite(joints).all():
        frame = int(np.argwhere(~np.isfinite(joints).all(axis=(1, 2)))[0, 0])
        raise InputError(f"{name} holds NaN or infinite joints in frame {frame}: repair it or leave it out")
    check_fps(clip.fps, f"the fps of {name}")


def _write_single(path: Path, clip: MotionClip, rigid: RigidFiles) -> None:
    if path.suffix.lower() != ".npy":
        return rigid.write(path, clip)
    with open(path, "wb") as file:
        np.save(file, np.ascontiguousarray(clip.joints, dtype=np.float32), allow_pickle=False)


def _write_gif(path: Path, clips: Sequence[MotionClip], look: Look) -> None:
    from realign.render.film import Film
    from realign.render.video import GIF_MOST_FPS, write_gif

    film = Film(
        clips, size=look.size or _panel(clips, 400), camera=look.camera, azimuth=look.azimuth,
        elevation=look.elevation, most_fps=GIF_MOST_FPS,
    )  # fmt: skip
    write_gif(path, film)


def _write_mp4(path: Path, clips: Sequence[MotionClip], look: Look) -> None:
    from realign.render.film import Film
    from realign.render.video import write_mp4

    film = Film(
        clips, size=look.size or _panel(clips, 540), camera=look.camera, azimuth=look.azimuth, elevation=look.elevation
    )
    write_mp4(path, film)


def _write_png(path: Path, clips: Sequence[MotionClip], look: Look) -> None:
    from realign.render.strip import draw_strip

    strip = draw_strip(
        clips, size=look.size or 260, azimuth=look.azimuth, elevation=look.elevation, poses=look.poses
    )  # fmt: skip
    strip.save(path, format="PNG", compress_level=6)


def _panel(clips: Sequence[MotionClip], usual: int) -> int:
    """Side length of a panel: smaller for many clips."""
    from realign.render.film import column_count

    columns = column_count(len(clips))
    return max(160, usual if columns <= 2 else min(usual, 1280 // columns))


def _write_html(path: Path, clips: Sequence[MotionClip], look: Look) -> None:
    """Fill the player's template; the page does not refer to any other file or host."""
    home = resources.files("realign.render")
    page = home.joinpath("player.html").read_text(encoding="utf-8")
    figures = [make_figure(clip) for clip in clips]
    data = {
        "azimuth": look.azimuth,
        "elevation": look.elevation,
        "follow": choose_follow(figures, look.camera),
        "headRadius": Figure.HEAD_RADIUS,
        "floor": -SOLE,
        "clips": [_describe(figure) for figure in figures],
    }
    # Inside <script> only these characters could end the element or be parsed as markup; JSON allows the escapes.
    text = json.dumps(data, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    script = home.joinpath("player.js").read_text(encoding="utf-8")
    page = page.replace("/*PLAYER*/", script).replace("/*DATA*/", text)
    path.write_text(page, encoding="utf-8")


def _describe(figure: Figure) -> dict[str, Any]:
    """Data of a figure for the player; positions are 16-bit steps, finer than 0.1 mm for a trajectory of 3 m."""
    step = max(float(np.abs(figure.points).max()), 1e-6) / 32767
    steps = np.rint(figure.points / step).astype("<i2")
    ahead = figure.forward[0]
    return {
        "caption": figure.caption.encode("utf-8", "replace").decode("utf-8"),
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


_PICTURES: dict[str, Callable[[Path, Sequence[MotionClip], Look], None]] = {
    ".gif": _write_gif,
    ".mp4": _write_mp4,
    ".html": _write_html,
    ".png": _write_png,
}
