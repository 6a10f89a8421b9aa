"""Write motions to files; the suffix chooses the format."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from realign.errors import InputError
from realign.file_names import WRITTEN_MOTIONS as SUFFIXES
from realign.files import atomic_path
from realign.motion.clip import MotionClip
from realign.motion.rigid_files import RigidFiles
from realign.motion.skeleton import check_fps, get_skeleton

if TYPE_CHECKING:
    from realign.render.film import Film

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
        labels: One a clip, above its caption; none when empty.
        group: Clips that belong together, which follow each other: a row of panels holds whole groups.
    """

    size: int | None = None
    camera: str = "auto"
    azimuth: float = 40.0
    elevation: float = 16.0
    poses: int = 8
    labels: Sequence[str] = ()
    group: int = 1

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
        if self.group < 1:
            raise InputError(f"groups of {self.group} clips cannot be drawn: choose 1 or more")


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
        **options: Fields of `Look`: size, camera, azimuth, elevation, poses, labels, group.

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
    if look.labels and len(look.labels) != len(clips):
        raise InputError(f"{len(clips)} motions have {len(look.labels)} labels: give one for each, or none")
    for clip in clips:  # all of them, before the first is written
        _check(clip)
        rigid.check(suffix, clip.skeleton)
    if suffix not in SINGLE:
        with atomic_path(path) as temporary:
            _PICTURES[suffix](temporary, clips, look)
        return [path]
    names = numbered(path, len(clips))
    for name, clip in zip(names, clips, strict=True):
        with atomic_path(name) as temporary:
            _write_single(temporary, clip, rigid)
    return names


def numbered(path: Path, count: int) -> list[Path]:
    """The path itself for one file; `name_0`, `name_1` and so on for several, with the same number of digits."""
    digits = len(str(count - 1))
    return [path] if count == 1 else [path.with_stem(f"{path.stem}_{i:0{digits}d}") for i in range(count)]


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
    from realign.render.video import GIF_MOST_FPS, write_gif

    write_gif(path, _film(clips, look, 400, most_fps=GIF_MOST_FPS))


def _write_mp4(path: Path, clips: Sequence[MotionClip], look: Look) -> None:
    from realign.render.video import write_mp4

    write_mp4(path, _film(clips, look, 540))


def _write_png(path: Path, clips: Sequence[MotionClip], look: Look) -> None:
    from realign.render.strip import draw_strip

    strip = draw_strip(
        clips, size=look.size or 260, azimuth=look.azimuth, elevation=look.elevation, poses=look.poses,
        labels=look.labels,
    )  # fmt: skip
    strip.save(path, format="PNG", compress_level=6)


def _film(clips: Sequence[MotionClip], look: Look, usual: int, **options: Any) -> "Film":
    """A film whose panels are `usual` pixels wide, smaller for many clips."""
    from realign.render.film import Film, column_count

    columns = column_count(len(clips), look.group)
    size = look.size or max(160, usual if columns <= 2 else min(usual, 1280 // columns))
    return Film(
        clips, size=size, camera=look.camera, azimuth=look.azimuth, elevation=look.elevation, labels=look.labels,
        group=look.group, **options,
    )  # fmt: skip


def _write_html(path: Path, clips: Sequence[MotionClip], look: Look) -> None:
    from realign.render.player import player_page

    page = player_page(
        clips, camera=look.camera, azimuth=look.azimuth, elevation=look.elevation, labels=look.labels, group=look.group
    )
    path.write_text(page, encoding="utf-8")


_PICTURES: dict[str, Callable[[Path, Sequence[MotionClip], Look], None]] = {
    ".gif": _write_gif,
    ".mp4": _write_mp4,
    ".html": _write_html,
    ".png": _write_png,
}
