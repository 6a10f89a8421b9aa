"""Writing motions as BVH files."""

from pathlib import Path

import numpy as np
import torch

from realign.files import atomic_path
from realign.motion.rotation_solver import PosedSkeleton, solve_rotations
from realign.motion.rotations import quaternion_to_matrix
from realign.motion.skeleton import HUMANML3D, Skeleton


def write_bvh(
    path: str | Path, joints: np.ndarray | PosedSkeleton, skeleton: Skeleton = HUMANML3D, fps: float | None = None
) -> None:
    """Write joints as a BVH file: T-pose hierarchy of the skeleton's joints, root position, ZXY Euler rotations.

    Lengths keep their unit (HumanML3D: metres, so that Blender's importer shows the person in natural size with its
    default scale of 1), and Y is up. Bones are rigid, with rotations by `solve_rotations`.

    Args:
        path: The file to write; it is replaced only when complete.
        joints: (T, J, 3) positions, or what `solve_rotations` made of them, whose skeleton and rate then count.
        skeleton: Names and parents of the joints.
        fps: Frames per second; None for the skeleton's.

    Raises:
        InputError: The joints do not fit the skeleton or hold NaN, or the rate is not a positive number.
    """
    posed = joints if isinstance(joints, PosedSkeleton) else solve_rotations(torch.as_tensor(joints), skeleton, fps)
    order: list[int] = []
    lines = ["HIERARCHY", *_node(posed, 0, 0, order)]
    angles = _euler_zxy(quaternion_to_matrix(posed.rotations[:, order]).numpy())
    motion = np.concatenate([posed.root.numpy(), angles.reshape(len(angles), -1)], axis=1)
    lines += ["MOTION", f"Frames: {len(motion)}", f"Frame Time: {1 / posed.fps:.8f}"]
    with atomic_path(path) as temporary, open(temporary, "w", encoding="ascii", newline="\n") as file:
        file.write("\n".join(lines) + "\n")
        np.savetxt(file, motion, fmt="%.6f")


def _node(posed: PosedSkeleton, joint: int, depth: int, order: list[int]) -> list[str]:
    """Lines of a joint and all below it, which are added to `order` as the file lists them."""
    order.append(joint)
    skeleton, indent = posed.skeleton, "\t" * depth
    position = "" if depth else "Xposition Yposition Zposition "
    lines = [
        f"{indent}{'JOINT' if depth else 'ROOT'} {skeleton.joints[joint]}",
        f"{indent}{{",
        f"{indent}\tOFFSET {_numbers(posed.rest[joint])}",
        f"{indent}\tCHANNELS {3 if depth else 6} {position}Zrotation Xrotation Yrotation",
    ]
    below = [child for child, parent in enumerate(skeleton.parents) if parent == joint]
    for child in below:
        lines += _node(posed, child, depth + 1, order)
    if not below:
        end = _numbers(posed.rest[joint] / 2)
        lines += [f"{indent}\tEnd Site", f"{indent}\t{{", f"{indent}\t\tOFFSET {end}", f"{indent}\t}}"]
    return [*lines, f"{indent}}}"]


def _numbers(offset: torch.Tensor) -> str:
    """Three numbers as BVH files hold them."""
    return " ".join(f"{value:.6f}" for value in offset.tolist())


def _euler_zxy(rotations: np.ndarray) -> np.ndarray:
    """Degrees (T, J, 3) about z, x and y of rotations Rz Rx Ry, unwrapped over frames."""
    cosine = np.hypot(rotations[..., 0, 1], rotations[..., 1, 1])
    x = np.arctan2(rotations[..., 2, 1], cosine)
    locked = cosine < 1e-7  # z and y turn about the same axis: y = 0
    z = np.where(
        locked,
        np.arctan2(rotations[..., 1, 0], rotations[..., 0, 0]),
        np.arctan2(-rotations[..., 0, 1], rotations[..., 1, 1]),
    )
    y = np.where(locked, 0.0, np.arctan2(-rotations[..., 2, 0], rotations[..., 2, 2]))
    return np.rad2deg(np.unwrap(np.stack([z, x, y], axis=-1), axis=0))
