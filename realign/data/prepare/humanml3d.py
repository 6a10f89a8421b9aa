"""The folder layout of HumanML3D and KIT-ML: new_joints, new_joint_vecs, texts, split lists, Mean and Std."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realign.data.prepare.bandai import knows
from realign.data.prepare.caption_sources import caption_files
from realign.data.prepare.captions import Caption, read_text_file
from realign.data.prepare.captions_file import read_captions_file
from realign.data.prepare.source import Item, LeftOut, Source, Splitter, action_of
from realign.data.prepare.table import read_csv
from realign.data.store import SPLITS
from realign.errors import InputError
from realign.files import data_files, load_npy
from realign.motion.arrays import check_features, split_clips, to_joints
from realign.motion.skeleton import HUMANML3D, Skeleton, get_skeleton

_CAPTIONS_FILE = "humanml3d_captions.json.gz"
_Labels = tuple[str, tuple[str, str] | None, str]  # kind, label and action of an item
_UNLABELLED: _Labels = ("recorded", None, "")


def is_layout(folder: Path) -> bool:
    """Whether a folder has this layout."""
    return (folder / "new_joints").is_dir() or (folder / "new_joint_vecs").is_dir()


def _array(path: Path) -> NDArray[np.float32]:
    try:
        array = load_npy(path)
    except FileNotFoundError:
        raise LeftOut("no motion file", f"{path.name} does not exist") from None
    except (ValueError, OSError) as error:
        raise LeftOut("unreadable", f"{path.name}: {error}") from None
    if array.dtype.kind not in "fiu":
        raise LeftOut("unreadable", f"{path.name} does not hold an array of numbers")
    return array.astype(np.float32, copy=False)


def _detect(folder: Path, features: bool) -> Skeleton:
    """The skeleton that the first readable file's width shows."""
    for path in data_files(folder, ".npy")[:20]:
        try:
            found = split_clips(_array(path), path.name)
        except (LeftOut, InputError):
            continue
        if found.features == features and len(found.arrays) == 1:
            return found.skeleton
    what = "features (frames, 263 or 251)" if features else "joints (frames, 22 or 21, 3)"
    raise InputError(f"{folder} holds no .npy file of {what}; give a folder of HumanML3D or KIT-ML layout.")


