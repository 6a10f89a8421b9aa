"""Contents of the HumanML3D repository other than motions: index, captions, split lists and HumanAct12's clips."""

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realign.data.prepare.captions import Caption, parse_text, swap_sides
from realign.data.prepare.humanml3d_cuts import Cut
from realign.data.prepare.table import read_csv
from realign.data.store import SPLITS
from realign.errors import InputError
from realign.files import data_files, decode_text, load_npy

_COLUMNS = ("source_path", "start_frame", "end_frame", "new_name")
_INSIDE = "HumanML3D"  # the data set's folder in the repository
_REMEDY = "clone https://github.com/EricGuo5513/HumanML3D and give its folder with --humanml3d"


class Members:
    """Files of a folder with its subfolders, or of a zip archive, by name without suffix.

    Args:
        path: The folder or archive.
        suffix: Suffix of the files, such as ".txt".

    Raises:
        InputError: The archive is damaged.
    """

    def __init__(self, path: Path, suffix: str) -> None:
        self.path, self._zip = path, None if path.is_dir() else self._opened(path)
        names = self._zip.namelist() if self._zip else [str(file) for file in data_files(path, suffix, recursive=True)]
        found = (PurePosixPath(name) for name in names if name.lower().endswith(suffix))
        self.names = {each.stem: str(each) for each in found if not each.name.startswith(".")}

    @staticmethod
    def _opened(path: Path) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise InputError(f"{path} is cut off or not a zip archive ({error}); copy or download it again.") from None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_zip": None}  # every process opens its own

    def files(self) -> list[Path]:
        """The archive, or the files themselves."""
        return [Path(name) for name in self.names.values()] if self.path.is_dir() else [self.path]

    def read(self, name: str) -> bytes:
        """The bytes of one file.

        Args:
            name: One of `names`.

        Raises:
            InputError: The file is damaged in the archive.
            OSError: The file cannot be read.
        """
        if self.path.is_dir():
            return Path(self.names[name]).read_bytes()
        self._zip = self._zip or self._opened(self.path)
        try:
            return self._zip.read(self.names[name])
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
            raise InputError(f"{self.names[name]} in {self.path} is damaged ({error}); copy it again.") from None


@dataclass
class Repository:
    """A clone of the repository; archives may be unpacked or not.

    Attributes:
        root: Its folder.
        index: Table with the recording and the frames of each clip.
        lists: Folder with train.txt, val.txt, test.txt.
        texts: Captions of each clip.
        humanact12: Clips of HumanAct12, by name.
    """

    root: Path
    index: Path
    lists: Path
    texts: Members
    humanact12: Members | None

    @classmethod
    def open(cls, root: str | Path) -> "Repository":
        """Find everything in its usual places.

        Args:
            root: The clone, or its folder HumanML3D if that holds the index.

        Raises:
            InputError: The index or the captions are missing.
        """
        root = Path(root)
        if not root.is_dir():
            raise InputError(f"The folder {root} does not exist; {_REMEDY}.")
        places = [root, root / _INSIDE]
        index = _first(place / name for place in places for name in ("index.csv", "index.csv.gz"))
        if index is None:
            raise InputError(f"{root} holds no index.csv; {_REMEDY}.")
        lists = next((place for place in places if any((place / f"{name}.txt").is_file() for name in SPLITS)), root)
        texts = _members([place / "texts" for place in reversed(places)], ".txt")
        if texts is None:
            raise InputError(f"{root} holds neither HumanML3D/texts nor HumanML3D/texts.zip with captions; {_REMEDY}.")
        humanact12 = _members([root / "pose_data" / "humanact12", root / "humanact12"], ".npy")
        return cls(root, index, lists, texts, humanact12)

    def cuts(self) -> tuple[dict[str, Cut], list[tuple[str, str, str]]]:
        """The clips of the index by name, and (name, reason, detail) of rows that cannot be used.

        Raises:
            InputError: The index has other columns.
        """
        cuts: dict[str, Cut] = {}
        problems = []
        wanted = f"it needs {', '.join(_COLUMNS)}, as the index.csv of HumanML3D"
        for where, row in read_csv(self.index, _COLUMNS, wanted):
            if missing := [name for name in _COLUMNS if name not in row]:
                raise InputError(f"{where} has no {missing[0]}; {wanted}.")
            name = PurePosixPath(row["new_name"]).stem
            source = row["source_path"].removeprefix("./").removeprefix("pose_data/")
            try:
                cut = Cut(source, int(row["start_frame"]), int(row["end_frame"]))
            except ValueError:
                problems.append((name, "unreadable index row", f"{where}: its frames are not whole numbers"))
                continue
            if ".." in source.split("/") or source.startswith("/") or not name:
                detail = f"{where}: {source} is not a path in AMASS"
                problems.append((name or row["new_name"], "unreadable index row", detail))
            elif name in cuts:
                problems.append((name, "same name twice", where))
            else:
                cuts[name] = cut
        if not cuts:
            raise InputError(f"{self.index} holds no clip; {_REMEDY}.")
        return cuts, problems

    def captions(self, name: str, mirrored: bool) -> list[Caption]:
        """Captions of a clip; a mirrored clip without its own has those of the original with sides exchanged.

        Args:
            name: Name of the clip, without the M of a mirrored clip.
            mirrored: Whether it is mirrored.

        Raises:
            InputError: They cannot be read.
        """
        own = f"M{name}" if mirrored else name
        swap = own not in self.texts.names
        if swap and not (mirrored and name in self.texts.names):
            return []
        file = f"{name if swap else own}.txt"
        found = parse_text(decode_text(self.texts.read(file.removesuffix(".txt")), file), file)
        if not swap:
            return found
        return [Caption(swap_sides(c.text), c.start, c.end, swap_sides(c.tokens)) for c in found]

    def statistics(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """The Mean and Std that the repository publishes, if they are there."""
        paths = [self.lists / "Mean.npy", self.lists / "Std.npy"]
        try:
            mean, std = (load_npy(path) for path in paths)
        except (OSError, ValueError):
            return None
        return mean, std

    def files(self) -> Iterable[Path]:
        """Every file that is read."""
        yield self.index
        yield from self.texts.files()
        yield from self.humanact12.files() if self.humanact12 else ()
        yield from (path for name in SPLITS if (path := self.lists / f"{name}.txt").is_file())


def _first(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _members(places: list[Path], suffix: str) -> Members | None:
    """The first folder or archive that holds files with a suffix."""
    for place in places:
        for path in (place, place.with_name(f"{place.name}.zip")):
            if path.exists() and (found := Members(path, suffix)).names:
                return found
    return None
