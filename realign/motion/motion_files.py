"""Reading motions from files of any known kind."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from realign.errors import InputError
from realign.file_names import GLTF
from realign.files import StoredFile, load_npy
from realign.motion.amass import BODY_JOINTS, BodyMotion, from_z_up
from realign.motion.array_files import load_array, load_results
from realign.motion.arrays import parse_units, split_clips, to_joints
from realign.motion.body_files import BodyModels
from realign.motion.body_joints import motion_joints
from realign.motion.bvh.retarget import import_bvh, import_gltf, resample
from realign.motion.bvh.rigs import RigMap, load_rig
from realign.motion.gltf_reader import gltf_texts
from realign.motion.pickled import is_pickled
from realign.motion.skeleton import HUMANML3D, Skeleton, check_fps
from realign.motion.upright import parse_up, turn_up


@dataclass(frozen=True, eq=False)
class ReadMotion:
    """One motion of a file.

    Attributes:
        joints: (T, J, 3) positions in the skeleton's unit, Y up.
        fps: Frames per second.
        skeleton: Its skeleton.
        text: What the file says about it; may be empty.
    """

    joints: np.ndarray
    fps: float
    skeleton: Skeleton
    text: str = ""


@dataclass(frozen=True, eq=False)
class MotionFiles:
    """How files of motions are read; attributes are the options of `MotionClip.load_all`, checked."""

    fps: float | None = None
    rig: RigMap | None = None
    up: str | None = None
    units: str | None = None
    body_models: BodyModels | None = None
    rig_file: Path | None = None

    @classmethod
    def open(
        cls,
        fps: float | None = None,
        rig: str | Path | None = None,
        up: str | None = None,
        units: str | None = None,
        body_models: str | Path | BodyModels | None = None,
    ) -> "MotionFiles":
        """Check the options and read the body models.

        Raises:
            InputError: An option is wrong, or there are no body models in the folder.
        """
        if fps is not None:
            check_fps(fps)
        if isinstance(body_models, str | Path):
            body_models = BodyModels.open(body_models)
        up = None if up is None else parse_up(up)
        units = None if units is None else parse_units(units)
        return cls(
            fps, None if rig is None else load_rig(rig), up, units, body_models, None if rig is None else Path(rig)
        )

    def read(self, path: Path | StoredFile) -> list[ReadMotion]:
        """All motions of a file; nothing in it is executed.

        Args:
            path: The file, or one that is inside another.

        Raises:
            InputError: As `MotionClip.load_all`.
        """
        suffix = path.suffix.lower()
        if suffix == ".bvh":
            joints = import_bvh(path, self.rig, fps=HUMANML3D.fps, recorded_fps=self.fps, up=self.up)
            return [ReadMotion(joints, HUMANML3D.fps, HUMANML3D)]
        if suffix in GLTF:
            found = import_gltf(path, self.rig, recorded_fps=self.fps, up=self.up)
            return [ReadMotion(joints, HUMANML3D.fps, HUMANML3D, text) for joints, text in found]
        if suffix == ".npz":
            return [self._body(path)]
        if suffix != ".npy":
            raise InputError(f"cannot read a motion from {path}: give a .npy, .bvh, .glb, .gltf or .npz (AMASS) file")
        motions = []
        for array, text in load_results(path) if is_pickled(path) else [(load_array(path), "")]:
            clips = split_clips(array, path)
            for joints in to_joints(clips, path, self.up, self.units):
                motions.append(ReadMotion(joints, self.fps or clips.skeleton.fps, clips.skeleton, text))
        return motions

    def _body(self, path: Path | StoredFile) -> ReadMotion:
        """A motion of AMASS, with the joints of its body model."""
        try:
            motion = BodyMotion.read(path, self.fps)
        except FileNotFoundError:
            raise InputError(f"no such motion file: {path}; check the path") from None
        if self.body_models is None:
            raise InputError(
                f"{path} holds rotations of {motion.body}, which give joints only on a body: give the folder of its "
                "body models with --body-models (Python: body_models=)"
            )
        if not (np.isfinite(motion.poses).all() and np.isfinite(motion.trans).all()):
            raise InputError(f"{path} holds NaN or infinite values: repair the clip or leave it out")
        if not len(motion.poses):
            raise InputError(f"{path} holds no frames: give at least one frame")
        try:
            joints = motion_joints(motion, self.body_models, count=BODY_JOINTS)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        joints = from_z_up(joints) if self.up is None else turn_up(joints, self.up)
        joints = resample(joints, motion.fps, HUMANML3D.fps)
        return ReadMotion(joints.astype(np.float32), HUMANML3D.fps, HUMANML3D)


def contents(path: Path | StoredFile) -> tuple[Skeleton | None, list[str]]:
    """The skeleton of a file's motions, None if it is damaged, and a text for each of them, which may be empty.

    Args:
        path: The file; of a .npy without pickled objects only the header is read.
    """
    if path.suffix.lower() in (".bvh", ".npz"):
        return HUMANML3D, [""]
    try:
        if path.suffix.lower() in GLTF:
            return HUMANML3D, gltf_texts(path)
        if not is_pickled(path):
            content = split_clips(load_npy(path, mapped=isinstance(path, Path)), path)
            return content.skeleton, [""] * len(content.arrays)
        results = load_results(path)
        return split_clips(results[0][0], path).skeleton, [text for _, text in results]
    except (InputError, OSError, ValueError):
        return None, [""]
