"""Clips from arrays in the shapes that common tools save, and checks of such arrays."""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from realign.errors import InputError, InputWarning
from realign.motion.bvh.body import LEG, leg_length
from realign.motion.features import features_to_joints
from realign.motion.layout import feature_groups
from realign.motion.skeleton import HUMANML3D, KIT, Skeleton
from realign.motion.upright import find_up, parse_up, turn_up

# Numbers of joints of SMPL, SMPL-H and SMPL-X, also with the joints that their programs append: the first 22 are those
# of HumanML3D.
_SMPL = (24, 45, 52, 55, 73, 127, 144)
_SKELETONS = {22: HUMANML3D, 21: KIT, **dict.fromkeys(_SMPL, HUMANML3D)}
_SHAPES = (
    "give joints (frames, 22, 3) of HumanML3D, (frames, 21, 3) of KIT-ML, (frames, 24, 45, 52, 55, 73, 127 or 144, 3) "
    "of SMPL bodies, flattened, or features (frames, 263 or 251); several clips have one dimension more"
)
UNITS = {"metres": 1.0, "centimetres": 0.01, "inches": 0.0254, "millimetres": 0.001}
_BODIES = (0.25, 4.0)  # plausible leg lengths, relative to an adult's
_CLOSE = 1.5  # largest factor between leg lengths in another unit and an adult's
_CONTACTS = (-0.5, 1.5)


@dataclass(frozen=True)
class Clips:
    """Clips of one array.

    Attributes:
        skeleton: Skeleton of the joints or features.
        features: Whether they are features (F, C) instead of joints (F, J, 3).
        arrays: One for each clip.
        kept: Number of joints in the array if only the first of them are taken, else 0.
    """

    skeleton: Skeleton
    features: bool
    arrays: list[np.ndarray]
    kept: int = 0


def split_clips(array: np.ndarray, name: str | Path) -> Clips:
    """Recognise the content of an array by its shape.

    Args:
        array: Joints (..., F, J, 3), (..., J, 3, F) as MDM writes them or (..., F, 3 J), or features (..., F, C) or
            (..., C, 1, F); leading dimensions are clips.
        name: Its name in messages.

    Raises:
        InputError: Another shape.
    """
    shape = array.shape
    widths = {skeleton.num_features: skeleton for skeleton in (HUMANML3D, KIT)}
    if array.ndim >= 3 and shape[-2] == 1 and shape[-3] in widths:
        array = array[..., 0, :].swapaxes(-1, -2)
    elif array.ndim >= 3 and shape[-2] == 3 and shape[-3] in _SKELETONS:
        array = np.moveaxis(array, -1, -3)
    elif array.ndim >= 2 and shape[-1] % 3 == 0 and shape[-1] // 3 in _SKELETONS:
        array = array.reshape(*shape[:-1], -1, 3)
        _check_rigid(array, name)
    if array.ndim >= 2 and array.shape[-1] in widths:
        arrays = list(array.reshape(-1, *array.shape[-2:]))
        return Clips(widths[array.shape[-1]], True, arrays)
    if array.ndim >= 3 and array.shape[-1] == 3 and array.shape[-2] in _SKELETONS:
        joints = array.shape[-2]
        skeleton = _SKELETONS[joints]
        arrays = list(array[..., : skeleton.num_joints, :].reshape(-1, array.shape[-3], skeleton.num_joints, 3))
        return Clips(skeleton, False, arrays, joints if joints > skeleton.num_joints else 0)
    raise InputError(f"{name} has shape {shape}: {_SHAPES}")


def _check_rigid(joints: np.ndarray, name: str | Path) -> None:
    """Refuse rows of numbers that are not positions: rotations of SMPL have rows of the same widths."""
    body = _body(joints.reshape(-1, *joints.shape[-2:]).astype(np.float64), _SKELETONS[joints.shape[-2]])
    sizes = []
    for side in ("left", "right"):
        for upper, lower in (("hip", "knee"), ("knee", "ankle")):
            sizes.append(np.linalg.norm(body[f"{side}_{lower}"] - body[f"{side}_{upper}"], axis=-1))
    lengths = np.mean(sizes, axis=1)
    if lengths.max() > 3 * lengths.min() or (np.std(sizes, axis=1) > 0.6 * lengths).any():
        raise InputError(
            f"{name} has rows of {3 * joints.shape[-2]} numbers, but as joints the legs would change their length: if "
            "they are rotations, such as those of SMPL, compute joints by their body model first"
        )


def _body(joints: np.ndarray, skeleton: Skeleton) -> dict[str, np.ndarray]:
    """(T, 3) positions of each joint by name."""
    return {name: joints[:, index] for index, name in enumerate(skeleton.joints)}


def parse_units(text: str) -> str:
    """A unit of `UNITS` from user input, also as m, cm, mm or in.

    Args:
        text: Such as "cm" or "metres".

    Raises:
        InputError: It is another unit.
    """
    short = {"m": "metres", "cm": "centimetres", "in": "inches", "mm": "millimetres"}
    unit = text.strip().lower().replace("meters", "metres")
    if (unit := short.get(unit, unit)) not in UNITS:
        raise InputError(f"{text!r} is not a unit of joints: give one of {', '.join(UNITS)}")
    return unit


