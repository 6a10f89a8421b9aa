"""Made-up bodies of the SMPL family, recordings of them, and a repository that cuts these."""

import zipfile
from pathlib import Path

import numpy as np

from realign.motion.skeleton import HUMANML3D

_JOINTS = {"smpl": 24, "smplh": 52, "smplx": 55}


def parents_of(kind: str) -> list[int]:
    """The tree of a kind of body: 22 joints of the trunk, then hands, or face and hands."""
    parents = list(HUMANML3D.parents)
    if kind == "smpl":
        return [*parents, 20, 21]
    parents += [15, 15, 15] if kind == "smplx" else []
    for wrist in (20, 21):
        for _ in range(5):
            parents += [wrist, len(parents), len(parents) + 1]
    return parents


def made_body(kind: str, seed: int = 0, around: int = 4, betas: int = 16) -> dict[str, np.ndarray]:
    """Arrays of a model, `around` vertices about each joint."""
    rng, parents = np.random.default_rng([seed, _JOINTS[kind]]), parents_of(kind)
    count = len(parents)
    rest = np.zeros((count, 3))
    for joint, parent in enumerate(parents):
        if parent >= 0:
            bone = HUMANML3D.rest_offsets[joint] if joint < 22 else rng.uniform(-0.03, 0.03, 3)
            rest[joint] = rest[parent] + bone + rng.uniform(-0.01, 0.01, 3)
    vertices = np.repeat(rest, around, axis=0) + rng.uniform(-0.05, 0.05, (count * around, 3))
    weights = np.kron(np.eye(count), rng.uniform(0.5, 1.5, (1, around)))
    weights += rng.uniform(0, 0.001, weights.shape)
    tree = np.array([parents, range(count)])
    return {
        "J_regressor": weights / weights.sum(axis=1, keepdims=True),
        "v_template": vertices,
        "shapedirs": rng.normal(0, 0.01, (len(vertices), 3, betas)),
        "kintree_table": np.where(tree < 0, 2**32 - 1, tree).astype(np.uint32),
    }


def write_bodies(
    folder: Path, kinds: tuple[str, ...] = ("smplh",), genders: tuple[str, ...] = ("male", "female")
) -> Path:
    for kind in kinds:
        for seed, gender in enumerate(genders):
            (folder / kind / gender).mkdir(parents=True, exist_ok=True)
            np.savez(folder / kind / gender / "model.npz", **made_body(kind, seed))
    return folder


def made_motion(frames: int = 300, fps: float = 120.0, seed: int = 0, width: int = 156) -> dict[str, np.ndarray]:
    """Fields of a recording: someone who sways and walks, Z up."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames)[:, None] / fps
    poses = 0.2 * np.sin(2 * np.pi * t * rng.uniform(0.3, 1, width) + rng.uniform(0, 6, width))
    poses[:, :3] = [np.pi / 2, 0, 0]  # upright: the body's Y is the world's Z
    return {
        "poses": poses,
        "trans": np.concatenate([0.3 * t, -0.5 * t, 0.9 + 0 * t], axis=1),
        "betas": rng.normal(0, 0.5, 16),
        "gender": np.array("female"),
        "mocap_framerate": np.array(fps),
    }


def write_motion(path: Path, motion: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **motion)


def write_repository(root: Path, rows: list[tuple[str, int, int, str]], packed: bool = True) -> Path:
    """A clone: the index of some rows, captions of all their clips, and lists that train on them all."""
    inside = root / "HumanML3D"
    inside.mkdir(parents=True)
    lines = [f"./pose_data/{source},{start},{end},{name}.npy" for source, start, end, name in rows]
    (root / "index.csv").write_text("\n".join(["source_path,start_frame,end_frame,new_name", *lines]) + "\n")
    names = [f"{side}{row[-1]}" for row in rows for side in ("", "M")]
    for listed in ("train.txt", "all.txt"):
        (inside / listed).write_text("\n".join(names) + "\n")
    texts = {f"texts/{name}.txt": f"a person walks to the left as {name}#a/DET person/NOUN#0.0#0.0\n" for name in names}
    with zipfile.ZipFile(inside / "texts.zip", "w") as archive:
        for path, text in texts.items():
            archive.writestr(path, text)
        if not packed:
            archive.extractall(inside)
    if not packed:
        (inside / "texts.zip").unlink()
    return root
