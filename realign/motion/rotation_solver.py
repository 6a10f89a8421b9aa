"""Joint rotations from joint positions: what every format that stores rotations is written from."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from realign.errors import InputError
from realign.motion.rotations import (
    axis_angle_to_quaternion,
    matrix_to_quaternion,
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_rotate,
    quaternion_slerp,
    shortest_arc,
)
from realign.motion.skeleton import Skeleton, check_fps

# Directions of the left side's bones in the T-pose at rest: x to the left, y up, z ahead.
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
_SHAPE_STEPS = 3  # of the mean shape of the bones that leave one joint
_STEPS, _DAMPING = 8, 1e-5  # of Gauss and Newton; in mean squared distances from the root
_CLOSE = 2e-4  # the last step moved no frame's mean joint by more, in root mean squared distances from the root
_FRAMES = 512  # solved at once
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class PosedSkeleton:
    """A motion as rotations of bones of constant length.

    Attributes:
        skeleton: Names and parents of the joints; parents come first.
        rest: (J, 3) offsets from the parents in the T-pose, in the skeleton's unit, zero for the root.
        rotations: (F, J, 4) unit quaternions (w, x, y, z) against the parents; no quaternion changes its sign.
        root: (F, 3) positions of the root, Y up.
        fps: Frames per second.
    """

    skeleton: Skeleton
    rest: Float[Tensor, "J 3"]
    rotations: Float[Tensor, "F J 4"]
    root: Float[Tensor, "F 3"]
    fps: float

    def joints(self) -> Float[Tensor, "F J 3"]:
        """Joint positions, by forward kinematics."""
        return _forward(self.rotations, self.root, self.rest, self.skeleton.parents)[1]

    def at(self, fps: float | None) -> "PosedSkeleton":
        """The same motion at another rate: spherical interpolation of rotations, linear of the root.

        Args:
            fps: Frames per second; None keeps them. The result begins at the same moment and does not outlast this.

        Raises:
            InputError: It is not a rate.
        """
        if fps is None or fps == self.fps:
            return self
        check_fps(fps)
        last = len(self.root) - 1
        count = int(last * fps / self.fps + 1e-6) + 1
        times = (torch.arange(count, dtype=self.root.dtype) * (self.fps / fps)).clamp(max=last)
        before = times.long().clamp(max=max(last - 1, 0))
        after, weight = (before + 1).clamp(max=last), (times - before)[:, None]
        turned = quaternion_slerp(self.rotations[before], self.rotations[after], weight)
        return replace(self, rotations=turned, root=torch.lerp(self.root[before], self.root[after], weight), fps=fps)

    def smoothed(self, seconds: float | None) -> "PosedSkeleton":
        """The same motion with rotations and root averaged over time by a Gaussian.

        Args:
            seconds: Its standard deviation; None and 0 change nothing.

        Raises:
            InputError: It is not a time from 0 to 10 s.
        """
        check_smoothing(seconds)
        if not seconds:
            return self
        reach, last = int(4 * seconds * self.fps) + 1, len(self.root) - 1
        turned, root, total = torch.zeros_like(self.rotations), torch.zeros_like(self.root), 0.0
        for shift in range(-reach, reach + 1):
            weight = math.exp(-0.5 * (shift / (seconds * self.fps)) ** 2)
            frames = (torch.arange(last + 1) + shift).clamp(0, last)
            turned += weight * self.rotations[frames]
            root += weight * self.root[frames]
            total += weight
        return replace(self, rotations=torch.nn.functional.normalize(turned, dim=-1), root=root / total)


def check_smoothing(seconds: float | None) -> None:
    """Refuse what is not the width of a filter over time.

    Args:
        seconds: Its standard deviation, None for no filter.

    Raises:
        InputError: It is not from 0 to 10.
    """
    if seconds is not None and not 0 <= seconds <= 10:  # nor is NaN
        raise InputError(f"rotations cannot be smoothed over {seconds:g} s: give 0 to 10, such as 0.05")


def solve_rotations(
    joints: Float[Tensor, "F J 3"],
    skeleton: Skeleton,
    fps: float | None = None,
    rest: Float[Tensor, "J 3"] | None = None,
    *,
    refine: bool = True,
) -> PosedSkeleton:
    """Rotations of rigid bones whose forward kinematics comes nearest to joint positions.

    A joint with several bones takes the rotation that fits them best (Kabsch, Acta Cryst. A32, 1976), all others the
    shortest swing from their parent, which leaves no twist. Bones have the mean lengths of the motion. Where these
    vary, as in generated motions, errors would add up along the limbs: steps of Gauss and Newton then bring the joints
    to the least sum of squared distances.

    Args:
        joints: Finite positions in the skeleton's unit, Y up.
        skeleton: Names and parents of the joints.
        fps: Frames per second, None for the skeleton's.
        rest: Offsets from the parents of a body in its T-pose, whose directions are kept exactly; None takes a common
            T-pose, with the angles between the bones of pelvis and chest as this motion has them.
        refine: Take the steps of Gauss and Newton, most of the work; bones that hardly vary in length need none.

    Raises:
        InputError: The joints do not fit the skeleton or hold NaN, or the rate is not one.
    """
    rate = float(skeleton.fps if fps is None else fps)
    check_fps(rate, f"fps {rate:g}")
    if joints.ndim != 3 or joints.shape[1:] != (skeleton.num_joints, 3) or not len(joints):
        raise InputError(
            f"joints of shape {tuple(joints.shape)} do not fit skeleton {skeleton.name!r}: "
            f"give (frames, {skeleton.num_joints}, 3)."
        )
    if not bool(torch.isfinite(joints).all()):
        raise InputError("the joints hold NaN or infinite values: remove those frames before rotations are made.")
    joints, given = joints.detach().double().cpu(), rest is not None
    parents, children = skeleton.parents, _children(skeleton)
    rest = _with_lengths(_t_pose(skeleton) if rest is None else rest.double(), joints, parents)
    if not given:
        for joint, below in enumerate(children):
            if len(below) > 1:
                rest[below] = _mean_shape(rest[below], joints[:, below] - joints[:, [joint]])
    rotations, roots = [], []
    for part in joints.split(_FRAMES):
        turned, root = _direct(part, rest, skeleton, children), part[:, 0].clone()
        if refine:
            turned, root = _refined(turned, part, rest, parents)
        rotations.append(turned)
        roots.append(root)
    return PosedSkeleton(skeleton, rest, _steady(torch.cat(rotations)), torch.cat(roots), rate)


def _children(skeleton: Skeleton) -> list[list[int]]:
    """Joints below each joint."""
    children: list[list[int]] = [[] for _ in skeleton.joints]
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            children[parent].append(joint)
    return children


def _t_pose(skeleton: Skeleton) -> Float[Tensor, "J 3"]:
    """Directions of the bones in the T-pose."""
    directions = torch.zeros(skeleton.num_joints, 3, dtype=torch.float64)
    for joint, (name, parent) in enumerate(zip(skeleton.joints, skeleton.parents, strict=True)):
        if parent >= 0:
            x, y, z = _REST.get(name.split("_")[-1], (0.0, 1.0, 0.0))
            directions[joint] = torch.tensor([-x if name.startswith("right") else x, y, z])
    return directions


def _with_lengths(directions: Tensor, joints: Tensor, parents: tuple[int, ...]) -> Float[Tensor, "J 3"]:
    """Offsets in some directions with the mean bone lengths of a motion."""
    rest = torch.zeros_like(directions)
    lengths = (joints[:, 1:] - joints[:, list(parents[1:])]).norm(dim=-1).mean(dim=0)
    rest[1:] = torch.nn.functional.normalize(directions[1:], dim=-1) * lengths[:, None]
    return rest


def _best_fit(rest: Float[Tensor, "K 3"], bones: Float[Tensor, "F K 3"]) -> Float[Tensor, "F 3 3"]:
    """Rotations that bring offsets nearest to bones."""
    left, _, right = torch.linalg.svd(torch.einsum("fki,kj->fij", bones, rest))
    left[..., 2] *= torch.linalg.det(left @ right).sign()[:, None]
    return left @ right


def _mean_shape(rest: Float[Tensor, "K 3"], bones: Float[Tensor, "F K 3"]) -> Float[Tensor, "K 3"]:
    """The rigid shape that fits the bones of all frames best, turned like `rest` and with its lengths."""
    shape = rest
    for _ in range(_SHAPE_STEPS):
        shape = (bones @ _best_fit(shape, bones)).mean(dim=0)
        shape = torch.nn.functional.normalize(shape, dim=-1) * rest.norm(dim=-1, keepdim=True)
    return shape @ _best_fit(shape, rest[None])[0].mT


def _direct(joints: Tensor, rest: Tensor, skeleton: Skeleton, children: list[list[int]]) -> Float[Tensor, "F J 4"]:
    """Rotations against the parents from the directions of the bones."""
    still = joints.new_tensor([1.0, 0.0, 0.0, 0.0]).expand(len(joints), 4)
    world: list[Tensor] = []
    for joint, (parent, below) in enumerate(zip(skeleton.parents, children, strict=True)):
        above = world[parent] if parent >= 0 else still
        bones = joints[:, below] - joints[:, [joint]]
        if len(below) > 1:
            world.append(matrix_to_quaternion(_best_fit(rest[below], bones)))
        elif below:
            world.append(
                quaternion_multiply(shortest_arc(quaternion_rotate(above, rest[below[0]]), bones[:, 0]), above)
            )
        else:
            world.append(above)
    turned = torch.stack(world, dim=1)
    before = torch.stack([world[parent] if parent >= 0 else still for parent in skeleton.parents], dim=1)
    return quaternion_multiply(quaternion_conjugate(before), turned)


def _forward(rotations: Tensor, root: Tensor, rest: Tensor, parents: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Rotations (F, J, 4) and positions (F, J, 3) of all joints in the world."""
    turned, places = [rotations[:, 0]], [root]
    for joint, parent in enumerate(parents[1:], 1):
        places.append(places[parent] + quaternion_rotate(turned[parent], rest[joint]))
        turned.append(quaternion_multiply(turned[parent], rotations[:, joint]))
    return torch.stack(turned, dim=1), torch.stack(places, dim=1)


