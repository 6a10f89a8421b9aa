import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from realign.errors import InputError
from realign.files import read_text
from realign.motion.bvh.joint_names import first, lookup
from realign.motion.skeleton import LEAST_FPS, MOST_FPS
from realign.motion.upright import UP_AXES

_LIMBS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
REQUIRED = (*(f"{side}_{limb}" for side in ("left", "right") for limb in _LIMBS), "neck")
PLACED = ("neck",)  # of these, placed between the shoulders if a rig has none
OPTIONAL = (
    *("head", "left_foot", "right_foot", "left_collar", "right_collar"),
    *("pelvis", "spine1", "spine2", "spine3"),
)
RIG_EXAMPLE = """joints:                      # HumanML3D joint: joint in the file, person's sides; optional if known
  left_hip: LeftUpLeg        # the same for right_...
  left_knee: LeftLeg
  left_ankle: LeftFoot
  left_foot: LeftToeBase     # optional: the base of the toes
  left_shoulder: LeftArm
  left_elbow: LeftForeArm
  left_wrist: LeftHand
  neck: Neck                 # optional
  head: Head                 # optional
spine: [Spine, Spine1]       # optional: from the bottom up, without hips and neck
up: y                        # optional: x, y, z, -x, -y or -z; detected if left out
fps: 60                      # optional: the true rate if the header is wrong
skip_frames: 1               # optional: leading frames to drop; an added T-pose is detected if left out
"""
_FORMAT = "{joints: {left_hip: NAME, left_knee: NAME, ..., neck: NAME}, spine: [NAME, ...]}"


@dataclass(frozen=True)
class RigMap:
    """Joints of a foreign skeleton that correspond to HumanML3D joints.

    A named joint keeps its position. Pelvis, spine and collars are best left out unless the rig places them as
    HumanML3D does: they are then placed in the body's proportions from hips, spine and neck.

    Attributes:
        name: Name of the rig in messages.
        joints: HumanML3D joint name -> names in the file, of which the first that exists is used. `REQUIRED` must be
            there; empty if a map only adds to a recognised rig.
        spine: Joints between hips and neck, from the bottom up; joints that a file does not have are skipped.
        up: One of `UP_AXES`, or None to detect it from the poses.
        fps: True frame rate if headers are known to be wrong, else None.
        skip_frames: Leading frames to drop; None drops an added T-pose if there is one.
        settle_frames: Frames after an added T-pose in which the limbs still leave it; they get the next pose.
        strict: Refuse a file that lacks any of the names, as for a map made for that file.
    """

    name: str
    joints: Mapping[str, tuple[str, ...]]
    spine: tuple[str, ...] = ()
    up: str | None = None
    fps: float | None = None
    skip_frames: int | None = None
    settle_frames: int = 0
    strict: bool = False

    def missing(self, names: Sequence[str]) -> list[str]:
        """Required HumanML3D joints that a file with these joint names lacks."""
        table = lookup(tuple(names))
        needed = (joint for joint in REQUIRED if joint not in PLACED)
        return [joint for joint in needed if first(self.joints.get(joint, ()), table) is None]

    def resolve(self, names: Sequence[str]) -> "ResolvedRig":
        """Find the rig's joints among those of a file.

        Args:
            names: Joint names of the file.

        Raises:
            InputError: A required joint is missing.
        """
        if missing := self.missing(names):
            raise InputError(unmapped(f"rig {self.name}", missing, names))
        table = lookup(tuple(names))
        found = {joint: first(candidates, table) for joint, candidates in self.joints.items()}
        spine = [first((name,), table) for name in self.spine]
        if self.strict and None in (*found.values(), *spine):
            lost = [" or ".join(self.joints[joint]) for joint, index in found.items() if index is None]
            lost += [name for name, index in zip(self.spine, spine, strict=True) if index is None]
            raise InputError(f"rig {self.name}: the file has no joint {', '.join(lost)}; correct the rig map.")
        backbone = [index for index in spine if index is not None]
        return ResolvedRig(
            {joint: index for joint, index in found.items() if index is not None},
            tuple(
                backbone if self.strict else sorted(backbone)
            ),  # files list parents first; some rigs number from the neck
        )


@dataclass(frozen=True)
class ResolvedRig:
    """A rig's joints as indices into one file's joints."""

    joints: Mapping[str, int] = field(default_factory=dict)
    spine: tuple[int, ...] = ()

    def body(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        """(..., 3) positions of the rig's joints by HumanML3D name, from (..., S, 3) positions of the file's joints."""
        return {name: positions[..., index, :] for name, index in self.joints.items()}


def unmapped(rig: str, missing: Sequence[str], names: Sequence[str]) -> str:
    """Error message for joints that a rig needs and a file lacks."""
    found = ", ".join(name for name in names if not re.search(r"\.end\d*$", name))
    return (
        f"{rig}: no joint corresponds to {', '.join(missing)} (the file has {found[:600]}); "
        f"give a YAML rig map (--rig FILE) that names them: {_FORMAT}"
    )


def load_rig(path: str | Path) -> RigMap:
    """Read a rig map from a YAML file with the keys of `RIG_EXAMPLE`.

    Args:
        path: The YAML file.

    Raises:
        InputError: The file is missing or not such a map.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(read_text(path))
    except (OSError, InputError) as error:
        raise InputError(f"rig map {path} cannot be read ({error}); give a YAML file with {_FORMAT}") from None
    except yaml.YAMLError as error:
        raise InputError(f"rig map {path} is not YAML ({' '.join(str(error).split())}); write {_FORMAT}") from None
    return rig_from_dict(content, name=path.name)


def rig_from_dict(content: object, name: str = "own") -> RigMap:
    """A rig map from the content of its YAML file.

    Args:
        content: A mapping with the keys of `RIG_EXAMPLE`.
        name: Name of the rig in messages.

    Raises:
        InputError: A key or value is not valid.
    """
    content = {**content} if isinstance(content, dict) else {}
    named = content.pop("joints", None)
    if not isinstance(named, dict) and (named is not None or not content):
        raise InputError(f"rig map {name!r} has no 'joints'; write {_FORMAT}")
    named = named or {}
    unknown = set(content) - {"spine", "up", "fps", "skip_frames"} | set(named) - {*REQUIRED, *OPTIONAL}
    if unknown:
        raise InputError(
            f"rig map {name!r} has unknown keys {', '.join(map(repr, sorted(map(str, unknown))))}; joints are "
            f"{', '.join((*REQUIRED, *OPTIONAL))}; write {_FORMAT}"
        )
    joints = {joint: (str(source),) for joint, source in named.items()}
    spine = content.get("spine") or []
    up, fps, skip = content.get("up"), content.get("fps"), content.get("skip_frames")
    number = isinstance(fps, int | float) and not isinstance(fps, bool)
    positive = fps is None or (number and LEAST_FPS <= fps <= MOST_FPS)
    whole = skip is None or (isinstance(skip, int) and not isinstance(skip, bool) and skip >= 0)
    if not isinstance(spine, list) or up not in (None, *UP_AXES) or not positive or not whole:
        raise InputError(
            f"rig map {name!r}: spine must be a list of joints, up one of {', '.join(UP_AXES)}, fps a positive number "
            f"up to {MOST_FPS}, skip_frames a whole number; write {_FORMAT}"
        )
    rate = None if fps is None else float(fps)
    return RigMap(name, joints, tuple(map(str, spine)), up, rate, skip, strict=True)
