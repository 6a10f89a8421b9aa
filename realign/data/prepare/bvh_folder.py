"""A folder of BVH recordings with a captions file."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realign.data.prepare.captions import Caption
from realign.data.prepare.captions_file import CaptionRow, read_captions_file
from realign.data.prepare.source import Item, LeftOut, Source, Splitter
from realign.data.store import SPLITS
from realign.errors import InputError
from realign.files import data_files
from realign.motion.bvh.retarget import import_bvh
from realign.motion.bvh.rigs import RigMap, load_rig
from realign.motion.skeleton import HUMANML3D, get_skeleton


def bvh_files(folder: Path) -> list[Path]:
    """All BVH files of a folder and its subfolders."""
    return data_files(folder, ".bvh", recursive=True)


@dataclass
class BvhFolder(Source):
    """BVH files, retargeted to the reference skeleton and resampled; captions with times cut parts out of them."""

    captions_file: Path | None = None
    splits_option: str | None = None
    rig_file: Path | None = None
    rig: RigMap | None = None
    fps: float | None = None
    up: str | None = None
    _last: tuple[Path, NDArray[np.float32]] | None = None

    @classmethod
    def open(
        cls,
        root: Path,
        captions: Path | None,
        skeleton: str | None = None,
        rig: Path | None = None,
        splits: str | None = None,
        fps: float | None = None,
        up: str | None = None,
    ) -> "BvhFolder":
        """Open a folder.

        Args:
            root: The folder; subfolders are searched too.
            captions: CSV or JSONL with id or file, caption and optionally start, end, split.
            skeleton: Name of the target skeleton; HumanML3D when None.
            rig: YAML map of joint names for rigs that are not recognised.
            splits: Folder with split lists, or percentages such as "80/5/15".
            fps: True frames per second of the recordings, if their headers are wrong.
            up: The axis that points up in them; detected when None.
        """
        if captions is None:
            raise InputError(f"{root} holds BVH files without captions; give --captions FILE with file and caption.")
        if rig is not None and not rig.is_file():
            raise InputError(f"The rig map {rig} does not exist; check the path given with --rig.")
        found = HUMANML3D if skeleton is None else get_skeleton(skeleton)
        if found.rest_offsets is None:
            raise InputError(
                f"--skeleton {found.name} is for folders in its own layout: BVH files are retargeted to the skeleton "
                f"{HUMANML3D.name}; drop the option."
            )
        return cls(
            root,
            found,
            captions_from=f"the file {captions.name}",
            captions_file=captions,
            splits_option=splits,
            rig_file=rig,
            rig=None if rig is None else load_rig(rig),
            fps=fps,
            up=up,
        )

    def files(self) -> Iterable[Path]:
        """Recordings, captions, rig map and lists."""
        yield from bvh_files(self.root)
        lists = Path(self.splits_option) if self.splits_option and Path(self.splits_option).is_dir() else self.root
        extra = [lists / f"{name}.txt" for name in SPLITS] + [self.captions_file, self.rig_file]
        yield from (path for path in extra if path is not None and path.is_file())

    def items(self) -> list[Item]:
        """One item for each file and each captioned time range in it."""
        splitter = Splitter(self.splits_option, self.root)
        if self.captions_file is None:
            raise InputError("A folder of BVH files needs a captions file.")
        names = _Names(self.root)
        for name, path in names.twice:
            self.problems.append((name, "same name twice", f"{path} has the name of another file"))
        groups: dict[tuple[str, float, float], list[CaptionRow]] = {}
        unknown: dict[str, list[str]] = {}
        for row in read_captions_file(self.captions_file):
            found = names.match(row.key)
            if len(found) == 1:
                groups.setdefault((found[0], row.caption.start, row.caption.end), []).append(row)
            else:
                unknown[row.key] = found
        captioned = {key for key, _, _ in groups}
        self.problems += [(name, "no caption", "") for name in names.paths if name not in captioned]
        for name, found in sorted(unknown.items()):
            several = f"{' and '.join(found)}: give the path"
            self.problems.append(
                (name, "name of several files", several) if found else (name, "no motion file", "captioned only")
            )
        items = []
        for (key, start, end), rows in groups.items():
            name = key if start == end == 0 else f"{key}_{start:g}-{end:g}"
            split = next((1 << SPLITS.index(row.split) for row in rows if row.split), 0) or splitter(name, key)
            if not split:
                self.problems.append((name, "in no split", "none of train.txt, val.txt and test.txt lists it"))
                continue
            captions = tuple(Caption(row.caption.text) for row in rows)
            items.append(Item(name, names.paths[key], captions, split, start=start, end=end))
        return sorted(items, key=lambda item: (str(item.path), item.start))  # parts of one file are adjacent

    def __getstate__(self) -> dict[str, Any]:
        """State that worker processes need."""
        return super().__getstate__() | {"_last": None}

    def load(self, item: Item) -> NDArray[np.float32]:
        """Joints (T, J, 3) at the skeleton's rate, cut to the item's time range."""
        joints = self._import(item.path)
        if not item.end:
            return joints
        fps = self.skeleton.fps
        if item.start * fps >= len(joints):
            raise LeftOut("too short", f"begins at {item.start:g} s, the recording ends at {len(joints) / fps:g} s")
        return joints[round(item.start * fps) : round(item.end * fps) + 1]  # features have one frame less

    def _import(self, path: Path) -> NDArray[np.float32]:
        if self._last is None or self._last[0] != path:
            self._last = None
            try:
                joints = import_bvh(path, self.rig, self.skeleton, recorded_fps=self.fps, up=self.up)
            except (InputError, OSError) as error:
                raise LeftOut("unreadable", str(error)) from None
            self._last = (path, np.asarray(joints, dtype=np.float32))
        return self._last[1]


class _Names:
    """Recordings of a folder by id: the file's name, or its path if several files have that name.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self._alike: dict[str, list[str]] = {}
        self.twice: list[tuple[str, Path]] = []
        found: dict[str, Path] = {}
        for path in bvh_files(root):
            where = path.relative_to(root).with_suffix("").as_posix()
            if where in found:  # suffixes that differ only in case
                self.twice.append((where, path.relative_to(root)))
            found.setdefault(where, path)
        for where, path in found.items():
            self._alike.setdefault(path.stem, []).append(where)
        self.paths = {self._id(where): path for where, path in found.items()}

    def _id(self, where: str) -> str:
        stem = where.rsplit("/", 1)[-1]
        return where if len(self._alike[stem]) > 1 else stem

    def match(self, key: str) -> list[str]:
        """Ids of the files that a key of a captions file may mean; its path may begin above or below the folder."""
        alike = self._alike.get(key.rsplit("/", 1)[-1], [])
        above = [where for where in alike if f"/{key}".endswith(f"/{where}")]  # the longest of them is exact
        below = [where for where in alike if f"/{where}".endswith(f"/{key}")]
        return [self._id(where) for where in sorted(above, key=len)[-1:] or below]
