"""One motion in memory, and the files it can be read from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from realign.errors import InputError
from realign.files import load_npy
from realign.motion.features import features_to_joints
from realign.motion.skeleton import HUMANML3D, KIT, Skeleton, check_fps, get_skeleton


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
            raise InputError(f"joints of type {joints.dtype} are no positions: give floating-point numbers")
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

    def save(self, path: str | Path) -> None:
        """Write the clip; the suffix chooses the form: .gif, .mp4, .html, .png, .bvh or .npy (joints).

        Args:
            path: Where to write.

        Raises:
            InputError: A suffix that nothing writes.
        """
        from realign.motion.render import save_motions  # drawing code is heavy and loading a clip must stay light

        save_motions(path, [self])

    @classmethod
    def load(cls, path: str | Path, *, fps: float | None = None, caption: str = "") -> "MotionClip":
        """Read a motion file.

        Args:
            path: A .npy of joints (F, J, 3), of flattened joints (F, 3 J) or of features (F, 12 J - 1) of either
                skeleton, told apart by their width; or a .bvh, which is retargeted to the HumanML3D skeleton.
            fps: Frames per second of a .npy (the skeleton's own when None), or to resample a .bvh to.
            caption: What the motion shows.

        Raises:
            InputError: The file is missing, damaged, of another kind or width, or holds NaN, or `fps` is not a rate.
        """
        path = Path(path)
        if fps is not None:
            check_fps(fps)
        if path.suffix.lower() == ".bvh":
            from realign.motion.bvh import import_bvh

            rate = fps or HUMANML3D.fps
            return cls(np.asarray(import_bvh(path, fps=rate)), rate, caption, HUMANML3D.name)
        if path.suffix.lower() != ".npy":
            raise InputError(f"cannot read a motion from {path}: give a .npy or .bvh file")
        array = load_array(path)
        skeleton = _recognise(array, path)
        if array.ndim == 2 and array.shape[1] == skeleton.num_features:
            array = features_to_joints(torch.from_numpy(array.astype(np.float64)), skeleton).numpy()
        return cls(array.reshape(len(array), -1, 3), fps or skeleton.fps, caption, skeleton.name)


def load_array(path: str | Path) -> np.ndarray:
    """Read a .npy file of finite numbers without executing pickled code.

    Args:
        path: The file.

    Raises:
        InputError: The file is missing, truncated, no array of numbers, empty, or holds NaN or infinity.
    """
    try:
        array = load_npy(path)
    except FileNotFoundError:
        raise InputError(f"no such motion file: {path}; check the path") from None
    except (ValueError, OSError) as error:
        raise InputError(f"cannot read {path} ({error}): the file is damaged, write or fetch it again") from error
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path} holds no array of numbers: give joints or features saved by numpy.save")
    if not array.size:
        raise InputError(f"{path} holds no frames (shape {array.shape}): give at least one frame")
    if not np.isfinite(array).all():
        raise InputError(f"{path} holds NaN or infinite values: repair the clip or leave it out")
    return array


def _recognise(array: np.ndarray, path: Path) -> Skeleton:
    """The skeleton whose joints or features an array's shape shows."""
    for skeleton in (HUMANML3D, KIT):
        if array.ndim == 3 and array.shape[1:] == (skeleton.num_joints, 3):
            return skeleton
        if array.ndim == 2 and array.shape[1] in (3 * skeleton.num_joints, skeleton.num_features):
            return skeleton
    raise InputError(
        f"{path} has shape {array.shape}: give joints (frames, 22 or 21, 3) or features (frames, 263 or 251)"
    )
