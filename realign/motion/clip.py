"""A motion in memory, and reading it from files."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from realign.errors import InputError
from realign.files import load_npy
from realign.motion.arrays import split_clips, to_joints
from realign.motion.pickled import is_pickled, read_pickled
from realign.motion.skeleton import HUMANML3D, check_fps, get_skeleton


@dataclass
class MotionClip:
    """A motion as global joint positions.

    Attributes:
        joints: Float32 positions (F, J, 3) in the skeleton's unit (metres for HumanML3D), Y up.
        fps: Frames per second.
        caption: What the motion shows; may be empty.
        skeleton: Name of the skeleton, see `get_skeleton`.
    """

    joints: np.ndarray
    fps: float
    caption: str = ""
    skeleton: str = "humanml3d"

    def __post_init__(self) -> None:
        expected = get_skeleton(self.skeleton).num_joints
        joints = np.asarray(self.joints)
        if joints.ndim != 3 or joints.shape[1:] != (expected, 3) or not len(joints):
            raise InputError(
                f"joints of shape {joints.shape} do not fit skeleton {self.skeleton!r}: give (frames, {expected}, 3)"
            )
        if joints.dtype.kind not in "fiu":
            raise InputError(f"joints of type {joints.dtype} are not positions: give floating-point numbers")
        if not np.isfinite(joints).all():
            raise InputError("joints hold NaN or infinite values: repair the clip or leave it out")
        check_fps(self.fps)
        self.joints = np.ascontiguousarray(joints, dtype=np.float32)

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def seconds(self) -> float:
        """Duration in seconds: frames over frames per second."""
        return len(self.joints) / self.fps

    def save(self, path: str | Path, **options: Any) -> None:
        """Write the clip; the suffix chooses the format: .gif .mp4 .html .png .bvh .npy (joints) .npz (AMASS) .glb.

        Args:
            path: Where to write.
            **options: Those of `realign.render.save.save_motions`, such as `fps` and `body_models`.

        Raises:
            InputError: A suffix that nothing writes, or an option that the format does not have.
        """
        # imported by name: render is a layer above motion, and loading a clip must stay light
        import_module("realign.render.save").save_motions(path, [self], **options)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        fps: float | None = None,
        caption: str = "",
        rig: str | Path | None = None,
        up: str | None = None,
    ) -> "MotionClip":
        """Read a motion file that holds one motion; arguments are those of `load_all`.

        Raises:
            InputError: As `load_all`, or the file holds several motions.
        """
        clips = cls.load_all(path, fps=fps, caption=caption, rig=rig, up=up)
        if len(clips) > 1:
            raise InputError(f"{path} holds {len(clips)} motions: read them by MotionClip.load_all, or save one alone")
        return clips[0]

    @classmethod
    def load_all(
        cls,
        path: str | Path,
        *,
        fps: float | None = None,
        caption: str = "",
        rig: str | Path | None = None,
        up: str | None = None,
    ) -> "list[MotionClip]":
        """Read all motions of a file.

        Args:
            path: A .npy of joints or features in a shape of `arrays.split_clips`, a results.npy of MDM, or a .bvh,
                which is retargeted to the HumanML3D skeleton and resampled to its rate. Nothing in it is executed.
            fps: True frames per second of the file; None uses the header of a .bvh, or the skeleton's rate for a .npy.
            caption: Caption of the motions; if empty, the texts of a results.npy are used.
            rig: YAML rig map for a .bvh.
            up: The axis that points up in the file, one of `upright.UP_AXES`; when None, detected for a .bvh, Y for a
                .npy.

        Raises:
            InputError: The file is missing, damaged, of another kind or width, holds NaN, normalised features, or
                joints of a body that does not stand along Y; or `fps` is not a rate.
        """
        path = Path(path)
        if fps is not None:
            check_fps(fps)
        suffix = path.suffix.lower()
        if suffix == ".bvh":
            from realign.motion.bvh import import_bvh

            rate = HUMANML3D.fps
            joints = import_bvh(path, rig, fps=rate, recorded_fps=fps, up=up)
            return [cls(joints, rate, caption, HUMANML3D.name)]
        if suffix != ".npy":
            raise InputError(f"cannot read a motion from {path}: give a .npy or .bvh file")
        results = load_results(path) if is_pickled(path) else [(load_array(path), "")]
        clips = []
        for array, text in results:
            found = split_clips(array, path)
            for joints in to_joints(found, path, up):
                clips.append(cls(joints, fps or found.skeleton.fps, caption or text, found.skeleton.name))
        return clips


def load_results(path: Path) -> list[tuple[np.ndarray, str]]:
    """Arrays and texts of a .npy of pickled objects: MDM's results.npy, or a list of arrays of different lengths.

    Args:
        path: The file.

    Raises:
        InputError: It holds anything else, or would execute code.
    """
    content = read_pickled(path)
    if isinstance(content, dict) and isinstance(content.get("motion"), np.ndarray):
        batch = split_clips(content["motion"], path)
        texts = np.ravel(content.get("text", [])).tolist()
        lengths = np.ravel(content.get("lengths", [])).tolist()
        count = len(batch.arrays)
        if len(lengths) != count or not all(isinstance(length, int) and length > 0 for length in lengths):
            lengths = [None] * count
        texts = [str(text) for text in texts] if len(texts) == count else [""] * count
        motions = [motion[:length] for motion, length in zip(batch.arrays, lengths, strict=True)]
        return [(_numbers(motion, path), text) for motion, text in zip(motions, texts, strict=True)]
    if isinstance(content, list) and content and all(isinstance(item, np.ndarray) for item in content):
        return [(_numbers(item, path), "") for item in content]
    keys = f" with {', '.join(content)}"[:100] if isinstance(content, dict) else ""
    raise InputError(
        f"{path} holds a pickled {type(content).__name__}{keys}, which is not a motion, or damaged: give MDM's "
        "results.npy (a dict with 'motion'), or joints or features saved by numpy.save"
    )


def load_array(path: str | Path) -> np.ndarray:
    """Read a .npy file of finite numbers without executing pickled code.

    Args:
        path: The file.

    Raises:
        InputError: The file is missing, truncated, not an array of numbers, empty, or holds NaN or infinity.
    """
    try:
        array = load_npy(path)
    except FileNotFoundError:
        raise InputError(f"no such motion file: {path}; check the path") from None
    except (ValueError, OSError) as error:
        raise InputError(f"cannot read {path} ({error}): the file is damaged, save or download it again") from error
    return _numbers(array, path)


def _numbers(array: np.ndarray, path: str | Path) -> np.ndarray:
    """The array, if it holds finite numbers."""
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path} does not hold an array of numbers: give joints or features saved by numpy.save")
    if not array.size:
        raise InputError(f"{path} holds no frames (shape {array.shape}): give at least one frame")
    if not np.isfinite(array).all():
        raise InputError(f"{path} holds NaN or infinite values: repair the clip or leave it out")
    return array
