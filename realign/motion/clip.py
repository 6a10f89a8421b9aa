"""A motion in memory, and reading it from files."""

from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from realign.errors import InputError
from realign.motion.body_files import BodyModels
from realign.motion.familiarity import Familiarity
from realign.motion.motion_files import MotionFiles
from realign.motion.skeleton import check_fps, get_skeleton


@dataclass
class MotionClip:
    """A motion as global joint positions.

    Attributes:
        joints: Float32 positions (F, J, 3) in the skeleton's unit (metres for HumanML3D), Y up.
        fps: Frames per second.
        caption: What the motion shows; may be empty.
        skeleton: Name of the skeleton, see `get_skeleton`.
        reward: Of a generated motion, what the reward that guides says of it for its caption: mu `text_reward` + eta
            `motion_reward`; None without a reward. Rewards of one guidance are comparable with each other alone.
        text_reward: Cosine of the motion and its caption.
        motion_reward: Cosine of the motion and its anchor; None where guidance has no anchors.
        unguided: Of a guided motion, the unguided one from the same noise, if it was asked for.
        familiarity: How familiar the caption is to the model that made the motion; None if that is not known.
    """

    joints: np.ndarray
    fps: float
    caption: str = ""
    skeleton: str = "humanml3d"
    reward: float | None = field(default=None, kw_only=True)
    text_reward: float | None = field(default=None, kw_only=True)
    motion_reward: float | None = field(default=None, kw_only=True)
    unguided: "MotionClip | None" = field(default=None, kw_only=True, repr=False)
    familiarity: Familiarity | None = field(default=None, kw_only=True, repr=False)

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

    def __repr__(self) -> str:
        told = f"{self.seconds:.3g} s, {len(self)} frames at {self.fps:g} fps, {self.skeleton}"
        numbers = {each.name: getattr(self, each.name) for each in fields(self)[4:]}  # that were measured on it
        told += "".join(f", {name} {value:.3g}" for name, value in numbers.items() if isinstance(value, float))
        return f"MotionClip({self.caption!r}, {told})"

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def seconds(self) -> float:
        """Duration in seconds: frames over frames per second."""
        return len(self.joints) / self.fps

    def joints_at(self, fps: float) -> np.ndarray:
        """Float32 positions (F', J, 3) at another frame rate, interpolated between frames (see `resample`)."""
        if fps == self.fps:
            return self.joints
        from realign.motion.bvh.retarget import resample

        return resample(self.joints.astype(np.float64), self.fps, fps).astype(np.float32)

    @property
    def nearest_captions(self) -> tuple[str, ...]:
        """Captions that the model was trained on and that are nearest to this one; empty if that is not known."""
        return self.familiarity.nearest if self.familiarity else ()

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
        units: str | None = None,
        body_models: str | Path | BodyModels | None = None,
    ) -> "MotionClip":
        """Read a motion file that holds one motion; arguments are those of `load_all`.

        Raises:
            InputError: As `load_all`, or the file holds several motions.
        """
        clips = cls.load_all(path, fps=fps, caption=caption, rig=rig, up=up, units=units, body_models=body_models)
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
        units: str | None = None,
        body_models: str | Path | BodyModels | None = None,
    ) -> "list[MotionClip]":
        """Read all motions of a file.

        Args:
            path: A .npy of joints or features in a shape of `arrays.split_clips`, a results.npy of MDM, an .npz of
                AMASS, or a .bvh, .glb or .gltf, whose figure is retargeted to the HumanML3D skeleton; all but .npy are
                resampled to its rate. Nothing in it is executed.
            fps: True frames per second of the file; None uses that in the file, or the skeleton's rate for a .npy.
            caption: Caption of the motions; if empty, those in the file are used.
            rig: YAML rig map for a .bvh or .glb.
            up: The axis that points up in the file, one of `upright.UP_AXES`; when None, detected for a .bvh or
                .glb, Z for an .npz, Y for a .npy.
            units: Unit of joints in a .npy, one of `arrays.UNITS`; when None, found by the length of the legs.
            body_models: Models of SMPL+H, SMPL-X or SMPL, or their folder, for an .npz.

        Raises:
            InputError: The file is missing, damaged, of another kind or width, holds NaN, normalised features, or
                joints of a body that does not stand along Y; or `fps` is not a rate.
        """
        files = MotionFiles.open(fps=fps, rig=rig, up=up, units=units, body_models=body_models)
        return [cls(each.joints, each.fps, caption or each.text, each.skeleton.name) for each in files.read(Path(path))]
