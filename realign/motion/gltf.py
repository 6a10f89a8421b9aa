"""Writing motions as glTF 2.0: a skinned figure with its animation in one binary file (.glb)."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realign.files import atomic_path
from realign.motion.rotation_solver import PosedSkeleton

_FLOAT, _SHORT, _BYTE = 5126, 5123, 5121  # component types of glTF
_VERTICES, _INDICES = 34962, 34963  # targets of buffer views
_TYPES = {(): "SCALAR", (3,): "VEC3", (4,): "VEC4", (16,): "MAT4"}
_SEGMENTS, _RINGS = 10, 3  # around a limb, and at each rounded end
# Radii in metres of the limbs that end in a joint, on a body whose bones are `_BONES` long together; else `_TRUNK`.
_RADII = {"hip": 0.085, "knee": 0.075, "ankle": 0.05, "foot": 0.035, "toes": 0.03, "collar": 0.07, "shoulder": 0.06}
_RADII |= {"elbow": 0.05, "wrist": 0.04, "head": 0.05}
_TRUNK, _BONES = 0.1, 4.4
# Length and radius of what goes on beyond the last joint of a limb.
_ENDS = {"head": (0.07, 0.11), "wrist": (0.09, 0.04), "foot": (0.045, 0.03), "toes": (0.045, 0.03)}

_Rod = tuple[int, NDArray[Any], NDArray[Any], float]  # the joint that holds it, its two ends, its radius


class _Buffer:
    """The binary part of a file, and the descriptions of what lies in it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, array: NDArray[Any], component: int = _FLOAT, target: int | None = None, bounds: bool = False) -> int:
        """Append an array of rows; the number of its accessor comes back.

        Args:
            array: (N,) or (N, K).
            component: Type of its numbers.
            target: What a buffer view of vertices is for.
            bounds: Whether its least and greatest values are stated.
        """
        kind = {_FLOAT: "<f4", _SHORT: "<u2", _BYTE: "u1"}[component]
        array = np.ascontiguousarray(array, dtype=kind)
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes}
        self.views.append(view | ({"target": target} if target else {}))
        self.data += array.tobytes()
        self.data += bytes(-len(self.data) % 4)
        accessor: dict[str, Any] = {"bufferView": len(self.views) - 1, "componentType": component}
        accessor |= {"count": len(array), "type": _TYPES[array.shape[1:]]}
        if bounds:
            accessor |= {"min": np.atleast_1d(array.min(axis=0)).tolist()}
            accessor |= {"max": np.atleast_1d(array.max(axis=0)).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def write_glb(path: str | Path, posed: PosedSkeleton, caption: str = "") -> None:
    """Write a motion as a figure of rounded limbs, each held by one joint, in metres with Y up.

    Joints are nodes of the skeleton's names, at rest in the T-pose; the animation holds the rotation of every joint
    and the translation of the root at every frame, to be interpolated linearly (rotations: spherically).

    Args:
        path: The file to write; it is replaced only when complete.
        posed: The motion.
        caption: Name of the animation.
    """
    rest, root = (values.numpy() * posed.skeleton.metres for values in (posed.rest, posed.root))
    rotations = np.roll(posed.rotations.numpy(), -1, axis=-1)  # (x, y, z, w)
    joints, parents = range(len(rest)), posed.skeleton.parents
    places = rest.copy()
    for joint, parent in enumerate(parents[1:], 1):
        places[joint] += places[parent]
    buffer = _Buffer()
    mesh = _mesh(buffer, posed, rest, places)
    inverse = np.tile(np.eye(4), (len(rest), 1, 1))
    inverse[:, 3, :3] = -places  # columns one after the other
    binds = buffer.add(inverse.reshape(-1, 16))
    times = buffer.add(np.arange(len(root)) / posed.fps, bounds=True)
    paths = [(0, "translation", root)] + [(joint, "rotation", rotations[:, joint]) for joint in joints]
    samplers = [{"input": times, "output": buffer.add(rows), "interpolation": "LINEAR"} for _, _, rows in paths]
    channels = [
        {"sampler": number, "target": {"node": joint, "path": name}} for number, (joint, name, _) in enumerate(paths)
    ]
    nodes: list[dict[str, Any]] = []
    for joint in joints:
        below = [child for child in joints if parents[child] == joint]
        place = root[0] if joint == 0 else rest[joint]
        nodes.append({"name": posed.skeleton.joints[joint], "translation": np.float32(place).tolist()})
        nodes[-1] |= {"children": below} if below else {}
    name = caption.encode("utf-8", "replace").decode("utf-8") or "motion"
    skin = {"inverseBindMatrices": binds, "joints": list(joints), "skeleton": 0}
    content = {
        "asset": {"version": "2.0", "generator": "realign"},
        "scene": 0,
        "scenes": [{"nodes": [0, len(rest)]}],
        "nodes": [*nodes, {"name": "figure", "mesh": 0, "skin": 0}],
        "meshes": [{"name": "figure", "primitives": [mesh]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [0.6, 0.65, 0.75, 1.0], "metallicFactor": 0.0}}],
        "skins": [skin],
        "animations": [{"name": name, "channels": channels, "samplers": samplers}],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(_packed(content, bytes(buffer.data)))


def _packed(content: dict[str, Any], data: bytes) -> bytes:
    """A binary glTF of a JSON and a binary chunk."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _rods(posed: PosedSkeleton, rest: NDArray[Any], places: NDArray[Any]) -> Iterator[_Rod]:
    """What the figure in the T-pose is made of: a rod for each bone, hands, toes and the head."""
    lengths = np.linalg.norm(rest, axis=-1)
    size, parents = float(lengths.sum()) / _BONES, posed.skeleton.parents
    for joint, parent in enumerate(parents):
        if parent < 0 or lengths[joint] < 1e-3 * size or not size:
            continue
        part, end = posed.skeleton.joints[joint].split("_")[-1], places[joint]
        yield parent, places[parent], end, _RADII.get(part, _TRUNK) * size
        if joint not in parents and part in _ENDS:
            length, radius = _ENDS[part]
            yield joint, end, end + rest[joint] * (length * size / lengths[joint]), radius * size


def _mesh(buffer: _Buffer, posed: PosedSkeleton, rest: NDArray[Any], places: NDArray[Any]) -> dict[str, Any]:
    """The figure in the T-pose; each rod is held by one joint."""
    points: list[NDArray[Any]] = []
    normals, faces, held, count = [], [], [], 0
    for joint, start, end, radius in _rods(posed, rest, places):
        limb, outward, triangles = _limb(start, end, radius)
        faces.append(triangles + count)
        points.append(limb)
        count += len(limb)
        normals.append(outward)
        held.append(np.full(len(limb), joint))
    if not points:  # a point without bones still is a mesh
        points, normals, faces, held = [np.zeros((3, 3))], [np.eye(3)], [np.array([[0, 1, 2]])], [np.zeros(3)]
    owner = np.concatenate(held)[:, None] * [1, 0, 0, 0]
    weights = np.ones((len(owner), 1)) * [1, 0, 0, 0]
    attributes = {
        "POSITION": buffer.add(np.concatenate(points), target=_VERTICES, bounds=True),
        "NORMAL": buffer.add(np.concatenate(normals), target=_VERTICES),
        "JOINTS_0": buffer.add(owner, _BYTE, _VERTICES),
        "WEIGHTS_0": buffer.add(weights, target=_VERTICES),
    }
    indices = buffer.add(np.concatenate(faces).reshape(-1), _SHORT, _INDICES)
    return {"attributes": attributes, "indices": indices, "material": 0}


def _limb(start: NDArray[Any], end: NDArray[Any], radius: float) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Points, normals and triangles (counter-clockwise from outside) of a rounded rod between two points."""
    along = (end - start) / np.linalg.norm(end - start)
    side = np.cross(along, np.eye(3)[np.abs(along).argmin()])
    side /= np.linalg.norm(side)
    turns = np.arange(_SEGMENTS) * (2 * np.pi / _SEGMENTS)
    around = np.cos(turns)[:, None] * side + np.sin(turns)[:, None] * np.cross(along, side)
    rise = np.linspace(0, np.pi / 2, _RINGS + 1)[1:]  # from a pole to the rim
    slopes = np.concatenate([-np.cos(rise), np.cos(rise[::-1])])
    normals = slopes[:, None, None] * along + np.sqrt(1 - slopes**2)[:, None, None] * around
    middles = np.where(np.arange(2 * _RINGS)[:, None, None] < _RINGS, start, end)
    normals = np.concatenate([-along[None], normals.reshape(-1, 3), along[None]])
    middles = np.concatenate([start[None], np.broadcast_to(middles, (2 * _RINGS, _SEGMENTS, 3)).reshape(-1, 3), [end]])
    here = np.arange(_SEGMENTS)
    after, last = (here + 1) % _SEGMENTS, len(normals) - 1
    faces = [np.stack([np.zeros_like(here), 1 + after, 1 + here], axis=1)]
    for ring in range(2 * _RINGS - 1):
        low = 1 + ring * _SEGMENTS
        high = low + _SEGMENTS
        faces.append(np.stack([low + here, low + after, high + here], axis=1))
        faces.append(np.stack([low + after, high + after, high + here], axis=1))
    low = 1 + (2 * _RINGS - 1) * _SEGMENTS
    faces.append(np.stack([low + here, low + after, np.full_like(here, last)], axis=1))
    return middles + radius * normals, normals, np.concatenate(faces)
