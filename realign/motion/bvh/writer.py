from pathlib import Path

import numpy as np

from realign.errors import InputError
from realign.files import atomic_path
from realign.motion.skeleton import HUMANML3D, Skeleton, check_fps

# Directions of the left bones in the T-pose: x to the left, y up, z ahead.
_REST = {
    "hip": (0.57, -0.81, -0.15),
    **dict.fromkeys(("knee", "ankle"), (0.0, -1.0, 0.0)),
    "foot": (0.0, -0.4, 0.92),
    "toes": (0.0, 0.0, 1.0),
    "collar": (0.46, 0.88, -0.08),
    "shoulder": (0.96, 0.20, -0.18),
    **dict.fromkeys(("elbow", "wrist"), (1.0, 0.0, 0.0)),
    "head": (0.0, 0.9, 0.44),
}
_TINY = 1e-9
# axis @ _CROSS holds the nine entries of the axis' cross-product matrix.
_CROSS = np.array([[0, 0, 0, 0, 0, -1, 0, 1, 0], [0, 0, 1, 0, 0, 0, -1, 0, 0], [0, -1, 0, 1, 0, 0, 0, 0, 0.0]])


def write_bvh(path: str | Path, joints: np.ndarray, skeleton: Skeleton = HUMANML3D, fps: float | None = None) -> None:
    """Write joints as a BVH file: T-pose hierarchy, root position, one ZXY Euler rotation per bone.

    Lengths keep their unit (HumanML3D: metres, so that Blender's importer shows the person in natural size with its
    default scale of 1), and Y is up. Offsets are mean bone lengths. If a joint carries several bones, each has its own
    node ``<child>_base`` at the same position, since the pelvis or chest of generated joints is not rigid. Every bone's
    rotation is the shortest arc from its parent's, without twist.

    Args:
        path: The file to write; it is replaced only when complete.
        joints: (T, J, 3) positions.
        skeleton: Names and parents of the joints.
        fps: Frames per second; None for the skeleton's.

    Raises:
        InputError: The joints do not fit the skeleton or hold NaN, or the rate is not a positive number.
    """
    joints = np.asarray(joints, dtype=np.float64)
    rate = float(skeleton.fps if fps is None else fps)
    if joints.ndim != 3 or joints.shape[1:] != (skeleton.num_joints, 3) or not len(joints):
        raise InputError(
            f"joints of shape {joints.shape} do not fit skeleton {skeleton.name!r}: "
            f"give (frames, {skeleton.num_joints}, 3)."
        )
    if not np.isfinite(joints).all():
        raise InputError("the joints hold NaN or infinite values: remove those frames before writing BVH.")
    check_fps(rate, f"fps {rate:g}")
    lines, rotations = _hierarchy(joints, skeleton)
    angles = np.stack([_euler_zxy(rotation) for rotation in rotations], axis=1)
    motion = np.concatenate([joints[:, 0], angles.reshape(len(joints), -1)], axis=1)
    lines += ["MOTION", f"Frames: {len(joints)}", f"Frame Time: {1 / rate:.8f}"]
    with atomic_path(path) as temporary, open(temporary, "w", encoding="ascii", newline="\n") as file:
        file.write("\n".join(lines) + "\n")
        np.savetxt(file, motion, fmt="%.6f")