@dataclass
class LayoutFolder(Source):
    """A folder of this layout; if it has features, they are used unchanged, with the Mean and Std of the folder."""

    captions_file: Path | None = None
    splits_option: str | None = None
    up: str | None = None
    units: str | None = None
    _paths: list[Path] = field(default_factory=list)
    _texts: Path | None = None
    _labels: dict[str, _Labels] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        root: Path,
        captions: Path | None = None,
        skeleton: str | None = None,
        splits: str | None = None,
        up: str | None = None,
        units: str | None = None,
    ) -> "LayoutFolder":
        """Open a folder.

        Args:
            root: The folder.
            captions: A captions file to use instead of `texts`.
            skeleton: Name of the skeleton; detected from the files when None.
            splits: Folder with split lists, or percentages such as "80/5/15".
            up: The axis that points up in new_joints; Y when None.
            units: The unit of new_joints, one of `arrays.UNITS`; found by the length of the legs when None.
        """
        features = (root / "new_joint_vecs").is_dir()
        folder = root / ("new_joint_vecs" if features else "new_joints")
        found = _detect(folder, features)
        if skeleton is not None and get_skeleton(skeleton) != found:
            raise InputError(f"--skeleton {skeleton}, but the files in {folder} have {found.name}; drop the option.")
        for name, value in (("up", up), ("units", units)):
            if value is not None and features:
                raise InputError(f"--{name} {value} is for joints, but {folder} holds features; drop the option.")
        source = cls(root, found, features, captions_file=captions, splits_option=splits, up=up, units=units)
        source._paths = data_files(folder, ".npy")
        source._labels = source._read_labels()
        source.names_actions = any(action for _, _, action in source._labels.values())
        return source

    def files(self) -> Iterable[Path]:
        """Motions, captions, lists and statistics."""
        yield from self._paths
        if self.captions_file:
            yield from caption_files(self.captions_file)
        elif (self.root / "texts").is_dir():
            yield from data_files(self.root / "texts", ".txt")
        lists = Path(self.splits_option) if self.splits_option and Path(self.splits_option).is_dir() else self.root
        names = [lists / f"{name}.txt" for name in SPLITS]
        names += [self.root / name for name in ("index.csv", "Mean.npy", "Std.npy", _CAPTIONS_FILE)]
        yield from (path for path in [*names, self.root.parent / _CAPTIONS_FILE] if path.is_file())

    def statistics(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Mean.npy and Std.npy of the folder, which papers use with its new_joint_vecs."""
        paths = [self.root / "Mean.npy", self.root / "Std.npy"]
        if not self.gives_features or not all(path.is_file() for path in paths):
            return None
        try:
            mean, std = (_array(path) for path in paths)
        except LeftOut as error:
            raise InputError(f"{self.root}: {error}; restore the file or remove Mean.npy and Std.npy.") from None
        shape = (self.skeleton.num_features,)
        if mean.shape != shape or std.shape != shape or not np.isfinite(mean).all() or not (std > 0).all():
            raise InputError(
                f"{self.root}: Mean.npy {mean.shape} and Std.npy {std.shape} must hold {shape[0]} finite values each, "
                "Std above 0; restore or remove them."
            )
        return mean, std

    def items(self) -> list[Item]:
        """Every motion file with its captions and split."""
        splitter = Splitter(self.splits_option, self.root)
        by_id, labels, file_splits = self._captions()
        ids = {path.stem for path in self._paths}
        for missing in sorted(set(splitter.lists) - ids):
            self.problems.append((missing, "no motion file", "listed in a split, but there is no such file"))
        if self.captions_file is not None:
            for missing in sorted(set(by_id) - ids - set(splitter.lists)):
                self.problems.append((missing, "no motion file", "captioned, but there is no such file"))
        items = []
        for path in self._paths:
            name = path.stem
            double = name[1:] if name.startswith("M") and name[1:] in ids else None
            splits = file_splits.get(name) or splitter(name, double)
            if not splits:
                self.problems.append((name, "in no split", "none of train.txt, val.txt and test.txt lists it"))
                continue
            kind, label, action = labels.get(name, _UNLABELLED)
            items.append(Item(name, path, tuple(by_id.get(name, ())), splits, kind, label, action))
        return items

    def __getstate__(self) -> dict[str, Any]:
        """State that worker processes need."""
        return super().__getstate__() | {"_paths": [], "_labels": {}}

    def captions(self, item: Item) -> Sequence[Caption]:
        """The captions of one motion, from its file in texts if the folder has texts."""
        if self._texts is None:
            return item.captions
        try:
            return read_text_file(self._texts / f"{item.id}.txt")
        except FileNotFoundError:
            return ()
        except (InputError, OSError) as error:
            raise LeftOut("unreadable captions", str(error)) from None

    def load(self, item: Item) -> NDArray[np.float32]:
        """Joints (T, J, 3) or features (F, C)."""
        name = item.path.name
        try:
            found = split_clips(_array(item.path), name)
            one = len(found.arrays) == 1 and found.features == self.gives_features
            if not one or found.skeleton != self.skeleton:
                wanted = (self.skeleton.num_features,) if self.gives_features else (self.skeleton.num_joints, 3)
                raise LeftOut("unreadable", f"{name} does not hold one clip of (frames, {wanted})")
            array = found.arrays[0]
            if not len(array) or not np.isfinite(array).all():
                return array  # `features` reports it
            if not self.gives_features:
                return to_joints(found, name, self.up, self.units)[0]
            check_features(array, self.skeleton, name)
            return array
        except InputError as error:
            raise LeftOut("unreadable", str(error)) from None

    def _captions(
        self,
    ) -> tuple[dict[str, list[Caption]], dict[str, _Labels], dict[str, int]]:
        """Captions by id, kind, label and action by id, splits by id."""
        labels = self._labels
        kinds: dict[str, _Labels] = {name: (kind, None, action) for name, (kind, _, action) in labels.items()}
        if self.captions_file is not None:
            self.captions_from = f"the file {self.captions_file.name}"
            by_id: dict[str, list[Caption]] = {}
            splits = {}
            for row in read_captions_file(self.captions_file):
                by_id.setdefault(row.stem, []).append(row.caption)
                if row.split:
                    splits[row.stem] = 1 << SPLITS.index(row.split)
            return by_id, kinds, splits
        if (self.root / "texts").is_dir():
            self.captions_from = "texts"
            self._texts = self.root / "texts"  # read with each motion: those of a million clips would fill memory
            return {}, kinds, {}
        if labels:
            self.captions_from = "written from index.csv and measurements of the joints (the folder has no texts)"
            return self._written(), labels, {}
        raise InputError(
            f"{self.root} has no captions: give --captions FILE (CSV or JSONL with id, caption), "
            "or a folder texts with one <id>.txt for each clip."
        )

    def _read_labels(self) -> dict[str, _Labels]:
        """Kind, (content, style) if captions are written from them, and action of each id in index.csv."""
        path = self.root / "index.csv"
        if not path.is_file():
            return {}
        table = read_csv(path, ("id", "source", "content", "style"))
        rows = [row for _, row in table if row.get("id") and "content" in row]
        labels: dict[str, _Labels] = {}
        for row in rows:
            action = action_of(row["content"], row.get("style") or "")
            kind = "composed" if row.get("source") == "composed" else "recorded"
            described = bool(row["content"]) and self.skeleton is HUMANML3D and knows(row["content"])
            labels[row["id"]] = (kind, (row["content"], row.get("style") or "") if described else None, action)
        return labels

    def _written(self) -> dict[str, list[Caption]]:
        """Captions of HumanML3D by id, from a captions file in the folder or beside it."""
        for path in (self.root / _CAPTIONS_FILE, self.root.parent / _CAPTIONS_FILE):
            if path.is_file():
                captions: dict[str, list[Caption]] = {}
                for row in read_captions_file(path):
                    captions.setdefault(row.key, []).append(row.caption)
                return captions
        return {}
