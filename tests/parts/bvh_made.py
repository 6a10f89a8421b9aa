"""BVH texts for tests: bodies in T-pose with the joint names of several rigs."""

from collections.abc import Mapping, Sequence

import numpy as np

Tree = Sequence[tuple[str, int, tuple[float, float, float]]]  # name, parent, offset; "" as name: an End Site


def bvh_text(
    tree: Tree, motion: np.ndarray, frame_time: float = 1 / 30, order: str = "ZXY", newline: str = "\n"
) -> str:
    """A BVH file's text: position of the root, then three rotations in `order` for every joint of the tree in turn."""
    lines, columns = ["HIERARCHY"], [0, 1, 2]
    rotated = [index for index, (name, *_) in enumerate(tree) if name]

    def node(index: int, depth: int) -> None:
        name, parent, offset = tree[index]
        lines.append("  " * depth + ("ROOT " + name if parent < 0 else "JOINT " + name if name else "End Site"))
        lines.append("  " * depth + "{")
        lines.append("  " * depth + "  OFFSET " + " ".join(map(str, offset)))
        if name:
            columns.extend(
                range(3 + 3 * rotated.index(index), 6 + 3 * rotated.index(index))
            )  # the file goes depth first
            position = "Xposition Yposition Zposition " if parent < 0 else ""
            turns = " ".join(f"{axis}rotation" for axis in order)
            lines.append("  " * depth + f"  CHANNELS {6 if parent < 0 else 3} {position}{turns}")
        for child, (_, above, _) in enumerate(tree):
            if above == index:
                node(child, depth + 1)
        lines.append("  " * depth + "}")

    node(0, 0)
    lines += ["MOTION", f"Frames: {len(motion)}", f"Frame Time: {frame_time:.6f}"]
    lines += [" ".join(f"{value:.6f}" for value in row) for row in motion[:, columns]]
    return newline.join(lines) + newline


def body(names: Mapping[str, str], unit: float = 100.0) -> Tree:
    """A T-pose body, facing Z with left at +X, with the rig's joint names; parts without a name are left out."""
    parts = [
        ("hips", "", (0.0, 0.95, 0.0)),
        ("spine", "hips", (0.0, 0.12, 0.0)),
        ("chest", "spine", (0.0, 0.13, 0.0)),
        ("neck", "chest", (0.0, 0.22, 0.0)),
        ("head", "neck", (0.0, 0.1, 0.02)),
    ]
    for side, sign in (("left", 1), ("right", -1)):
        parts += [
            (f"{side}_hip", "hips", (0.09 * sign, -0.05, 0.0)),
            (f"{side}_knee", f"{side}_hip", (0.0, -0.42, 0.0)),
            (f"{side}_ankle", f"{side}_knee", (0.0, -0.42, 0.0)),
            (f"{side}_foot", f"{side}_ankle", (0.0, -0.06, 0.13)),
            (f"{side}_collar", "chest", (0.04 * sign, 0.15, 0.0)),
            (f"{side}_shoulder", f"{side}_collar", (0.13 * sign, 0.0, 0.0)),
            (f"{side}_elbow", f"{side}_shoulder", (0.28 * sign, 0.0, 0.0)),
            (f"{side}_wrist", f"{side}_elbow", (0.25 * sign, 0.0, 0.0)),
        ]
    kept: list[str] = []
    tree: list[tuple[str, int, tuple[float, float, float]]] = []
    moved: dict[str, np.ndarray] = {}  # offsets of parts left out go to their children
    above = {part: parent for part, parent, _ in parts}
    for part, parent, offset in parts:
        total = np.array(offset) * unit
        while parent and parent not in kept:
            total, parent = total + moved[parent], above[parent]
        if part in names:
            kept.append(part)
            tree.append((names[part], kept.index(parent) if parent else -1, tuple(total.round(4).tolist())))
        else:
            moved[part] = np.array(offset) * unit
    return tree


def sided(left: Mapping[str, str], swap: tuple[str, str]) -> dict[str, str]:
    """Names of both sides from the left ones."""
    return {
        f"{side}_{part}": name.replace(*swap, 1) if side == "right" else name
        for side in ("left", "right")
        for part, name in left.items()
    }


AUTODESK = {
    "hips": "Hips",
    "spine": "Spine",
    "chest": "Spine1",
    "neck": "Neck",
    "head": "Head",
    **sided(
        {
            "hip": "LeftUpLeg",
            "knee": "LeftLeg",
            "ankle": "LeftFoot",
            "foot": "LeftToeBase",
            "collar": "LeftShoulder",
            "shoulder": "LeftArm",
            "elbow": "LeftForeArm",
            "wrist": "LeftHand",
        },
        ("Left", "Right"),
    ),
}
