import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from realign.errors import InputError, InputWarning
from realign.motion.bvh.body import LEG, body_frame, has_added_pose, leg_length, place_joints
from realign.motion.bvh.reader import Bvh, read_bvh
from realign.motion.bvh.rig_map import ResolvedRig
from realign.motion.bvh.rigs import RigMap, choose_rig, load_rig
from realign.motion.bvh.tempo import check_header, doubt_rate
from realign.motion.gltf_reader import GltfFigure, read_gltf
from realign.motion.skeleton import HUMANML3D, Skeleton, check_fps
from realign.motion.upright import find_up, is_mirrored, parse_up, turn_up

_TINY = 1e-9
_SAME_SIZE = 0.05  # legs of a body of the skeleton's own size differ from the reference by less
# KIT joint -> HumanML3D joints to average.
_KIT_SOURCES = {
    "root": ("pelvis",),
    "spine2": ("spine3",),
    **{f"{side}_foot": (f"{side}_ankle", f"{side}_foot") for side in ("left", "right")},
    **{f"{side}_toes": (f"{side}_foot",) for side in ("left", "right")},
}


def import_bvh(
    path: str | Path,
    rig: RigMap | str | Path | None = None,
    skeleton: Skeleton = HUMANML3D,
    fps: float | None = None,
    *,
    recorded_fps: float | None = None,
    up: str | None = None,
) -> np.ndarray:
    """Read a BVH file of any known rig as joints of a reference skeleton.

    Bones keep their directions and take the skeleton's lengths. The root trajectory is scaled by the ratio of leg
    lengths, so the file's unit does not matter. Heading and position on the floor are those of the file. An
    `InputWarning` reports what is doubtful in the file or was corrected.

    Args:
        path: The .bvh file.
        rig: A rig map or its YAML file; None recognises the rig by its joint names.
        skeleton: The target skeleton; it must have bone lengths.
        fps: Frames per second of the result; None for the skeleton's.
        recorded_fps: True frames per second of the file, if its header is wrong; it overrules the rig map's.
        up: The axis of the file that points up, one of `upright.UP_AXES`; None uses the rig map's, or detects it.

    Returns:
        (T, J, 3) float32 positions in the skeleton's unit, Y up, the lowest point of the clip at height 0. A file with
        the skeleton's own joints in its unit and size, as `write_bvh` writes, keeps its bones, path and height.

    Raises:
        InputError: The file is damaged, its rig is unknown, its body has no size, or its rate is not a frame rate.
    """
    own, given = _given(path, rig, fps, recorded_fps)
    return _import_figure(read_bvh(path, given), path, own, skeleton, fps, given, up)


def import_gltf(
    path: str | Path,
    rig: RigMap | str | Path | None = None,
    *,
    recorded_fps: float | None = None,
    up: str | None = None,
) -> list[tuple[np.ndarray, str]]:
    """Read the animations of a skinned figure in a glTF file as joints of HumanML3D, at its rate.

    Args:
        path: The .glb or .gltf file.
        rig: As in `import_bvh`.
        recorded_fps: True key frames per second of the file, if their times are wrong.
        up: As in `import_bvh`.

    Returns:
        Joints, as `import_bvh` gives them, and the caption of each animation, "" if it has none.

    Raises:
        InputError: As `read_gltf` and `import_bvh`.
    """
    own, given = _given(path, rig, None, recorded_fps)
    figures = read_gltf(path, given)
    return [(_import_figure(each, path, own, HUMANML3D, None, given, up), each.text) for each in figures]


def _given(
    path: str | Path, rig: RigMap | str | Path | None, fps: float | None, recorded_fps: float | None
) -> tuple[RigMap | None, float | None]:
    """The user's rig map and the true rate of a file, checked."""
    own = rig if isinstance(rig, RigMap) or rig is None else load_rig(rig)
    given = own.fps if own is not None and recorded_fps is None else recorded_fps
    for rate, what in ((fps, "fps"), (given, f"the fps given for {path}")):
        if rate is not None:
            check_fps(rate, what)
    return own, given