def checked_joints(
    joints: np.ndarray, skeleton: Skeleton, name: str | Path, up: str | None = None, units: str | None = None
) -> np.ndarray:
    """Joints in the skeleton's unit with Y up.

    Args:
        joints: (F, J, 3) finite positions; centimetres, inches and millimetres (metres, too, for KIT-ML) are detected
            by the length of the legs and converted, with an `InputWarning`.
        skeleton: Their skeleton.
        name: Their name in messages.
        up: The axis that points up, one of `upright.UP_AXES`; None expects Y and checks that the body stands along it.
        units: Their unit, one of `UNITS`, instead of the detected one.

    Raises:
        InputError: The body stands along another axis or does not have a person's size.
    """
    axis = None if up is None else parse_up(up)
    plain = joints.astype(np.float64)
    with np.errstate(over="ignore"):  # infinite lengths are refused below
        leg = leg_length(_body(plain, skeleton))
    factor = _unit_factor(leg, skeleton, name, units)
    if axis is None and leg > 0:
        found = find_up(plain * factor, _body(plain * factor, skeleton), leg * factor)
        if found != "y":
            raise InputError(
                f"{name}: the body stands along {found}, but Y has to point up: give --up={found} to turn it, or "
                "--up=y if the person lies"
            )
    if factor == 1 and axis in (None, "y"):
        return joints
    return turn_up(plain * factor, axis or "y").astype(np.float32)


def _unit_factor(leg: float, skeleton: Skeleton, name: str | Path, units: str | None) -> float:
    """Factor that converts joints with legs of this length to the skeleton's unit."""
    adult = LEG / skeleton.metres
    if units is not None:
        factor = UNITS[units] / skeleton.metres
        if leg == 0 or _BODIES[0] < leg * factor / adult < _BODIES[1]:
            return 1.0 if math.isclose(factor, 1) else factor
        raise InputError(
            f"{name}: legs of {leg:.3g} {units} are not a person's (an adult's have {LEG / UNITS[units]:.3g}): give "
            "the unit of the joints with --units"
        )
    if leg == 0 or _BODIES[0] < leg / adult < _BODIES[1]:
        return 1.0
    for unit, metres in UNITS.items():
        if 1 / _CLOSE < leg * metres / LEG < _CLOSE:
            remark = f"{name}: legs of {leg:.4g} are in {unit}; converted to the {skeleton.unit} of {skeleton.name}"
            warnings.warn(remark, InputWarning, stacklevel=3)
            return metres / skeleton.metres
    raise InputError(
        f"{name}: legs of {leg:.3g} {skeleton.unit} are not a person's (an adult's have {adult:.3g}): give joints in "
        f"{skeleton.unit}"
    )


def check_features(features: np.ndarray, skeleton: Skeleton, name: str | Path) -> None:
    """Refuse normalised features and features of a body without a person's size.

    Args:
        features: (F, C) finite values.
        skeleton: Their skeleton.
        name: Their name in messages.

    Raises:
        InputError: They are refused.
    """
    groups = feature_groups(skeleton)
    contacts = features[:, groups["contacts"]]
    outside = bool(((contacts < _CONTACTS[0]) | (contacts > _CONTACTS[1])).mean() > 0.02)
    turns = features[:, groups["rotations"]].reshape(-1, 2, 3).astype(np.float64)
    lengths, cosines = np.linalg.norm(turns, axis=-1), (turns[:, 0] * turns[:, 1]).sum(axis=-1)
    local = np.zeros((len(features), skeleton.num_joints, 3))
    local[:, 1:] = features[:, groups["positions"]].reshape(len(features), -1, 3)
    leg = leg_length(_body(local, skeleton)) * skeleton.metres / LEG
    # The two axes of a rotation are orthonormal: nearly so in generated features, but not in normalised ones.
    askew = [float(np.abs(lengths - 1).mean()) > 0.3, float(np.abs(cosines).mean()) > 0.25]
    unlike = not _BODIES[0] < leg < _BODIES[1]
    if outside + sum(askew) + unlike > 1:
        raise InputError(
            f"{name} holds normalised features (contacts from {contacts.min():.2g} to {contacts.max():.2g} instead of "
            "0 to 1): multiply them by Std.npy and add Mean.npy of their data set first"
        )
    if unlike:
        raise InputError(
            f"{name} holds features of a body with {leg:.2g} times the legs of an adult: compute them from joints in "
            f"{skeleton.unit}"
        )


def to_joints(clips: Clips, name: str | Path, up: str | None = None, units: str | None = None) -> list[np.ndarray]:
    """Joints (F, J, 3) of every clip, checked.

    Args:
        clips: Clips of one array.
        name: Its name in messages.
        up: As in `checked_joints`; features have Y up.
        units: As in `checked_joints`; features are in the skeleton's.

    Raises:
        InputError: As `checked_joints` and `check_features`.
    """
    if clips.kept:
        remark = f"{name}: the first {clips.skeleton.num_joints} of its {clips.kept} joints are taken, the body of SMPL"
        warnings.warn(remark, InputWarning, stacklevel=2)
    if not clips.features:
        return [checked_joints(array, clips.skeleton, name, up, units) for array in clips.arrays]
    joints = []
    for array in clips.arrays:
        check_features(array, clips.skeleton, name)
        joints.append(features_to_joints(torch.from_numpy(array.astype(np.float64)), clips.skeleton).numpy())
    return joints
