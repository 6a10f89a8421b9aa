"""A folder of files of motions with captions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realign.data.prepare.archives import Archives, Member, archive_paths, read_contents
from realign.data.prepare.caption_sources import caption_files
from realign.data.prepare.captions import Caption, read_text_file
from realign.data.prepare.captions_file import CaptionRow, read_captions_file
from realign.data.prepare.source import Item, LeftOut, Source, Splitter
from realign.data.store import SPLITS
from realign.errors import InputError
from realign.file_names import READ_MOTIONS
from realign.files import StoredFile, data_files
from realign.motion.bvh.retarget import resample
from realign.motion.motion_files import MotionFiles, ReadMotion, contents
from realign.motion.skeleton import HUMANML3D, KIT, get_skeleton

_TEXTS = "texts"


def motion_paths(folder: Path) -> list[Path]:
    """All files of motions in a folder and its subfolders."""
    return sorted(path for suffix in READ_MOTIONS for path in data_files(folder, suffix, recursive=True))


@dataclass
class MotionFolder(Source):
    """Files of motions of any kind, as `MotionClip.load_all` reads them, resampled to the skeleton's rate.

    Motions in Parquet files and tar archives are read as files, with the captions beside them.

    Captions with times cut parts out of them.
    """

    reader: MotionFiles = field(default_factory=MotionFiles)
    captions_file: Path | None = None
    splits_option: str | None = None
    _names: "_Names | None" = None
    _last: tuple[Path | Member, list[ReadMotion]] | None = None
    _archives: Archives = field(default_factory=Archives)

    @classmethod
    def open(
        cls,
        root: Path,
        reader: MotionFiles,
        captions: Path | None = None,
        skeleton: str | None = None,
        splits: str | None = None,
    ) -> "MotionFolder":
        """Open a folder.

        Args:
            root: The folder; subfolders are searched too.
            reader: How its files are read.
            captions: CSV or JSONL with id or file, caption and optionally start, end, split; when None, texts/ID.txt
                or the texts in the files and archives.
            skeleton: Name of the skeleton; when None, KIT-ML if all files of known content have it, else HumanML3D.
            splits: Folder with split lists, or percentages such as "80/5/15".
        """
        names = _Names(root)
        if not names.paths:
            detail = "".join(f": {detail}" for *_, detail in names.problems[:1])
            raise InputError(f"The Parquet files and tar archives in {root} hold no motions{detail or '.'}")
        source = f"the file {captions.name}" if captions else ""
        if captions is None:
            source = f"{_TEXTS}/" if (root / _TEXTS).is_dir() else "texts in the files of motions"
            if not (root / _TEXTS).is_dir() and not any(names.texts.values()) and not names.captions:
                raise InputError(f"{root} holds motions without captions; give --captions FILE with file and caption.")
        found = KIT if names.skeletons == {KIT.name} else HUMANML3D
        if skeleton is not None and skeleton != found.name and skeleton not in names.skeletons:
            raise InputError(
                f"--skeleton {skeleton} is for a folder with its own joints: {root} holds others, and BVH files are "
                f"retargeted to the skeleton {HUMANML3D.name}; drop the option."
            )
        found = found if skeleton is None else get_skeleton(skeleton)
        return cls(
            root, found, captions_from=source, reader=reader, captions_file=captions, splits_option=splits, _names=names
        )

    @property
    def names(self) -> "_Names":
        """The motions by id."""
        if self._names is None:
            self._names = _Names(self.root)
        return self._names

    def files(self) -> Iterable[Path]:
        """Motions, captions, rig map, body models and lists."""
        yield from motion_paths(self.root)
        yield from archive_paths(self.root)
        yield from data_files(self.root, ".bin", recursive=True)  # buffers of .gltf files
        if self.captions_file is None and (self.root / _TEXTS).is_dir():
            yield from data_files(self.root / _TEXTS, ".txt", recursive=True)
        if self.reader.body_models is not None:
            yield from self.reader.body_models.paths.values()
        if self.captions_file is not None:
            yield from caption_files(self.captions_file)
        lists = Path(self.splits_option) if self.splits_option and Path(self.splits_option).is_dir() else self.root
        extra = [lists / f"{name}.txt" for name in SPLITS] + [self.reader.rig_file]
        yield from (path for path in extra if path is not None and path.is_file())

    def items(self) -> list[Item]:
        """One item for each motion and each captioned time range in it."""
        splitter = Splitter(self.splits_option, self.root)
        names = self.names
        self.problems += names.problems
        groups = self._own_groups() if self.captions_file is None else self._given_groups(self.captions_file)
        captioned = {key for key, _, _ in groups}
        self.problems += [(name, "no caption", "") for name in names.paths if name not in captioned]
        items = []
        for (key, start, end), (split, captions) in groups.items():
            name = key if start == end == 0 else f"{key}_{start:g}-{end:g}"
            split = split or splitter(name, key)
            if not split:
                self.problems.append((name, "in no split", "none of train.txt, val.txt and test.txt lists it"))
                continue
            place, number = names.paths[key]
            path, member = (place.archive, place) if isinstance(place, Member) else (place, None)
            items.append(Item(name, path, captions, split, start=start, end=end, number=number, member=member))
        return sorted(items, key=_order)

    def _own_groups(self) -> dict["_Part", tuple[int, tuple[Caption, ...]]]:
        """Captions that stand beside the motions or in their files."""
        names = self.names
        groups: dict[_Part, tuple[int, tuple[Caption, ...]]] = {}
        if (self.root / _TEXTS).is_dir():
            groups |= {(key, 0.0, 0.0): (0, ()) for key in names.paths if self._text(key).is_file()}  # read when needed
        else:
            groups |= {(key, 0.0, 0.0): (0, (Caption(text),)) for key, text in names.texts.items() if text}
        return groups | _grouped((key, row) for key, rows in names.captions.items() for row in rows)

    def _text(self, key: str) -> Path:
        return self.root / _TEXTS / f"{key}.txt"

    def captions(self, item: Item) -> Sequence[Caption]:
        """The captions of one motion; raises LeftOut when they cannot be read."""
        if item.captions:
            return item.captions
        try:
            return read_text_file(self._text(item.id))
        except (InputError, OSError) as error:
            raise LeftOut("unreadable captions", str(error)) from None

    def _given_groups(self, captions_file: Path) -> dict["_Part", tuple[int, tuple[Caption, ...]]]:
        """Splits and captions of the captions file for each motion and time range."""
        known: list[tuple[str, CaptionRow]] = []
        unknown: dict[str, list[str]] = {}
        for row in read_captions_file(captions_file):
            found = self.names.match(row.key)
            if len(found) == 1:
                known.append((found[0], row))
            else:
                unknown[row.key] = found
        for name, found in sorted(unknown.items()):
            several = f"{' and '.join(found)}: give the path"
            self.problems.append(
                (name, "name of several files", several) if found else (name, "no motion file", "captioned only")
            )
        return _grouped(known)

    def __getstate__(self) -> dict[str, Any]:
        """State that worker processes need."""
        return super().__getstate__() | {"_last": None, "_names": None, "_archives": Archives()}

    def close(self) -> None:
        """Close the archive that is open."""
        self._archives.close()

    def load(self, item: Item) -> NDArray[np.float32]:
        """Joints (T, J, 3) at the skeleton's rate, cut to the item's time range."""
        joints = self._joints(item)
        if not item.end:
            return joints
        fps = self.skeleton.fps
        if item.start * fps >= len(joints):
            raise LeftOut("too short", f"begins at {item.start:g} s, the recording ends at {len(joints) / fps:g} s")
        return joints[round(item.start * fps) : round(item.end * fps) + 1]  # features have one frame less

    def _joints(self, item: Item) -> NDArray[np.float32]:
        place = item.member or item.path
        if self._last is None or self._last[0] != place:
            self._last = None
            try:
                file = item.path if item.member is None else self._archives.read(item.member)
                self._last = place, self.reader.read(file)
            except (InputError, OSError) as error:
                raise LeftOut("unreadable", str(error)) from None
        motion = self._last[1][item.number]
        if motion.skeleton != self.skeleton:
            name = item.id if item.member else item.path.name
            wanted = f"{name} has the joints of {motion.skeleton.name}, not of {self.skeleton.name}"
            raise LeftOut("another skeleton", wanted)
        return resample(motion.joints, motion.fps, self.skeleton.fps).astype(np.float32)


_Part = tuple[str, float, float]


def _order(item: Item) -> tuple[str, int, int, float]:
    """The order of reading: archives from front to end, and parts of one motion next to each other."""
    return str(item.path), -1 if item.member is None else item.member.place, item.number, item.start


def _grouped(rows: Iterable[tuple[str, CaptionRow]]) -> dict[_Part, tuple[int, tuple[Caption, ...]]]:
    """Splits and captions of each motion and time range, from the captions of each motion."""
    parts: dict[_Part, list[CaptionRow]] = {}
    for key, row in rows:
        parts.setdefault((key, row.caption.start, row.caption.end), []).append(row)
    return {
        part: (
            next((1 << SPLITS.index(row.split) for row in each if row.split), 0),
            tuple(Caption(row.caption.text) for row in each),
        )
        for part, each in parts.items()
    }


def _base(path: Path, root: Path) -> str:
    """The path of a file in a folder, without its suffix."""
    return path.relative_to(root).with_suffix("").as_posix()


class _Names:
    """Motions of a folder by id: the file's name, or its path if several files have that name.

    Of several motions in a file, each has its number at the end.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self._alike: dict[str, list[str]] = {}
        self._found: dict[str, tuple[Path | Member, int, str]] = {}
        self._rows: dict[str, list[CaptionRow]] = {}  # of archives
        self.problems: list[tuple[str, str, str]] = []
        self.skeletons: set[str] = set()
        for path in motion_paths(root):
            self._add(path, path, _base(path, root))
        for path in archive_paths(root):
            self._add_archive(path, _base(path, root))
        for where in self._found:
            self._alike.setdefault(where.rsplit("/", 1)[-1], []).append(where)
        self.paths = {self._id(where): (place, number) for where, (place, number, _) in self._found.items()}
        self.texts = {self._id(where): text for where, (_, _, text) in self._found.items()}
        self.captions = {self._id(where): rows for where, rows in self._rows.items()}

    def _add(self, place: Path | Member, file: Path | StoredFile, base: str) -> list[str]:
        """Take the motions of a file; return their paths in the folder."""
        skeleton, texts = contents(file)
        self.skeletons |= set() if skeleton is None else {skeleton.name}
        added = []
        for number, text in enumerate(texts):
            where = base if len(texts) == 1 else f"{base}_{number}"
            if where in self._found:  # of several suffixes, or suffixes that differ only in case
                self.problems.append((where, "same name twice", f"{file} has the name of another file"))
            else:
                added.append(where)
                self._found[where] = place, number, text
        return added

    def _add_archive(self, path: Path, base: str) -> None:
        """Take the motions of an archive with their captions."""
        inside, archives = read_contents(path), Archives()
        self.problems += inside.problems
        for key, member in inside.motions:
            try:
                added = self._add(member, archives.read(member), f"{base}/{key}")
            except InputError as error:
                self.problems.append((key, "unreadable", str(error)))
                continue
            for where in added:
                if rows := inside.captions.get(key):
                    self._rows[where] = rows
        archives.close()

    def _id(self, where: str) -> str:
        stem = where.rsplit("/", 1)[-1]
        return where if len(self._alike[stem]) > 1 else stem

    def match(self, key: str) -> list[str]:
        """Ids of the files that a key of a captions file may mean; its path may begin above or below the folder."""
        alike = self._alike.get(key.rsplit("/", 1)[-1], [])
        above = [where for where in alike if f"/{key}".endswith(f"/{where}")]  # the longest of them is exact
        below = [where for where in alike if f"/{where}".endswith(f"/{key}")]
        return [self._id(where) for where in sorted(above, key=len)[-1:] or below]
