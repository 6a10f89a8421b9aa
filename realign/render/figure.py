"""The body drawn for a clip, in metres: rounded limbs, and a head with a direction of view."""

from dataclasses import dataclass

import numpy as np

from realign.motion.clip import MotionClip
from realign.motion.skeleton import Skeleton, get_skeleton

SOLE = 0.03  # metres of foot below its joints; the floor is drawn at -SOLE, so that feet stand on it
STANDARD_HEIGHT = 1.7  # metres; clips in another unit are drawn at this height
_PLAUSIBLE = (0.6, 3.0)  # metres; bodies of a height between these are not scaled
_FORWARD_FRAMES = 5  # average over these, so that the head does not shake in noisy clips


@dataclass(frozen=True)
class Capsule:
    """A rounded, tapering limb between two points.

    Attributes:
        start: Index of its first point.
        end: Index of its second point.
        radii: Radius at either end, in metres.
    """

    start: int
    end: int
    radii: tuple[float, float]


@dataclass(frozen=True)
class Part:
    """Limbs that are painted together, under one outline.

    Attributes:
        side: "left", "right" or "middle".
        capsules: Its limbs.
        hull: Indices of points whose polygon is filled between the limbs; may be empty.
    """

    side: str
    capsules: tuple[Capsule, ...]
    hull: tuple[int, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A clip prepared for drawing.

    Attributes:
        points: (F, P, 3) metres, Y up: the joints, then heels, toe and hand tips, the head's centre and the nose.
        forward: (F, 3) horizontal unit vectors: the facing of the chest.
        parts: Parts painted between the points.
        head: Indices of the head's centre and of the nose.
        fps: Frames per second.
        caption: The clip's caption.
    """

    points: np.ndarray
    forward: np.ndarray
    parts: tuple[Part, ...]
    head: tuple[int, int]
    fps: float
    caption: str

    HEAD_RADIUS = 0.115

    def at(self, seconds: float) -> int:
        """The frame shown at a time; the last one after the clip's end."""
        return min(int(seconds * self.fps + 1e-6), len(self.points) - 1)


def make_figure(clip: MotionClip) -> Figure:
    """Prepare a clip for drawing.

    A clip that is not in metres (KIT-ML) is scaled to a person of 1.7 m; a clip far from the floor is moved onto it.

    Args:
        clip: The motion, its joints (F, J, 3).
    """
    skeleton = get_skeleton(clip.skeleton)
    joints = np.asarray(clip.joints, dtype=np.float64)
    height = body_height(joints, skeleton)
    if not _PLAUSIBLE[0] <= height <= _PLAUSIBLE[1] and height > 0:
        joints = joints * (STANDARD_HEIGHT / height)
    floor = joints[..., 1].min()
    if abs(floor) > 0.25:  # smaller errors should be visible
        joints = joints - (0.0, floor, 0.0)
    forward = _forward(joints, skeleton)
    spine, limbs = _split_chains(skeleton)
    points, parts = [joints], []
    count = joints.shape[1]
    for chain in limbs:
        side = _side(chain[-1], skeleton)
        if any(joint in skeleton.feet for joint in chain):
            points += [_heel(joints, chain)[:, None], _beyond(joints, chain[-2], chain[-1], 0.045)[:, None]]
            parts.append(_leg(chain, count, count + 1, side))
            count += 2
        else:
            points.append(_beyond(joints, chain[-2], chain[-1], 0.09)[:, None])
            parts.append(Part(side, _capsules((*chain, count), (0.058, 0.046, 0.036, 0.042))))
            count += 1
    head = _beyond(joints, spine[-2], spine[-1], 0.07)
    nose = head + forward * (Figure.HEAD_RADIUS + 0.02)
    points += [head[:, None], nose[:, None]]
    parts.append(_torso((*spine[:-1], count), skeleton))
    return Figure(
        np.concatenate(points, axis=1), forward, tuple(parts), (count, count + 1), float(clip.fps), clip.caption
    )


def body_height(joints: np.ndarray, skeleton: Skeleton) -> float:
    """Height of a person from the lengths of leg bones and spine.

    Args:
        joints: (F, J, 3).
        skeleton: The skeleton of the joints.

    Returns:
        The height in the joints' unit; 0 if all joints are at one point.
    """
    first = joints[0]
    lengths = [0.0] + [
        float(np.linalg.norm(first[j] - first[p])) for j, p in enumerate(skeleton.parents) if j and p >= 0
    ]
    spine, _ = _split_chains(skeleton)
    leg = [chain for chain in skeleton.chains if skeleton.facing[1] in chain][0]
    return sum(lengths[joint] for joint in (*spine[1:], *leg[2:-1])) * 1.08  # 1.08: crown of the head and soles


def _split_chains(skeleton: Skeleton) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """The spine up to the head, and the limbs from hip or shoulder on."""
    limbs, spine = [], skeleton.chains[0]
    for chain in skeleton.chains:
        joined = [joint for joint in chain if joint in skeleton.facing]
        if joined:
            limbs.append(chain[chain.index(joined[0]) :])
        else:
            spine = chain
    return spine, limbs


def _side(joint: int, skeleton: Skeleton) -> str:
    for left, right in skeleton.pairs:
        if joint == left:
            return "left"
        if joint == right:
            return "right"
    return "middle"


def _capsules(points: tuple[int, ...], radii: tuple[float, ...]) -> tuple[Capsule, ...]:
    return tuple(
        Capsule(a, b, ends) for a, b, ends in zip(points, points[1:], zip(radii, radii[1:], strict=False), strict=False)
    )


def _leg(chain: tuple[int, ...], heel: int, toe: int, side: str) -> Part:
    """A leg with a foot: heel, ball and ankle as a filled triangle."""
    ankle, ball = chain[2], chain[3]
    upper = _capsules(chain[:3], (0.085, 0.06, 0.042))
    foot = _capsules((heel, *chain[3:], toe), (SOLE,) * len(chain))
    return Part(side, (*upper, Capsule(ankle, heel, (0.04, SOLE)), *foot), (ankle, heel, ball))


def _heel(joints: np.ndarray, chain: tuple[int, ...]) -> np.ndarray:
    """Position of the heel: below the ankle along the shin, moved away from the toes."""
    return _beyond(joints, chain[1], chain[2], 0.05) - 0.035 * _direction(joints[:, chain[3]] - joints[:, chain[2]])


def _torso(spine: tuple[int, ...], skeleton: Skeleton) -> Part:
    right_hip, left_hip, right_shoulder, left_shoulder = skeleton.facing
    neck = spine[-2]
    bones = [Capsule(a, b, (0.1, 0.1)) for a, b in zip(spine[:-2], spine[1:-1], strict=True)]
    bones[-1] = Capsule(bones[-1].start, neck, (0.1, 0.05))
    bones += [
        Capsule(neck, spine[-1], (0.05, 0.05)),
        Capsule(right_hip, left_hip, (0.085, 0.085)),
        Capsule(right_shoulder, left_shoulder, (0.06, 0.06)),
        Capsule(right_shoulder, right_hip, (0.06, 0.085)),
        Capsule(left_shoulder, left_hip, (0.06, 0.085)),
    ]
    return Part("middle", tuple(bones), (right_shoulder, left_shoulder, left_hip, right_hip))


def _beyond(joints: np.ndarray, before: int, joint: int, metres: float) -> np.ndarray:
    """The point `metres` further along the bone that ends in `joint`."""
    return joints[:, joint] + metres * _direction(joints[:, joint] - joints[:, before])


def _direction(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors; zero stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 1e-9, length, 1.0)


def _forward(joints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Facing of the shoulders, up x (right - left), averaged over a few frames."""
    across = joints[:, skeleton.facing[2]] - joints[:, skeleton.facing[3]]
    across = moving_average(across, _FORWARD_FRAMES)
    forward = np.stack([across[:, 2], np.zeros(len(across)), -across[:, 0]], axis=-1)
    unit = _direction(forward)
    return np.where(np.abs(unit).sum(axis=-1, keepdims=True) > 0.5, unit, (0.0, 0.0, 1.0))


def moving_average(values: np.ndarray, frames: int) -> np.ndarray:
    """Mean over a centred window of `frames` rows, padded with the first and last row.

    Args:
        values: (F, D).
        frames: Width of the window, odd.
    """
    half = frames // 2
    padded = np.concatenate([values[:1].repeat(half + 1, 0), values, values[-1:].repeat(half, 0)])
    total = padded.cumsum(axis=0)
    return (total[2 * half + 1 :] - total[: -2 * half - 1]) / (2 * half + 1)
