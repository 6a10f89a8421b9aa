"""How HumanML3D cuts its clips out of recordings: frame rates, beginnings, axes and mirror images, as published.

Its program takes every int(fps / 20)-th frame and counts the result as 20 frames per second, whatever the true rate. It
drops the beginnings of some data sets, then takes the index's frames, which are whole numbers of those. Everything here
does the same, with the same results where they are odd.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from realign.motion.skeleton import HUMANML3D

RATE = 20
TRIMMED = {"Eyes_Japan_Dataset": 60, "MPI_HDM05": 60, "TotalCapture": 20, "MPI_Limits": 20, "Transitions_mocap": 10}
"""Frames dropped at the beginning, by what the path of a recording holds."""
WITHOUT_CUT = "humanact12"
"""Recordings whose path holds this are taken as they are: no cut, no change of axes."""
_FINGERS = ("index", "middle", "pinky", "ring", "thumb")  # of SMPL+H, three joints each
_RIGHT_OF = {"index": "pinky", "middle": "middle", "pinky": "thumb", "ring": "index", "thumb": "ring"}
_LEFT_HAND, _RIGHT_HAND = 22, 37


@dataclass(frozen=True)
class Cut:
    """One row of the index, or its mirror image.

    Attributes:
        source: Path of the recording, as the index has it.
        start: First frame, after the data set's beginning is dropped.
        end: Frame behind the last one, as in Python's slices; it may lie past the recording.
        mirrored: Left and right are exchanged.
    """

    source: str
    start: int
    end: int
    mirrored: bool = False

    @property
    def whole(self) -> bool:
        """Whether the recording is taken as it is."""
        return WITHOUT_CUT in self.source

    @property
    def trims(self) -> dict[str, int]:
        """What is dropped at the beginning, by the part of the path that says so."""
        return {} if self.whole else {name: frames for name, frames in TRIMMED.items() if name in self.source}

    def frames(self, total: int) -> range:
        """Which frames of a recording it takes.

        Args:
            total: Frames of the recording, every int(fps / 20)-th counted.
        """
        if self.whole:
            return range(total)
        return range(total)[sum(self.trims.values()) :][self.start : self.end]

    def remarks(self, total: int) -> list[str]:
        """What is odd about it, in a recording of so many frames."""
        if self.whole:
            return []
        found = [f"{frames} frames at the beginning of {name} are dropped" for name, frames in self.trims.items()]
        if self.end > total - sum(self.trims.values()):
            found.append("the index ends past the recording, which shortens the clip")
        return found

    def apply(self, joints: Float[ndarray, "T J 3"]) -> Float[ndarray, "F J 3"]:
        """The clip, Y up.

        Args:
            joints: The recording, Z up; with Y up where it is taken as it is.
        """
        frames = self.frames(len(joints))
        return self.turn(joints[frames.start : frames.start + len(frames)])

    def turn(self, joints: Float[ndarray, "F J 3"]) -> Float[ndarray, "F J 3"]:
        """Frames of the recording with Y up, mirrored where the clip is."""
        if not self.whole:
            joints = joints[..., [0, 2, 1]] * [-1.0, 1.0, 1.0]
        return mirrored(joints) if self.mirrored else joints


def stride_of(fps: float) -> int:
    """Every which frame of a recording is taken; 0 below 20 frames per second."""
    return int(fps / RATE)


def mirrored(joints: Float[ndarray, "F J 3"]) -> Float[ndarray, "F J 3"]:
    """The mirror image: x negated, left and right exchanged.

    Of 52 joints the hands are exchanged as published: the left index finger takes the right little finger's place, the
    thumb the ring finger's, and so on. Joints 22 and 23 of 24 keep their places.
    """
    order = np.arange(joints.shape[1])
    order[: HUMANML3D.num_joints] = HUMANML3D.mirror_order
    if joints.shape[1] == 52:
        for finger, name in enumerate(_FINGERS):
            left = _LEFT_HAND + 3 * finger + np.arange(3)
            right = _RIGHT_HAND + 3 * _FINGERS.index(_RIGHT_OF[name]) + np.arange(3)
            order[left], order[right] = right, left
    return joints[:, order] * [-1.0, 1.0, 1.0]
