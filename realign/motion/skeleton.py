"""The two skeletons of the field, HumanML3D (22 joints) and KIT-ML (21 joints), as constants of the representation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from realign.errors import InputError
from realign.precision import double

LEAST_FPS, MOST_FPS = 0.01, 1000
"""Limits of frames per second; a rate outside is a mistake and would make arrays and videos far too long."""

Offsets = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Skeleton:
    """A skeleton with the constants that the motion representation needs.

    Attributes:
        name: "humanml3d" or "kit".
        joints: Joint names, in the order of the data.
        parents: Parent of each joint, -1 for the root.
        chains: Kinematic chains from which rotations are read; every joint but the root ends exactly one bone.
        raw_offsets: Unit direction of each bone in the neutral pose, zero for the root.
        rest_offsets: Parent-relative offsets of the target clip's first frame along `raw_offsets`, in `unit`, to which
            clips are scaled; None if no target clip is known, so that clips keep their own bone lengths.
        pairs: (left, right) joint indices that are exchanged in a mirrored clip.
        fps: Frames per second of the dataset.
        unit: Name of the unit of length.
        metres: Length of the unit (m).
        facing: Right hip, left hip, right shoulder, left shoulder.
        feet_left: Left joints whose contacts are features.
        feet_right: Right joints whose contacts are features.
        leg_joints: The two joints whose bones make up the leg length.
        contact_threshold: A foot is in contact below this squared displacement per frame, in `unit` squared.
        min_frames: Shortest clip of the dataset.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    chains: tuple[tuple[int, ...], ...]
    raw_offsets: Offsets
    rest_offsets: Offsets | None
    pairs: tuple[tuple[int, int], ...]
    fps: float
    unit: str
    metres: float
    facing: tuple[int, int, int, int]
    feet_left: tuple[int, int]
    feet_right: tuple[int, int]
    leg_joints: tuple[int, int]
    contact_threshold: float
    min_frames: int

    def __repr__(self) -> str:
        return f"Skeleton({self.name!r}, {self.num_joints} joints, {self.fps:g} fps, unit {self.unit})"

    @property
    def num_joints(self) -> int:
        """Number of joints J."""
        return len(self.joints)

    @property
    def num_features(self) -> int:
        """Width of the features, 12 J - 1."""
        return 12 * self.num_joints - 1

    @property
    def feet(self) -> tuple[int, int, int, int]:
        """Contact joints in the order of the features: left two, right two."""
        return *self.feet_left, *self.feet_right

    @cached_property
    def mirror_order(self) -> tuple[int, ...]:
        """Permutation of the joints that exchanges left and right: `mirrored[..., j, :] = joints[..., order[j], :]`."""
        order = list(range(self.num_joints))
        for left, right in self.pairs:
            order[left], order[right] = right, left
        return tuple(order)

    def with_target(self, pose: Float[Tensor, "J 3"]) -> "Skeleton":
        """This skeleton with the bone lengths of a pose, to which clips are then scaled.

        Args:
            pose: Joint positions of the target clip's first frame, in `unit`.

        Raises:
            InputError: The pose has another number of joints, or a bone without a finite positive length.
        """
        if tuple(pose.shape) != (self.num_joints, 3):
            raise InputError(
                f"a target pose of shape {tuple(pose.shape)} does not fit skeleton {self.name!r}: "
                f"give joints of shape ({self.num_joints}, 3)"
            )
        lengths = double(pose[1:] - pose[list(self.parents[1:])]).norm(dim=-1)
        if not bool((torch.isfinite(lengths) & (lengths > 0)).all()):
            raise InputError("the target pose has a bone of zero or undefined length: give a pose with distinct joints")
        return replace(self, rest_offsets=_scaled(self.raw_offsets, (0.0, *lengths.tolist())))


def _scaled(directions: Offsets, lengths: Sequence[float]) -> Offsets:
    return tuple((x * s, y * s, z * s) for (x, y, z), s in zip(directions, lengths, strict=True))


def _parents(chains: Sequence[Sequence[int]]) -> tuple[int, ...]:
    parent = {child: joint for chain in chains for joint, child in zip(chain, chain[1:], strict=False)}
    return tuple(parent.get(joint, -1) for joint in range(len(parent) + 1))


_RIGHT, _LEFT = (-1.0, 0.0, 0.0), (1.0, 0.0, 0.0)
_UP, _DOWN, _AHEAD, _NONE = (0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0)

