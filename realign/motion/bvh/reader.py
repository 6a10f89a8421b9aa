from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from realign.errors import InputError
from realign.motion.bvh.parser import parse_hierarchy, parse_motion, read_text, split_motion

_AXES = {"X": 0, "Y": 1, "Z": 2}


@dataclass(frozen=True)
class Bvh:
    """One BVH file: a hierarchy and its channel values, in the file's own units and axes.

    End Sites are joints without channels, named after their parent with the suffix ``.end`` (``.end2`` ... for more).

    Attributes:
        names: J joint names in file order, End Sites included.
        parents: J parent indices, -1 for a root; a parent comes before its children.
        offsets: (J, 3) offset from the parent.
        channels: For every joint its channel names in file order, such as ``("Zrotation", "Xrotation", "Yrotation")``.
        motion: (T, C) channel values; rotations in degrees.
        frame_time: Seconds between frames.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    channels: tuple[tuple[str, ...], ...]
    motion: np.ndarray
    frame_time: float

    @property
    def num_frames(self) -> int:
        """Frames T."""
        return int(self.motion.shape[0])

    @property
    def fps(self) -> float:
        """Frames per second; the rounded 0.0333333 s of a header is read as exactly 30."""
        rate = 1.0 / self.frame_time
        return float(round(rate)) if abs(rate - round(rate)) < 1e-3 * rate and round(rate) else rate

    def frames(self, start: int, stop: int) -> "Bvh":
        """The same hierarchy with only the frames from `start` to before `stop`."""
        return replace(self, motion=self.motion[start:stop])

    def columns(self, kind: str, root: bool) -> np.ndarray:
        """Columns of the motion with channels of a kind.

        Args:
            kind: "rotation" or "position".
            root: True for joints without a parent, False for all others.

        Returns:
            (n,) column indices.
        """
        owners = [
            (parent < 0, name) for parent, names in zip(self.parents, self.channels, strict=True) for name in names
        ]
        return np.array([i for i, (top, name) in enumerate(owners) if top == root and name.endswith(kind)], dtype=int)

    def local_transforms(self) -> tuple[np.ndarray, np.ndarray]:
        """Rotation (with scale, if any) and translation of every joint in its parent's frame.

        Rotation channels multiply in file order (the first listed is outermost). Position channels replace the joint's
        OFFSET, as in Blender and in files that write them for every joint. Positions of a joint other than a root are
        ignored if all of them are zero, since its bone would vanish.

        Returns:
            Rotations (T, J, 3, 3) and translations (T, J, 3) in file units.
        """
        frames, joints = self.num_frames, len(self.names)
        rotations = np.broadcast_to(np.eye(3), (frames, joints, 3, 3)).copy()
        translations = np.broadcast_to(self.offsets, (frames, joints, 3)).copy()
        column = 0
        for joint, names in enumerate(self.channels):
            moves = [column + i for i, name in enumerate(names) if name.endswith("position")]
            unused = self.parents[joint] >= 0 and not self.motion[:, moves].any()
            for name in names:
                axis, values = _AXES[name[0]], self.motion[:, column]
                if name.endswith("rotation"):
                    _turn(rotations[:, joint], axis, np.deg2rad(values))
                elif name.endswith("scale"):
                    rotations[:, joint, :, axis] *= values[:, None]
                elif not unused:
                    translations[:, joint, axis] = values
                column += 1
        return rotations, translations

    def global_positions(self) -> np.ndarray:
        """Forward kinematics of all frames at once.

        Returns:
            (T, J, 3) float64 positions in the file's units and axes.
        """
        rotations, positions = self.local_transforms()
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                turned = rotations[:, parent] @ positions[:, joint, :, None]
                positions[:, joint] = positions[:, parent] + turned[..., 0]
                rotations[:, joint] = rotations[:, parent] @ rotations[:, joint]
        return positions

    def rest_positions(self) -> np.ndarray:
        """(J, 3) positions with every rotation zero and every joint at its OFFSET."""
        positions = self.offsets.copy()
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                positions[joint] += positions[parent]
        return positions


def _turn(rotations: np.ndarray, axis: int, angles: np.ndarray) -> None:
    """Multiply (T, 3, 3) rotations in place, from the right, by turns about one coordinate axis (radians)."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    cosine, sine = np.cos(angles)[:, None], np.sin(angles)[:, None]
    left, right = rotations[:, :, first].copy(), rotations[:, :, second].copy()
    rotations[:, :, first] = left * cosine + right * sine
    rotations[:, :, second] = right * cosine - left * sine


def read_bvh(path: str | Path, fps: float | None = None) -> Bvh:
    """Read a BVH file: any channel order, position channels on any joint, any newlines, several roots and End Sites.

    Args:
        path: The file.
        fps: True frames per second, to use instead of the file's Frame Time.

    Returns:
        The hierarchy with its motion.

    Raises:
        InputError: The file is empty, cut off, not BVH, or holds values that are not finite numbers.
    """
    text = read_text(path)
    header, mark, body = split_motion(text)
    if not mark:
        raise InputError(f"{path} has no MOTION section: it is cut off or not a BVH file; export it again.")
    names, parents, offsets, channels = parse_hierarchy(header, path)
    width = sum(len(names) for names in channels)
    motion, frame_time = parse_motion(body, width, header.count("\n"), path, fps)
    return Bvh(tuple(names), tuple(parents), np.array(offsets), tuple(channels), motion, frame_time)