def _refined(
    rotations: Tensor, joints: Tensor, rest: Tensor, parents: tuple[int, ...]
) -> tuple[Float[Tensor, "F J 4"], Float[Tensor, "F 3"]]:
    """Rotations and root with the least sum of squared distances from the joints; no frame gets worse."""
    root = joints[:, 0].clone()
    turned, places = _forward(rotations, root, rest, parents)
    close = _CLOSE * float((joints - root[:, None]).square().sum(dim=-1).mean().sqrt())
    best = (places - joints).square().sum(dim=(1, 2))
    moving = _turning(parents)
    for _ in range(_STEPS):
        step = _step(places, joints, moving)
        before = torch.cat([torch.zeros_like(turned[:, :1]), turned[:, list(parents[1:])]], dim=1)
        before[:, 0, 0] = 1
        own = quaternion_rotate(quaternion_conjugate(before), step[:, 1:])
        trial = quaternion_multiply(axis_angle_to_quaternion(own), rotations), root + step[:, 0]
        trial_turned, trial_places = _forward(*trial, rest, parents)
        error = (trial_places - joints).square().sum(dim=(1, 2))
        better = error < best
        moved = (trial_places - places).norm(dim=-1).mean(dim=1)[better]
        pick = better[:, None, None]
        rotations, root = torch.where(pick, trial[0], rotations), torch.where(pick[..., 0], trial[1], root)
        turned, places = torch.where(pick, trial_turned, turned), torch.where(pick, trial_places, places)
        best = torch.where(better, error, best)
        if not len(moved) or float(moved.max()) < close:
            break
    return rotations, root


