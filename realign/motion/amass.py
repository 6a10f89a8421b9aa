"""Motions of AMASS: poses and shapes of SMPL+H, SMPL-X and SMPL bodies in .npz files."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from realign.errors import InputError
from realign.files import atomic_path
from realign.motion.npz import Npz
from realign.motion.skeleton import Skeleton, check_fps
from realign.motion.smpl import KINDS, NAMES

if TYPE_CHECKING:  # reading needs no torch
    from realign.motion.rotation_solver import PosedSkeleton

BODY_JOINTS = 22  # of every kind; the joints of HumanML3D
_RATES = ("mocap_framerate", "mocap_frame_rate")  # in releases up to 2020, and since
_PARTS = ("root_orient", "pose_body", "pose_jaw", "pose_eye", "pose_hand")
_FROM_Y_UP = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
"""The rotation from the Y-up world of HumanML3D to the Z-up world of AMASS, which is its own inverse."""
_WIDTHS = {3 * joints: kind for joints, kind in KINDS.items()}


@dataclass(frozen=True, eq=False)
class BodyMotion:
    """One recorded motion of a body.

    Attributes:
        kind: Kind of the body: "smpl", "smplh" or "smplx".
        poses: (T, J, 3) axis-angle rotations (radians), the root first; values may be infinite or NaN.
        trans: (T, 3) translation (metres), Z up.
        betas: Shape coefficients.
        gender: Gender in the file; "neutral" if there is none.
        gender_is_bytes: It is stored as bytes, which some programs do not recognise as a gender.
        fps: Frames per second.
    """

    kind: str
    poses: Float[ndarray, "T J 3"]
    trans: Float[ndarray, "T 3"]
    betas: Float[ndarray, "N"]
    gender: str
    gender_is_bytes: bool
    fps: float

    @classmethod
    def read(cls, path: str | Path, fps: float | None = None) -> "BodyMotion":
        """Read a file of AMASS; nothing in it is executed.

        Args:
            path: A .npz with poses (or root_orient and pose_body), trans, betas, and its frame rate.
            fps: The true rate, if that in the file is missing or wrong.

        Raises:
            InputError: It is damaged, or not a file of AMASS.
            OSError: It cannot be read.
        """
        with Npz(path) as file:
            missing = [name for name in ("trans", "betas") if name not in file]
            if missing or not {"poses", "root_orient"} & file.names:
                missing += [] if {*_RATES} & file.names else [_RATES[0]]
                raise InputError(
                    f"{path} has no {', '.join(missing or ['poses'])}; files such as shape.npz are not motions."
                )
            poses = _poses(file)
            trans, betas, rate = file.numbers("trans"), file.numbers("betas"), _rate(file) if fps is None else fps
            gender, as_bytes = _gender(file)
        width = poses.shape[1] if poses.ndim == 2 else 0
        if width not in (*_WIDTHS, 3 * BODY_JOINTS) or trans.shape != (len(poses), 3):
            raise InputError(
                f"{path} has poses of shape {poses.shape} with trans {trans.shape}; give (frames, 156) for SMPL+H, "
                "(frames, 165) for SMPL-X or (frames, 72) for SMPL, with (frames, 3)."
            )
        if betas.ndim == 0 or betas.size != betas.shape[-1]:
            raise InputError(f"{path} has betas of shape {betas.shape}; give one shape for all frames.")
        kind = _WIDTHS.get(width, "smplh")
        return cls(kind, poses.reshape(len(poses), -1, 3), trans, betas.reshape(-1), gender, as_bytes, rate)

    @property
    def body(self) -> str:
        """Name of the kind, such as SMPL+H."""
        return NAMES[self.kind]


def _poses(file: Npz) -> Float[ndarray, "T W"]:
    """Rotations of all joints in the model's order."""
    if "poses" in file:
        return file.numbers("poses")
    parts = [file.numbers(name) for name in _PARTS if name in file]
    if any(part.ndim != 2 or len(part) != len(parts[0]) for part in parts):
        raise InputError(f"{file.path} has parts of poses of shapes {', '.join(str(part.shape) for part in parts)}.")
    return np.concatenate(parts, axis=1)


def _rate(file: Npz) -> float:
    """The frame rate in the file."""
    field = next((name for name in _RATES if name in file), None)
    if field is None:
        raise InputError(
            f"{file.path} does not say its frame rate ({_RATES[0]}); give it by --fps, which `render` has."
        )
    rate = file.numbers(field)
    if rate.size != 1:
        raise InputError(f"{file.path} has a frame rate of shape {rate.shape}; give one number.")
    check_fps(float(rate.item()), f"the frame rate of {file.path}")
    return float(rate.item())


def _gender(file: Npz) -> tuple[str, bool]:
    """The gender in the file, and whether it is stored as bytes."""
    if "gender" not in file:
        return "neutral", False
    found = file.read("gender")
    if found.size != 1 or found.dtype.kind not in "US":
        raise InputError(f"{file.path}: its gender is an array of {found.dtype} {found.shape}, not a text.")
    value = found.item()
    return (value.decode("ascii", "replace"), True) if isinstance(value, bytes) else (str(value), False)


def from_z_up(positions: Float[ndarray, "*dims 3"]) -> Float[ndarray, "*dims 3"]:
    """Positions of the Z-up world of AMASS in the Y-up world of HumanML3D."""
    return positions @ _FROM_Y_UP.T


def check_body(skeleton: Skeleton) -> None:
    """Refuse a skeleton whose joints are not the first of SMPL.

    Raises:
        InputError: As said.
    """
    if skeleton.num_joints != BODY_JOINTS:
        raise InputError(
            f"the {skeleton.num_joints} joints of {skeleton.name} are not the first of SMPL, which .npz needs: write "
            ".bvh, .glb or .npy"
        )


def write_amass(
    path: str | Path, posed: "PosedSkeleton", pelvis: Float[ndarray, "3"] | None = None, gender: str = "neutral"
) -> None:
    """Write a motion as AMASS holds it: rotations of SMPL+H in a Z-up world, without pickled objects.

    Hands are flat and the shape is the mean one. As a body turns about its pelvis, `trans` is where the pelvis is less
    where it is at rest.

    Args:
        path: The file to write; it is replaced only when complete.
        posed: The motion, of the HumanML3D skeleton.
        pelvis: The body's pelvis at rest (metres, Y up); None takes the origin, and a body with another one stands off
            by it.
        gender: "male", "female" or "neutral".

    Raises:
        InputError: It has the joints of another skeleton.
    """
    from realign.motion.rotations import axis_angle_to_quaternion, quaternion_multiply, quaternion_to_axis_angle

    check_body(posed.skeleton)
    rotations = posed.rotations.clone()
    half_turn = rotations.new_tensor([0.0, 0.5**0.5, 0.5**0.5]) * np.pi  # _FROM_Y_UP
    rotations[:, 0] = quaternion_multiply(axis_angle_to_quaternion(half_turn), rotations[:, 0])
    poses = np.zeros((len(rotations), 156))
    poses[:, : 3 * BODY_JOINTS] = quaternion_to_axis_angle(rotations).flatten(1).numpy()
    trans = posed.root.numpy() @ _FROM_Y_UP.T - (0.0 if pelvis is None else pelvis)
    rates = dict.fromkeys(_RATES, np.float64(posed.fps))
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file, trans=trans, poses=poses, betas=np.zeros(16), gender=np.array(gender),
            dmpls=np.zeros((len(poses), 8)), **rates,
        )  # fmt: skip
