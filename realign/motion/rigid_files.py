"""Files of rotations instead of joints: .bvh, .npz of AMASS and .glb, all written from the same solver."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from realign.errors import InputError
from realign.motion.amass import BODY_JOINTS, check_body, write_amass
from realign.motion.body_files import BodyModels
from realign.motion.bvh.writer import write_bvh
from realign.motion.clip import MotionClip
from realign.motion.gltf import write_glb
from realign.motion.rotation_solver import check_smoothing, solve_rotations
from realign.motion.skeleton import check_fps, get_skeleton
from realign.motion.smpl import BodyModel

RIGID = (".bvh", ".npz", ".glb")
_GENDERS = ("neutral", "female", "male")  # the first that there is


@dataclass(frozen=True)
class RigidFiles:
    """How motions become rotations of rigid bones.

    Attributes:
        fps: Frames per second to write, None for the motion's.
        body_models: Folder with a body model of SMPL+H or SMPL, whose pelvis and directions of bones at rest a .npz
            then takes; None takes a common T-pose with the pelvis at the origin.
        smooth: Standard deviation (s) of a Gaussian over rotations and root, None for none.
    """

    fps: float | None = None
    body_models: str | Path | None = None
    smooth: float | None = None

    def check(self, suffix: str, skeleton: str | None = None) -> None:
        """Refuse what does not fit a format, before there is a motion.

        Args:
            suffix: Of the file to write, in lower case.
            skeleton: Name of the motions' skeleton, if it is known.

        Raises:
            InputError: A rate that is none, options of another format, no body model in the folder, or a skeleton that
                the format cannot hold.
        """
        if suffix == ".npz" and skeleton is not None:
            check_body(get_skeleton(skeleton))
        for value, what in ((self.fps, "rate"), (self.smooth, "joints")):
            if value is not None and suffix not in RIGID:
                raise InputError(f"a {suffix} file keeps the {what} of its motion: write one of {', '.join(RIGID)}")
        if self.fps is not None:
            check_fps(self.fps, "the rate to write")
        check_smoothing(self.smooth)
        if self.body_models is not None:
            if suffix != ".npz":
                raise InputError(f"a {suffix} file has no use for body models: write .npz, or leave them out")
            _ = self._body  # read now, so that a missing one is told at once

    @cached_property
    def _body(self) -> tuple[BodyModel, str] | None:
        """The body model and its gender."""
        if self.body_models is None:
            return None
        models = BodyModels.open(self.body_models)
        there = [gender for gender in _GENDERS if {("smplh", gender), ("smpl", gender)} & set(models.found)]
        gender = there[0] if there else _GENDERS[0]
        return models.get("smplh", gender), gender

    def write(self, path: Path, clip: MotionClip) -> None:
        """Write one motion; the suffix chooses the format.

        Args:
            path: The file.
            clip: The motion.

        Raises:
            InputError: A motion that the format cannot hold.
        """
        skeleton, suffix = get_skeleton(clip.skeleton), path.suffix.lower()
        rest, body = None, self._body if suffix == ".npz" else None
        if body is not None and skeleton.num_joints == BODY_JOINTS:
            places = torch.from_numpy(body[0].rest[:BODY_JOINTS])
            rest = places - places[[max(parent, 0) for parent in skeleton.parents]]
        posed = (
            solve_rotations(torch.from_numpy(clip.joints), skeleton, clip.fps, rest).smoothed(self.smooth).at(self.fps)
        )
        if suffix == ".bvh":
            write_bvh(path, posed)
        elif suffix == ".glb":
            write_glb(path, posed, clip.caption)
        elif body is None:
            write_amass(path, posed)
        else:
            write_amass(path, posed, body[0].rest[0], body[1])