def _turning(parents: tuple[int, ...]) -> Float[Tensor, "J J"]:
    """Whether joint k (column) moves when joint i (row) turns."""
    below = torch.zeros(len(parents), len(parents), dtype=torch.float64)
    for joint, parent in enumerate(parents):
        while parent >= 0:
            below[parent, joint] = 1
            parent = parents[parent]
    return below


def _step(places: Tensor, joints: Tensor, moving: Tensor) -> Float[Tensor, "F 1+J 3"]:
    """A damped step: the root's shift, then rotations (axis times angle, in the world) of each joint."""
    frames, count = places.shape[:2]
    arms = (places[:, None] - places[:, :, None]) * moving[..., None]  # from i to k
    x, y, z = arms.unbind(-1)
    none = torch.zeros_like(x)
    # d place[k] / d rotation[i] takes the cross product with the arm, its sign turned.
    turns = torch.stack([none, z, -y, -z, none, x, y, -x, none], dim=-1).reshape(frames, count, count, 3, 3)
    turns = turns.permute(0, 2, 3, 1, 4).reshape(frames, 3 * count, 3 * count)
    shift = torch.eye(3, dtype=places.dtype).repeat(count, 1).expand(frames, -1, -1)
    jacobian = torch.cat([shift, turns], dim=-1)
    normal = jacobian.mT @ jacobian
    normal.diagonal(dim1=-2, dim2=-1).add_(_DAMPING * (joints[:, 1:] - joints[:, :1]).square().mean().clamp(min=_TINY))
    error = (joints - places).reshape(frames, -1, 1)
    return torch.linalg.solve(normal, jacobian.mT @ error).reshape(frames, 1 + count, 3)


def _steady(rotations: Float[Tensor, "F J 4"]) -> Float[Tensor, "F J 4"]:
    """The same rotations by quaternions without changes of sign between frames, the first with w at least 0."""
    signs = (rotations[1:] * rotations[:-1]).sum(dim=-1, keepdim=True)
    first = torch.where(rotations[:1, :, :1] < 0, -1.0, 1.0)
    signs = torch.cat([first, torch.where(signs < 0, -1.0, 1.0)])
    return rotations * signs.cumprod(dim=0)
