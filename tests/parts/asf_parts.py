"""A made-up skeleton in outline as the CMU library has them, and motions of it, as ASF and AMC files."""

from pathlib import Path

import numpy as np

# name: (parent, direction, length, axis, dof); a subject of the CMU library in outline
BONES = {
    "lhipjoint": ("root", (0.6, -0.7, 0.4), 2.5, (0, 0, 0), ""),
    "lfemur": ("lhipjoint", (0.34, -0.94, 0), 7.2, (0, 0, 20), "rx ry rz"),
    "ltibia": ("lfemur", (0.34, -0.94, 0), 7.5, (0, 0, 20), "rx"),
    "lfoot": ("ltibia", (0.1, -0.2, 0.97), 2.2, (-90, 0, 20), "rx rz"),
    "ltoes": ("lfoot", (0, 0, 1), 1.1, (-90, 0, 20), "rx"),
    "lowerback": ("root", (0, 1, -0.1), 2.1, (0, 0, 0), "rx ry rz"),
    "upperback": ("lowerback", (0, 1, 0), 2.1, (0, 0, 0), "rx ry rz"),
    "thorax": ("upperback", (0, 1, 0), 2.0, (0, 0, 0), "rx ry rz"),
    "lowerneck": ("thorax", (0, 1, 0.1), 1.7, (0, 0, 0), "rx ry rz"),
    "upperneck": ("lowerneck", (0, 1, 0), 1.6, (0, 0, 0), "rx ry rz"),
    "head": ("upperneck", (0, 1, 0), 1.6, (0, 0, 0), "rx ry rz"),
    "lclavicle": ("thorax", (0.9, 0.4, 0), 3.7, (0, 0, 70), "ry rz"),
    "lhumerus": ("lclavicle", (1, 0, 0), 4.9, (180, 30, 90), "rx ry rz"),
    "lradius": ("lhumerus", (1, 0, 0), 3.4, (180, 30, 90), "rx"),
    "lwrist": ("lradius", (1, 0, 0), 1.7, (180, 30, 90), "ry"),
}


def bones() -> dict:
    """Both sides."""
    found = dict(BONES)
    for name, (parent, (x, y, z), length, (a, b, c), dof) in BONES.items():
        if name[0] == "l" and name not in ("lowerback", "lowerneck"):
            above = "r" + parent[1:] if parent[0] == "l" and parent != "lowerneck" else parent
            found["r" + name[1:]] = (above, (-x, y, z), length, (a, -b, -c), dof)
    return found


def write_asf(path: Path) -> Path:
    table = bones()
    text = (
        "# made up\n:version 1.10\n:units\n  mass 1.0\n  length 0.45\n  angle deg\n:root\n  order TX TY TZ RX RY RZ\n"
    )
    text += "  axis XYZ\n  position 0 0 0\n  orientation 0 0 0\n:bonedata\n"
    for index, (name, (_, direction, length, axis, dof)) in enumerate(table.items(), 1):
        text += f"  begin\n    id {index}\n    name {name}\n    direction {' '.join(map(str, direction))}\n"
        text += f"    length {length}\n    axis {' '.join(map(str, axis))}  XYZ\n"
        text += f"    dof {dof}\n    limits (-160.0 20.0)\n" if dof else ""
        text += "  end\n"
    text += ":hierarchy\n  begin\n"
    for parent in ("root", *table):
        if children := [name for name, bone in table.items() if bone[0] == parent]:
            text += f"    {parent} {' '.join(children)}\n"
    path.write_text(text + "  end\n")
    return path


def made_angles(frames: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    t = np.arange(frames)[:, None] / 120
    angles = {name: bone[4].split() for name, bone in bones().items() if bone[4]}
    return {
        "root": np.concatenate([np.c_[8 * t, 17 + 0 * t, 20 * t], 10 * np.sin(3 * t + rng.uniform(0, 6, 3))], axis=1),
        **{name: 20 * np.sin(5 * t + rng.uniform(0, 6, len(dof))) for name, dof in angles.items()},
    }


def write_amc(path: Path, angles: dict[str, np.ndarray]) -> Path:
    lines = ["#!OML:ASF made up", ":FULLY-SPECIFIED", ":DEGREES"]
    for frame in range(len(angles["root"])):
        lines.append(str(frame + 1))
        lines += [f"{name} {' '.join(f'{v:.6g}' for v in values[frame])}" for name, values in angles.items()]
    path.write_text("\n".join(lines) + "\n")
    return path
