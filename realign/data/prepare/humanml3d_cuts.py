"""Clips cut out of recordings as HumanML3D publishes them: frame rates, dropped beginnings, axes and mirror images.

HumanML3D's program takes every int(fps / 20)-th frame and treats the result as 20 frames per second, whatever the true
rate. It drops the first frames of some data sets and then applies the frame numbers of the index. This module does the
same, errors included.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from realign.motion.skeleton import HUMANML3D

RATE = 20
TRIMMED = {"Eyes_Japan_Dataset": 60, "MPI_HDM05": 60, "TotalCapture": 20, "MPI_Limits": 20, "Transitions_mocap": 10}
"""Frames dropped at the beginning, by a part of the recording's path."""
WITHOUT_CUT = "humanact12"
"""Recordings whose path contains this are neither cut nor turned."""
_FINGERS = ("index", "middle", "pinky", "ring", "thumb")  # of SMPL+H, three joints each
_RIGHT_OF = {"index": "pinky", "middle": "middle", "pinky": "thumb", "ring": "index", "thumb": "ring"}
_LEFT_HAND, _RIGHT_HAND = 22, 37


@dataclass(frozen=True)
class Cut:
    """One row of the index, or its mirror image.

    Attributes:
        source: Path of the recording in the index.
        start: First frame, counted after the dropped beginning.
        end: Frame after the last one, as in Python's slices; it may exceed the recording.
        mirrored: Left and right are exchanged.
    """

    source: str
    start: int
    end: int
    mirrored: bool = False

    @property
    def whole(self) -> bool:
        """Whether the recording is taken unchanged."""
        return WITHOUT_CUT in self.source

    @property
    def trims(self) -> dict[str, int]:
        """Frames dropped at the beginning, by the part of the path that matches `TRIMMED`."""
        return {} if self.whole else {name: frames for name, frames in TRIMMED.items() if name in self.source}

    def frames(self, total: int) -> range:
        """The frames of a recording that it takes.

        Args:
            total: Frames of the recording, counting every int(fps / 20)-th.
        """
        if self.whole:
            return range(total)
        return range(total)[sum(self.trims.values()) :][self.start : self.end]

    def remarks(self, total: int) -> list[str]:
        """Remarks about the cut in a recording of `total` frames."""
        if self.whole:
            return []
        found = [f"{frames} frames at the beginning of {name} are dropped" for name, frames in self.trims.items()]
        if self.end > total - sum(self.trims.values()):
            found.append("the index ends past the recording, which shortens the clip")
        return found

    def apply(self, joints: Float[ndarray, "T J 3"]) -> Float[ndarray, "F J 3"]:
        """The clip, Y up.

        Args:
            joints: The recording, Z up; Y up if it is taken unchanged.
        """
        frames = self.frames(len(joints))
        return self.turn(joints[frames.start : frames.start + len(frames)])

    def turn(self, joints: Float[ndarray, "F J 3"]) -> Float[ndarray, "F J 3"]:
        """Turn frames of the recording to Y up, and mirror them if the clip is mirrored."""
        if not self.whole:
            joints = joints[..., [0, 2, 1]] * [-1.0, 1.0, 1.0]
        return mirrored(joints) if self.mirrored else joints


def stride_of(fps: float) -> int:
    """Step between the frames taken of a recording; 0 below 20 frames per second."""
    return int(fps / RATE)


def mirrored(joints: Float[ndarray, "F J 3"]) -> Float[ndarray, "F J 3"]:
    """The mirror image: x negated, left and right exchanged.

    With 52 joints, the hands are exchanged as published: the left index finger becomes the right little finger, the
    left thumb the right ring finger, and so on. With 24 joints, joints 22 and 23 are not exchanged.
    """
    order = np.arange(joints.shape[1])
    order[: HUMANML3D.num_joints] = HUMANML3D.mirror_order
    if joints.shape[1] == 52:
        for finger, name in enumerate(_FINGERS):
            left = _LEFT_HAND + 3 * finger + np.arange(3)
            right = _RIGHT_HAND + 3 * _FINGERS.index(_RIGHT_OF[name]) + np.arange(3)
            order[left], order[right] = right, left
    return joints[:, order] * [-1.0, 1.0, 1.0]
