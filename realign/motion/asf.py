"""Acclaim's ASF and AMC files: a skeleton and, beside it, motions of it, as the CMU library publishes them."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from realign.errors import InputError
from realign.files import read_text
from realign.motion.bvh.rig_map import RigMap

_AXES = {"X": 0, "Y": 1, "Z": 2}
_LIMBS = {"hip": "femur", "knee": "tibia", "ankle": "foot", "foot": "toes"}
_LIMBS |= {"shoulder": "humerus", "elbow": "radius", "wrist": "wrist"}
ASF_RIG = RigMap(
    "CMU (ASF)",
    {f"{side}_{part}": (f"{side[0]}{bone}",) for side in ("left", "right") for part, bone in _LIMBS.items()}
    | {"neck": ("lowerneck",), "head": ("head",)},
    ("lowerback", "upperback", "thorax"),
    up="y",
)
"""Where the CMU library's bones begin; the lower neck begins at the end of the thorax."""


@dataclass(frozen=True)
class Bone:
    """One bone; the first of a skeleton is its root, which has no length.

    Attributes:
        name: Its name.
        parent: Index of the bone at whose end it begins, -1 for the root.
        offset: (3,) from its beginning to its end in the rest pose.
        frame: (3, 3) axes about which it turns.
        channels: Such as ("tx", "rx"), in the order of the motion files.
    """

    name: str
    parent: int
    offset: np.ndarray
    frame: np.ndarray
    channels: tuple[str, ...]


def read_asf(path: str | Path) -> tuple[Bone, ...]:
    """Bones of a skeleton, parents first.

    Args:
        path: The .asf file.

    Raises:
        InputError: It is missing, cut off or not such a file.
    """
    text = _read(path)
    sections = dict(re.findall(r"^[ \t]*:(\w+)([^:]*)", text, flags=re.MULTILINE))
    try:
        radians = re.search(r"angle\s+rad", sections.get("units", "")) is not None
        root = sections["root"]
        channels = _field(root, "order").lower()
        bones = [Bone("root", -1, np.zeros(3), _axes(_field(root, "orientation"), root, radians), _words(channels))]
        found = {name: rest for rest in _blocks(sections["bonedata"]) for name in _words(_field(rest, "name"))}
        indices = {"root": 0}
        for line in _blocks(sections["hierarchy"])[0].splitlines():
            parent, *children = line.split() or [""]
            for child in children:
                rest, indices[child] = found[child], len(bones)
                length = float(_field(rest, "length")) * np.array(_words(_field(rest, "direction")), dtype=float)
                frame = _axes(" ".join(_words(_field(rest, "axis"))[:3]), rest, radians)
                dof = re.search(r"\bdof\s+([^\n]*)", rest)
                bones.append(Bone(child, indices[parent], length, frame, _words(dof[1].lower()) if dof else ()))
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"{path} is cut off or not an ASF skeleton ({error!r}); download it again.") from None
    if not all(np.isfinite(bone.offset).all() and bone.offset.shape == (3,) for bone in bones):
        raise InputError(f"{path} holds bones whose direction or length is not a number; download it again.")
    return tuple(bones)


def read_amc(path: str | Path, bones: tuple[Bone, ...]) -> np.ndarray:
    """Where the bones of a skeleton begin in each frame of a motion of it.

    Args:
        path: The .amc file.
        bones: Its skeleton.

    Returns:
        (T, J, 3) positions in the skeleton's unit.

    Raises:
        InputError: It is missing, cut off, or of another skeleton.
    """
    text = _read(path)
    scale = np.pi / 180 if ":RADIANS" not in text.upper() else 1.0
    values = _frames(text, path, bones)
    ends = np.zeros((len(values), len(bones), 3))
    starts, turned = ends.copy(), np.empty((len(values), len(bones), 3, 3))
    column = 0
    for index, bone in enumerate(bones):
        own = np.broadcast_to(np.eye(3), (len(values), 3, 3))
        for name in bone.channels:
            axis = _AXES[name[-1].upper()]
            if name[0] == "r":
                own = _about(axis, values[:, column] * scale) @ own
            elif name[0] == "t" and bone.parent < 0:
                starts[:, index, axis] = values[:, column]
            column += 1
        own = bone.frame @ own @ bone.frame.T
        if bone.parent >= 0:
            own, starts[:, index] = turned[:, bone.parent] @ own, ends[:, bone.parent]
        turned[:, index] = own
        ends[:, index] = starts[:, index] + own @ bone.offset
    return starts


def _read(path: str | Path) -> str:
    try:
        text = read_text(Path(path), errors="replace")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path.") from None
    return re.sub(r"#.*", "", text)


def _blocks(section: str) -> list[str]:
    return [block.strip() for block in re.findall(r"\bbegin\b(.*?)\bend\b", section, flags=re.DOTALL)]


def _field(text: str, name: str) -> str:
    found = re.search(rf"^[ \t]*{name}[ \t]+([^\n]*)", text, flags=re.MULTILINE)
    if found is None:
        raise ValueError(f"no {name}")
    return found[1]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _axes(angles: str, text: str, radians: bool) -> np.ndarray:
    """Turns about the axes in the order that the text names (XYZ: X first)."""
    order = re.search(r"\baxis\b[^\n]*?\b([XYZxyz]{3})\b", text)
    frame = np.eye(3)
    values = np.array(_words(angles), dtype=float)
    for axis, angle in zip((order[1] if order else "XYZ").upper(), values, strict=True):
        frame = _about(_AXES[axis], np.array([angle if radians else np.deg2rad(angle)]))[0] @ frame
    return frame


def _about(axis: int, angles: np.ndarray) -> np.ndarray:
    """Rotations (T, 3, 3) about one coordinate axis by angles (T,) in radians."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    found = np.zeros((len(angles), 3, 3))
    found[:, axis, axis] = 1.0
    found[:, first, first] = found[:, second, second] = np.cos(angles)
    found[:, second, first] = np.sin(angles)
    found[:, first, second] = -found[:, second, first]
    return found


def _frames(text: str, path: str | Path, bones: tuple[Bone, ...]) -> np.ndarray:
    """(T, C) channel values in the order of the bones; the file may list them in any order."""
    words = re.sub(r"^[ \t]*:.*$", "", text, flags=re.MULTILINE).split()
    channels = {bone.name: len(bone.channels) for bone in bones}
    columns: dict[str, int] = {}
    at = 1
    while at < len(words) and words[at] in channels:
        columns[words[at]] = at + 1
        at += 1 + channels[words[at]]
    needed = [bone.name for bone in bones if bone.channels]
    if at < len(words) and not words[at].isdigit():
        raise InputError(f"{path} holds {words[at][:30]!r}, which its .asf file does not have; take its own .asf file.")
    if lost := [name for name in needed if name not in columns]:
        raise InputError(
            f"{path} has no frame with the bones of its .asf file ({lost[0]} is missing); take its own .asf file."
        )
    table = np.array(words[: len(words) // at * at]).reshape(-1, at)
    names = [column - 1 for column in columns.values()]
    if len(words) % at or not (table[:, names] == table[0, names]).all():
        raise InputError(f"{path} is cut off or damaged: its frames are not alike; download it again.")
    own = [columns[name] + k for name in needed for k in range(channels[name])]
    try:
        values = table[:, own].astype(np.float64)
    except ValueError:
        values = np.full((1, 1), np.nan)
    if not np.isfinite(values).all():
        raise InputError(f"{path} holds values that are not finite numbers; download it again.")
    return values