_HUMANML3D_JOINTS = (
    *("pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle"),
    *("spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder"),
    *("right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
)
_HUMANML3D_CHAINS = (
    (0, 2, 5, 8, 11),
    (0, 1, 4, 7, 10),
    (0, 3, 6, 9, 12, 15),
    (9, 14, 17, 19, 21),
    (9, 13, 16, 18, 20),
)
_HUMANML3D_RAW: Offsets = (
    *(_NONE, _LEFT, _RIGHT, _UP, _DOWN, _DOWN, _UP, _DOWN, _DOWN, _UP, _AHEAD, _AHEAD),
    *(_UP, _LEFT, _RIGHT, _AHEAD, _DOWN, _DOWN, _DOWN, _DOWN, _DOWN, _DOWN),
)
# Bone lengths (m) of the first frame of HumanML3D clip 000021.
_HUMANML3D_LENGTHS = (
    *(0.0, 0.1031001771, 0.1098677213, 0.1316027238, 0.3935892221, 0.3901261142, 0.1431638283, 0.4322149473),
    *(0.4257075499, 0.0573621345, 0.143381093, 0.1495408831, 0.2193493968, 0.137450143, 0.1433607736),
    *(0.1031087056, 0.1315577264, 0.1230032794, 0.2569246386, 0.2631322719, 0.2660104864, 0.2697176352),
)

HUMANML3D = Skeleton(
    name="humanml3d",
    joints=_HUMANML3D_JOINTS,
    parents=_parents(_HUMANML3D_CHAINS),
    chains=_HUMANML3D_CHAINS,
    raw_offsets=_HUMANML3D_RAW,
    rest_offsets=_scaled(_HUMANML3D_RAW, _HUMANML3D_LENGTHS),
    pairs=((1, 2), (4, 5), (7, 8), (10, 11), (13, 14), (16, 17), (18, 19), (20, 21)),
    fps=20.0,
    unit="m",
    metres=1.0,
    facing=(2, 1, 17, 16),
    feet_left=(7, 10),
    feet_right=(8, 11),
    leg_joints=(5, 8),
    contact_threshold=0.002,
    min_frames=40,
)

_KIT_CHAINS = ((0, 11, 12, 13, 14, 15), (0, 16, 17, 18, 19, 20), (0, 1, 2, 3, 4), (3, 5, 6, 7), (3, 8, 9, 10))

# The dataset gives no joint names. Sides follow its facing joints and feet (right hip 11, left hip 16). Its raw offsets
# point in the opposite direction along x. Both are part of the representation.
KIT = Skeleton(
    name="kit",
    joints=(
        *("root", "spine1", "spine2", "neck", "head"),
        *("right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
        *("right_hip", "right_knee", "right_ankle", "right_foot", "right_toes"),
        *("left_hip", "left_knee", "left_ankle", "left_foot", "left_toes"),
    ),
    parents=_parents(_KIT_CHAINS),
    chains=_KIT_CHAINS,
    raw_offsets=(
        *(_NONE, _UP, _UP, _UP, _UP, _LEFT, _DOWN, _DOWN, _RIGHT, _DOWN, _DOWN),
        *(_LEFT, _DOWN, _DOWN, _AHEAD, _AHEAD, _RIGHT, _DOWN, _DOWN, _AHEAD, _AHEAD),
    ),
    rest_offsets=None,  # given by KIT-ML clip 03950, which may not be redistributed: see Skeleton.with_target
    pairs=((8, 5), (9, 6), (10, 7), (16, 11), (17, 12), (18, 13), (19, 14), (20, 15)),
    fps=12.5,
    unit="KIT-ML unit",
    metres=0.75 / 480,  # the usual conversion (TEMOS, Petrovich et al. 2022)
    facing=(11, 16, 5, 8),
    feet_left=(19, 20),
    feet_right=(14, 15),
    leg_joints=(17, 18),
    contact_threshold=0.05,
    min_frames=24,
)


def get_skeleton(name: str) -> Skeleton:
    """The skeleton called `name`.

    Args:
        name: "humanml3d" or "kit", in any case.

    Raises:
        InputError: Another name.
    """
    for skeleton in (HUMANML3D, KIT):
        if skeleton.name == name.lower():
            return skeleton
    raise InputError(f"unknown skeleton {name!r}: choose humanml3d or kit")


def check_fps(fps: float, what: str = "fps") -> None:
    """Refuse a number that is not a frame rate.

    Args:
        fps: Frames per second.
        what: Its name in the error message.

    Raises:
        InputError: It is not between 0.01 and 1000.
    """
    if not LEAST_FPS <= fps <= MOST_FPS:  # NaN fails too
        raise InputError(f"{what} must be a positive number from {LEAST_FPS} to {MOST_FPS}, not {fps:g}")