def _import_figure(
    bvh: Bvh | GltfFigure, path: str | Path, own: RigMap | None, skeleton: Skeleton, fps: float | None,
    given: float | None, up: str | None,
) -> np.ndarray:  # fmt: skip
    """The joints of the skeleton that the figure of a file shows; arguments are those of `import_bvh`."""
    try:
        if given is None:
            check_header(bvh.fps)
        chosen = choose_rig(own, bvh.names)
        resolved = chosen.resolve(bvh.names)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if up is not None:
        chosen = replace(chosen, up=parse_up(up))
    positions = upright_positions(bvh, chosen, resolved, path)
    if not len(positions):
        raise InputError(f"{path} has {bvh.num_frames} frames and the rig skips them all; lower skip_frames.")
    body = resolved.body(positions)
    if given is None and (doubt := doubt_rate(body, leg_length(body), bvh.fps)):
        remark = f"{path}: its header says {bvh.fps:g} frames per second, but {doubt}; give the true rate with --fps"
        warnings.warn(remark, InputWarning, stacklevel=2)
    positions = resample(positions, bvh.fps, fps or skeleton.fps)
    joints = None if own is not None else _own_joints(positions, bvh.names, skeleton)
    if joints is None:
        joints = retarget(positions, resolved, skeleton)
        joints[..., 1] -= joints[..., 1].min()
    return joints.astype(np.float32)


def _own_joints(positions: np.ndarray, names: tuple[str, ...], skeleton: Skeleton) -> np.ndarray | None:
    """The joints as they are, if a file has exactly those of the skeleton, in its unit and size; else None."""
    if {name for name in names if ".end" not in name} != set(skeleton.joints):
        return None
    joints = positions[:, [names.index(name) for name in skeleton.joints]]
    leg = leg_length({name: joints[:, index] for index, name in enumerate(skeleton.joints)})
    return joints if abs(leg * skeleton.metres / LEG - 1) < _SAME_SIZE else None


def retarget(positions: np.ndarray, rig: ResolvedRig, skeleton: Skeleton = HUMANML3D) -> np.ndarray:
    """The joints of a reference skeleton that a foreign body shows, at the height that its legs give.

    Args:
        positions: (T, S, 3) positions of the body's joints, Y up.
        rig: Where the rig's joints are among them.
        skeleton: The skeleton to give; it must have bone lengths.

    Returns:
        (T, J, 3) positions in the skeleton's unit.
    """
    return scale_to_skeleton(_in_order(place_joints(positions, rig), skeleton), skeleton)


def upright_positions(bvh: Bvh | GltfFigure, rig: RigMap, joints: ResolvedRig, path: str | Path) -> np.ndarray:
    """(T, J, 3) positions with Y up, without the leading frames of a rest pose.

    Args:
        bvh: The file.
        rig: Its rig.
        joints: Where the rig's joints are among its.
        path: Named in errors and warnings.

    Raises:
        InputError: Its legs have no length.
    """
    positions = bvh.global_positions()
    leg = leg_length(joints.body(positions))
    if leg < _TINY:
        raise InputError(f"{path}: hips, knees and ankles are at one point; correct the rig map or the OFFSETs.")
    up = rig.up or find_up(positions, joints.body(positions), leg, joints.body(bvh.rest_positions()))
    skip = rig.skip_frames
    if isinstance(bvh, GltfFigure):
        skip = skip or 0
    elif skip is None:
        skip = int(has_added_pose(bvh, turn_up(positions[:7], up), joints))
        if skip and rig.settle_frames:
            settled = min(skip + rig.settle_frames, bvh.num_frames - 1)
            motion, limbs = bvh.motion.copy(), bvh.columns("rotation", root=False)
            motion[skip:settled, limbs] = motion[settled, limbs]
            positions = replace(bvh, motion=motion).global_positions()
    positions = turn_up(positions[skip:], up)
    if len(positions) and is_mirrored(joints.body(positions), leg):
        remark = f"{path}: feet point backwards, as in left-handed coordinates; the motion is mirrored back"
        warnings.warn(remark, InputWarning, stacklevel=3)
        positions = positions * [-1.0, 1.0, 1.0]
    return positions