def _hierarchy(joints: np.ndarray, skeleton: Skeleton) -> tuple[list[str], list[np.ndarray]]:
    """Lines of the hierarchy, and the local rotations (T, 3, 3) of its nodes in the same order."""
    offsets = _rest_offsets(joints, skeleton)
    children: list[list[int]] = [[] for _ in skeleton.joints]
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            children[parent].append(joint)
    lines, rotations = ["HIERARCHY"], []

    def node(name: str, offset: np.ndarray, joint: int, below: list[int], above: np.ndarray, depth: int) -> None:
        """Write a node at `joint` with the bones to the joints `below`; `above` is its parent's rotation."""
        indent = "\t" * depth
        lines.append(f"{indent}{'JOINT' if depth else 'ROOT'} {name}")
        lines.append(indent + "{")
        lines.append(f"{indent}\tOFFSET " + " ".join(f"{value:.6f}" for value in offset))
        position = "" if depth else "Xposition Yposition Zposition "
        lines.append(f"{indent}\tCHANNELS {3 if depth else 6} {position}Zrotation Xrotation Yrotation")
        bones = joints[:, below] - joints[:, [joint]]
        if len(below) > 1:
            turned = _best_fit(offsets[below], bones)
        elif below:
            turned = _shortest_arc(above @ offsets[below[0]], bones[:, 0]) @ above
        else:
            turned = above
        rotations.append(above.swapaxes(-1, -2) @ turned)
        for child in below:
            if len(below) > 1:
                node(f"{skeleton.joints[child]}_base", np.zeros(3), joint, [child], turned, depth + 1)
            else:
                node(skeleton.joints[child], offsets[child], child, children[child], turned, depth + 1)
        if not below:
            end = " ".join(f"{value:.6f}" for value in offsets[joint] / 2)
            lines.extend([f"{indent}\tEnd Site", f"{indent}\t{{", f"{indent}\t\tOFFSET {end}", f"{indent}\t}}"])
        lines.append(indent + "}")

    still = np.broadcast_to(np.eye(3), (len(joints), 3, 3))
    node(skeleton.joints[0], np.zeros(3), 0, children[0], still, 0)
    return lines, rotations


def _rest_offsets(joints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(J, 3) T-pose offsets from the parents, with the mean bone lengths of the motion."""
    offsets = np.zeros((skeleton.num_joints, 3))
    for joint, (name, parent) in enumerate(zip(skeleton.joints, skeleton.parents, strict=True)):
        if parent >= 0:
            direction = np.array(_REST.get(name.split("_")[-1], (0.0, 1.0, 0.0)))
            direction[0] *= -1 if name.startswith("right") else 1
            length = np.linalg.norm(joints[:, joint] - joints[:, parent], axis=-1).mean()
            offsets[joint] = direction / np.linalg.norm(direction) * length
    return offsets


def _best_fit(rest: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """Rotations (T, 3, 3) that best fit rest offsets (K, 3) to bones (T, K, 3): Kabsch, Acta Cryst. A32 (1976)."""
    left, _, right = np.linalg.svd(np.einsum("tki,kj->tij", bones, rest))
    left[..., 2] *= np.sign(np.linalg.det(left @ right))[:, None]
    return left @ right


def _shortest_arc(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rotations (T, 3, 3) by the smallest angle from vectors (T, 3) to others; the identity for a zero vector."""
    norms = np.linalg.norm(source, axis=-1, keepdims=True), np.linalg.norm(target, axis=-1, keepdims=True)
    first, second = source / np.maximum(norms[0], _TINY), target / np.maximum(norms[1], _TINY)
    second = np.where((norms[0] > _TINY) & (norms[1] > _TINY), second, first)
    cosine = (first * second).sum(axis=-1)[:, None, None]
    axis = np.cross(first, second)
    cross = (axis @ _CROSS).reshape(-1, 3, 3)
    arc = np.eye(3) + cross + cross @ cross / np.maximum(1 + cosine, _TINY)
    # Opposite vectors have no smallest turn: half a turn about any perpendicular axis.
    least = np.eye(3)[np.abs(first).argmin(axis=-1)]
    normal = np.cross(first, least)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), _TINY)
    half = 2 * normal[:, :, None] * normal[:, None, :] - np.eye(3)
    return np.where(cosine < -1 + 1e-8, half, arc)


def _euler_zxy(rotations: np.ndarray) -> np.ndarray:
    """Degrees (T, 3) about z, x and y of rotations Rz Rx Ry (T, 3, 3), unwrapped over frames."""
    x = np.arctan2(rotations[:, 2, 1], np.hypot(rotations[:, 0, 1], rotations[:, 1, 1]))
    locked = np.hypot(rotations[:, 0, 1], rotations[:, 1, 1]) < 1e-7  # z and y turn about the same axis: y = 0
    z = np.where(
        locked,
        np.arctan2(rotations[:, 1, 0], rotations[:, 0, 0]),
        np.arctan2(-rotations[:, 0, 1], rotations[:, 1, 1]),
    )
    y = np.where(locked, 0.0, np.arctan2(-rotations[:, 2, 0], rotations[:, 2, 2]))
    return np.rad2deg(np.unwrap(np.stack([z, x, y], axis=-1), axis=0))
