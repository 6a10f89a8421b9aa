import os
from pathlib import Path

import numpy as np

from realign.data.prepare.humanml3d import LayoutFolder
from realign.data.prepare.source import Item
from realign.errors import InputError
from realign.motion.skeleton import HUMANML3D, Skeleton


def make_joints(frames: int, seed: int = 0, skeleton: Skeleton = HUMANML3D) -> np.ndarray:
    """A rest pose that sways, walks on and turns."""
    rng = np.random.default_rng(seed)
    pose = np.zeros((skeleton.num_joints, 3))
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            pose[joint] = pose[parent] + 0.3 * np.asarray(skeleton.raw_offsets[joint])
    t = np.arange(frames)[:, None, None] / skeleton.fps
    rate, phase = rng.uniform(0.5, 1.5, (1, len(pose), 3)), rng.uniform(0, 6, (1, len(pose), 3))
    sway = 0.05 * np.sin(2 * np.pi * t * rate + phase)
    x = pose + sway
    yaw = np.linspace(0, rng.uniform(-1, 1), frames)
    turn = np.zeros((frames, 3, 3))
    turn[:, 0, 0] = turn[:, 2, 2] = np.cos(yaw)
    turn[:, 0, 2], turn[:, 2, 0], turn[:, 1, 1] = np.sin(yaw), -np.sin(yaw), 1
    x = np.einsum("fij,fkj->fki", turn, x)
    x[..., 2] += np.linspace(0, frames / skeleton.fps, frames)[:, None]
    x[..., 1] -= x[..., 1].min()
    return x.astype(np.float32)


def write_layout(root: Path, lengths: dict[str, int], skeleton: Skeleton = HUMANML3D, texts: bool = True) -> Path:
    (root / "new_joints").mkdir(parents=True)
    if texts:
        (root / "texts").mkdir()
    for k, (name, frames) in enumerate(lengths.items()):
        np.save(root / "new_joints" / f"{name}.npy", make_joints(frames, k, skeleton))
        if texts:
            lines = [f"a person {verb} with the left hand number {k}#a/DET#0.0#0.0" for verb in ("waves", "points")]
            (root / "texts" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    names = list(lengths)
    cut = max(1, len(names) - 8)
    lists = {"train": names[:cut], "val": names[cut : cut + 3], "test": names[cut + 3 :]}
    for split, ids in lists.items():
        (root / f"{split}.txt").write_text("\n".join(ids) + "\n")
    return root


class DyingFolder(LayoutFolder):
    """A source in whose worker the memory ends."""

    def load(self, item: Item) -> np.ndarray:
        os._exit(9)


class RefusingFolder(LayoutFolder):
    """A source that refuses as a whole, while loading."""

    def load(self, item: Item) -> np.ndarray:
        raise InputError(f"{item.id} is not to be had")