def resample(positions: np.ndarray, fps: float, target: float) -> np.ndarray:
    """Positions at another frame rate, by linear interpolation between frames.

    Args:
        positions: (T, ..., 3) positions at `fps`.
        fps: Frames per second of the positions.
        target: Frames per second of the result, which begins at the same time and does not end later.

    Returns:
        (floor((T - 1) * target / fps) + 1, ..., 3) positions.
    """
    last = len(positions) - 1
    count = int(np.floor(last * target / fps + 1e-6)) + 1
    times = np.minimum(np.arange(count) * (fps / target), last)
    before = np.minimum(times.astype(int), max(last - 1, 0))
    weight = (times - before).reshape(-1, *(1,) * (positions.ndim - 1))
    return positions[before] * (1 - weight) + positions[np.minimum(before + 1, last)] * weight


def scale_to_skeleton(joints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Give every bone the skeleton's length and keep its direction; scale the root trajectory by the leg lengths.

    Args:
        joints: (T, J, 3) positions in any unit.
        skeleton: The skeleton with the target lengths.

    Returns:
        (T, J, 3) positions in the skeleton's unit.

    Raises:
        InputError: The skeleton has no lengths.
    """
    if skeleton.rest_offsets is None:
        raise InputError(f"skeleton {skeleton.name!r} has no bone lengths; give one by Skeleton.with_target(pose).")
    lengths = np.linalg.norm(np.array(skeleton.rest_offsets), axis=-1)
    parents = list(skeleton.parents)
    bones = joints[:, 1:] - joints[:, parents[1:]]
    norms = np.linalg.norm(bones, axis=-1, keepdims=True)
    directions = np.where(norms > _TINY, bones / np.maximum(norms, _TINY), _neutral(joints, skeleton))
    legs = [*skeleton.leg_joints, *(skeleton.mirror_order[joint] for joint in skeleton.leg_joints)]
    ratio = lengths[legs].sum() / norms[:, [leg - 1 for leg in legs], 0].mean(axis=0).sum()
    scaled = np.empty_like(joints)
    # A body of the reference size up to rounding keeps its trajectory, so that writing and reading BVH is exact.
    scaled[:, 0] = joints[:, 0] * (1.0 if abs(ratio - 1) < 1e-3 else ratio)
    for joint in _outwards(parents):
        scaled[:, joint] = scaled[:, parents[joint]] + directions[:, joint - 1] * lengths[joint]
    return scaled


def _neutral(joints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(T, J - 1, 3) directions of the neutral pose, turned with the body, for bones without length."""
    right_hip, left_hip, right_shoulder, left_shoulder = (joints[:, joint] for joint in skeleton.facing)
    across = left_hip - right_hip + left_shoulder - right_shoulder
    frames = body_frame(across, left_shoulder + right_shoulder - left_hip - right_hip)
    neutral = np.array(skeleton.raw_offsets)[1:]
    neutral[:, 0] *= np.sign(neutral[skeleton.facing[1] - 1, 0])  # KIT's have the opposite sign along x
    return np.asarray(neutral @ frames.swapaxes(-1, -2))


def _outwards(parents: list[int]) -> list[int]:
    """All joints except the root, parents before children (KIT's own order is different)."""
    depth: list[int] = []
    for joint in range(len(parents)):
        steps, above = 0, joint
        while parents[above] >= 0:
            steps, above = steps + 1, parents[above]
        depth.append(steps)
    return sorted(range(1, len(parents)), key=depth.__getitem__)


def _in_order(body: dict[str, np.ndarray], skeleton: Skeleton) -> np.ndarray:
    """(T, J, 3) joints in a skeleton's order from HumanML3D joints by name."""
    sources = (_KIT_SOURCES.get(name, (name,)) if skeleton.name == "kit" else (name,) for name in skeleton.joints)
    return np.stack([np.mean([body[name] for name in names], axis=0) for names in sources], axis=1)
