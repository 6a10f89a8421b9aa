"""Reading motions of glTF 2.0: the joints of a skinned figure in each of its animations."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from realign.errors import InputError
from realign.motion.gltf_file import GltfFile, checked_index
from realign.motion.rotations import quaternion_slerp, quaternion_to_matrix

_BROKEN = (KeyError, IndexError, TypeError, ValueError, AttributeError, struct.error, RecursionError, OverflowError)
_REST = {"translation": (0.0, 0.0, 0.0), "rotation": (0.0, 0.0, 0.0, 1.0), "scale": (1.0, 1.0, 1.0)}
_DENSE = 60.0  # frames per second at which sparse or uneven key frames are sampled
_SPARSE = 20.0  # key frames per second below which they are sparse
_EVEN = 0.02  # largest deviation of steps between even key frames, as a fraction
_LARGEST = 20_000_000  # frames times nodes


@dataclass(frozen=True, eq=False)
class GltfFigure:
    """The joints of a skin in one animation.

    Attributes:
        names: Names of the joints.
        positions: (T, J, 3) positions in the scene.
        rest: (J, 3) positions without animation.
        fps: Frames per second.
        text: The caption, of a file that `write_glb` wrote.
    """

    names: tuple[str, ...]
    positions: Float[ndarray, "T J 3"]
    rest: Float[ndarray, "J 3"]
    fps: float
    text: str = ""

    @property
    def num_frames(self) -> int:
        """Number of frames T."""
        return len(self.positions)

    def global_positions(self) -> Float[ndarray, "T J 3"]:
        """Positions of all frames."""
        return self.positions

    def rest_positions(self) -> Float[ndarray, "J 3"]:
        """Positions without animation."""
        return self.rest


def read_gltf(path: str | Path, fps: float | None = None) -> list[GltfFigure]:
    """The figure of a file in each of its animations; nothing in the file is executed.

    Args:
        path: A .glb, or a .gltf with its buffers inside or beside it.
        fps: True number of key frames per second, if their times are wrong.

    Raises:
        InputError: It is damaged, has no skin or no animation of one, or is compressed.
    """
    try:
        scene = _Scene(GltfFile(path))
        return [scene.figure(animation, fps) for animation in scene.animations]
    except InputError:
        raise
    except _BROKEN as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        raise InputError(f"{path} is damaged or not a glTF file ({reason}): export it again") from None


def gltf_texts(path: str | Path) -> list[str]:
    """The caption of each animation of a file, "" if it has none; raises as `read_gltf`."""
    try:
        scene = _Scene(GltfFile(path))
        return [scene.text(animation) for animation in scene.animations]
    except InputError:
        raise
    except _BROKEN as error:
        raise InputError(f"{path} is damaged or not a glTF file ({type(error).__name__}): export it again") from None


class _Scene:
    """Nodes, the skin with the most joints, and the animations that move it."""

    def __init__(self, file: GltfFile) -> None:
        self.file, self.nodes = file, file.items("nodes")
        skins = [[checked_index(joint) for joint in skin["joints"]] for skin in file.items("skins")]
        self.joints = max(skins, key=len, default=[])
        if not self.joints:
            raise InputError(f"{file.path} has no skin, whose joints would be the motion: export a skinned figure")
        self.parents: dict[int, int] = {}
        for parent, node in enumerate(self.nodes):
            for child in node.get("children", []):
                if self.parents.setdefault(checked_index(child), parent) != parent:
                    raise ValueError(f"node {child} has two parents")
        self.order = self._outwards()
        self.animations = [each for each in file.items("animations") if self._channels(each)]
        if not self.animations:
            raise InputError(f"{file.path} has no animation of its skin: export it with one")

    def _outwards(self) -> list[int]:
        """The joints and all nodes above them, parents first."""
        order: dict[int, None] = {}
        for joint in self.joints:
            above = [joint]
            while (parent := self.parents.get(above[-1])) is not None and parent not in order:
                if len(above) > len(self.nodes):
                    raise ValueError("nodes are above themselves")
                above.append(parent)
            order.update(dict.fromkeys(reversed(above)))
        return list(order)

    def _channels(self, animation: dict[str, Any]) -> list[tuple[int, str, dict[str, Any]]]:
        """(node, path, sampler) of the channels that move the joints."""
        moved, found = set(self.order), []
        for channel in animation["channels"]:
            target = channel["target"]
            if target.get("node") in moved and target.get("path") in _REST:
                sampler = animation["samplers"][checked_index(channel["sampler"])]
                found.append((target["node"], target["path"], sampler))
        return found

    def text(self, animation: dict[str, Any]) -> str:
        """The caption that `write_glb` gave; other programs name animations by their layers."""
        own = self.file.content["asset"].get("generator") == "realign" and animation.get("name") != "motion"
        return str(animation.get("name", "")) if own else ""

    def figure(self, animation: dict[str, Any], fps: float | None) -> GltfFigure:
        """The joints in an animation."""
        channels = [
            (node, path, self.file.array(sampler["input"])[:, 0], sampler)
            for node, path, sampler in self._channels(animation)
        ]
        keys = [times for _, _, times, _ in channels]
        if any(not len(each) or each[0] < 0 or (np.diff(each) <= 0).any() for each in keys):
            raise ValueError("times of key frames do not increase")
        times, rate = self._times(np.unique(np.concatenate(keys)), dense=fps is None)
        moves: dict[tuple[int, str], ndarray] = {}
        for node, path, each, sampler in channels:
            moves[node, path] = _sampled(each, self.file.array(sampler["output"]), sampler, path, times)
        names = tuple(str(self.nodes[joint].get("name") or f"joint{joint}") for joint in self.joints)
        rest = self._positions({}, 1)[0]
        return GltfFigure(names, self._positions(moves, len(times)), rest, fps or rate, self.text(animation))

    def _times(self, keys: Float[ndarray, "K"], dense: bool) -> tuple[Float[ndarray, "N"], float]:
        """Times of the frames, and their rate."""
        steps = np.diff(keys)
        steps = steps[steps > 1e-4]  # channels may round their times differently
        if not len(steps):
            return keys[:1], _DENSE
        step = float(np.median(steps))
        even = bool(np.abs(steps - step).max() < _EVEN * step)
        rate = round(len(steps) / float(steps.sum()), 3) if even else round(1 / step, 3)
        if dense and not (even and rate >= _SPARSE):
            rate = _DENSE
        count = int((keys[-1] - keys[0]) * rate + 1e-3) + 1
        if count * len(self.order) > _LARGEST:
            raise InputError(f"{self.file.path} would have {count} frames at {rate:g} per second: cut it into parts")
        return keys[0] + np.arange(count) / rate, rate

    def _positions(self, moves: dict[tuple[int, str], ndarray], frames: int) -> Float[ndarray, "T J 3"]:
        """Positions of the joints in the scene."""
        turns: dict[int, ndarray] = {}
        places: dict[int, ndarray] = {}
        for index in self.order:
            turn, place = self._local(index, moves, frames)
            parent = self.parents.get(index)
            if parent is not None:
                place = places[parent] + (turns[parent] @ place[..., None])[..., 0]
                turn = turns[parent] @ turn
            turns[index], places[index] = turn, place
        return np.stack([places[joint] for joint in self.joints], axis=1)

    def _local(self, index: int, moves: dict[tuple[int, str], ndarray], frames: int) -> tuple[ndarray, ndarray]:
        """(T, 3, 3) rotation and scale and (T, 3) translation of a node below its parent."""
        node = self.nodes[index]
        if "matrix" in node:
            matrix = np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
            return np.tile(matrix[:3, :3], (frames, 1, 1)), np.tile(matrix[:3, 3], (frames, 1))
        found = {}
        for path, default in _REST.items():
            still = np.array(node.get(path, default), dtype=np.float64)
            if still.shape != (len(default),) or not np.isfinite(still).all():
                raise ValueError(f"node {index} has a wrong {path}")
            found[path] = moves.get((index, path), np.tile(still, (frames, 1)))
        turn = quaternion_to_matrix(torch.from_numpy(_scalar_first(found["rotation"]))).numpy()
        return turn * found["scale"][:, None, :], found["translation"]


def _sampled(
    keys: Float[ndarray, "K"], values: ndarray, sampler: dict[str, Any], path: str, times: Float[ndarray, "N"]
) -> ndarray:
    """Values (N, 3) or (N, 4) at some times; before the first and after the last key frame they stay."""
    kind = sampler.get("interpolation", "LINEAR")
    cubic = kind == "CUBICSPLINE"
    shape = (len(keys) * (3 if cubic else 1), len(_REST[path]))
    if values.shape != shape or kind not in ("LINEAR", "STEP", "CUBICSPLINE"):
        raise ValueError(f"a sampler of {path} with {len(keys)} times has values {values.shape}, {kind}")
    last = np.clip(np.searchsorted(keys, times + 1e-6, side="right") - 1, 0, len(keys) - 1)
    after = np.minimum(last + 1, len(keys) - 1)
    step = np.where(after > last, keys[after] - keys[last], 1.0)[:, None]
    weight = np.clip((times[:, None] - keys[last, None]) / step, 0.0, 1.0)
    if cubic:
        incoming, points, outgoing = values.reshape(len(keys), 3, -1).transpose(1, 0, 2)
        square, cube = weight**2, weight**3
        return np.asarray(
            (2 * cube - 3 * square + 1) * points[last] + (cube - 2 * square + weight) * step * outgoing[last]
            + (3 * square - 2 * cube) * points[after] + (cube - square) * step * incoming[after]
        )  # fmt: skip
    if kind == "STEP":
        return np.asarray(values[last])
    if path != "rotation":
        return np.asarray(values[last] * (1 - weight) + values[after] * weight)
    start, end = (torch.from_numpy(_scalar_first(values[place])) for place in (last, after))
    return np.roll(quaternion_slerp(start, end, torch.from_numpy(weight[:, 0])).numpy(), -1, axis=-1)


def _scalar_first(rotations: Float[ndarray, "T 4"]) -> Float[ndarray, "T 4"]:
    """Unit quaternions (w, x, y, z) of quaternions (x, y, z, w) of any length."""
    lengths = np.linalg.norm(rotations, axis=-1, keepdims=True)
    return np.roll(rotations / np.maximum(lengths, 1e-12), 1, axis=-1)
