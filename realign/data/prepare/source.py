"""Sources that `prepare` reads: a list of items with captions and splits, and a method that loads the motion of one."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realign.data.prepare.archives import Member
from realign.data.prepare.captions import Caption
from realign.data.store import SPLITS
from realign.errors import InputError
from realign.files import read_lines
from realign.motion.skeleton import Skeleton

FRACTIONS = (80, 5, 15)  # percentages of train, val and test if a folder has no split lists


class LeftOut(Exception):
    """A clip that cannot be used: a reason, by which the report counts clips, and a detail."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)  # there may be a million
class Item:
    """One motion to prepare.

    Attributes:
        id: Its name.
        path: Its file.
        captions: Its captions; may be empty if `label` is given.
        splits: Bits of `store.SPLITS`.
        kind: One of `store.KINDS`.
        label: Content and style, from which captions are written.
        action: Content and style as one text, see `action_of`; motions of the same action show the same.
        start: First second of the file to keep.
        end: Last second to keep; 0 for the whole file.
        number: Which of several motions of the file it is.
        member: Its place in the file, if that is an archive.
    """

    id: str
    path: Path
    captions: tuple[Caption, ...] = ()
    splits: int = 0
    kind: str = "recorded"
    label: tuple[str, str] | None = None
    action: str = ""
    start: float = 0.0
    end: float = 0.0
    number: int = 0
    member: Member | None = None


def action_of(content: str, style: str) -> str:
    """Content and style of a motion as one text; empty without a content."""
    return f"{content}, {style}" if content and style else content


@dataclass
class Source(ABC):
    """A folder of motions.

    Attributes:
        root: The folder.
        skeleton: Its joints.
        gives_features: Whether `load` gives features (F, C) instead of joints (T, J, 3).
        captions_from: Origin of the captions, for the report.
        statistics_as_published: Mean and Std are computed as HumanML3D's program does, see `published_statistics`.
        names_actions: Items may have an action.
        problems: (id, reason, detail) of motions left out before loading.
    """

    root: Path
    skeleton: Skeleton
    gives_features: bool = False
    captions_from: str = ""
    statistics_as_published: bool = False
    names_actions: bool = False
    problems: list[tuple[str, str, str]] = field(default_factory=list)

    @abstractmethod
    def items(self) -> list[Item]:
        """All motions that can be loaded; the others go to `problems`."""

    @abstractmethod
    def load(self, item: Item) -> NDArray[np.float32]:
        """Read one motion; raises LeftOut when it cannot be used."""

    def captions(self, item: Item) -> Sequence[Caption]:
        """The captions of one motion; raises LeftOut when they cannot be read."""
        return item.captions

    def close(self) -> None:  # noqa: B027 (most have nothing to close)
        """Close what `load` left open."""

    @abstractmethod
    def files(self) -> Iterable[Path]:
        """Every file that the result depends on."""

    def __getstate__(self) -> dict[str, Any]:
        """State that worker processes need; problems stay in this process."""
        return self.__dict__ | {"problems": []}

    def statistics(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Mean and standard deviation that the source provides, if any."""
        return None

    def finish(self, features: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[str]]:
        """Apply the last change to computed features; return them with remarks for the report."""
        return features, []

    def about(self) -> dict[str, Any]:
        """Further entries of meta.json."""
        return {}

    def about_statistics(self, mean: NDArray[np.float32], std: NDArray[np.float32]) -> str:
        """Text that meta.json adds about computed statistics."""
        return ""


def parse_fractions(text: str) -> tuple[float, ...]:
    """Read "80/5/15" (train/val/test) as proportions.

    Raises:
        InputError: It is not three numbers of 0 or more with a positive sum.
    """
    try:
        fractions = tuple(float(piece) for piece in text.replace(",", "/").split("/"))
    except ValueError:
        fractions = ()
    if len(fractions) != 3 or min(fractions) < 0 or sum(fractions) <= 0:
        raise InputError(
            f"--splits {text!r} is neither a folder with train.txt, val.txt, test.txt nor percentages such as 80/5/15."
        )
    return fractions


def hash_split(key: str, fractions: Iterable[float] = FRACTIONS) -> int:
    """Split bits drawn from a name: a name falls into the same split in every folder."""
    train, val, test = fractions
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    draw = int.from_bytes(digest, "little") / 2**64 * (train + val + test)
    return 1 if draw < train else 2 if draw < train + val else 4


def read_split_lists(folder: Path) -> dict[str, int]:
    """Ids with their split bits, from train.txt, val.txt and test.txt; empty if none of them exists."""
    splits: dict[str, int] = {}
    for k, name in enumerate(SPLITS):
        path = folder / f"{name}.txt"
        if path.is_file():
            for line in read_lines(path):
                splits[line] = splits.get(line, 0) | 1 << k
    return splits


def split_option(option: str | None) -> str | None:
    """The part of `--splits` that a set depends on: of a folder, the files count, not its path."""
    return "lists" if option is not None and os.path.isdir(option) else option


class Splitter:
    """Assigns splits to ids: by the lists of a folder, otherwise by proportions.

    Args:
        option: `--splits`: a folder with lists, percentages such as "80/5/15", or None.
        fallback: Folder whose lists are used without the option.
    """

    def __init__(self, option: str | None, fallback: Path) -> None:
        self.fractions: tuple[float, ...] = FRACTIONS
        self.lists: dict[str, int] = {}
        if option is None:
            self.lists = read_split_lists(fallback)
        elif os.path.isdir(option):
            self.lists = read_split_lists(Path(option))
            if not self.lists:
                raise InputError(f"--splits {option}: the folder holds no train.txt, val.txt or test.txt with ids.")
        else:
            self.fractions = parse_fractions(option)

    def __call__(self, clip_id: str, key: str | None = None) -> int:
        """Split bits of a clip; 0 if there are lists and none has it.

        Args:
            clip_id: The id to look up in the lists.
            key: The name to draw a random split from: parts of one recording and mirrored clips share it.
        """
        if self.lists:
            return self.lists.get(clip_id, self.lists.get(key or clip_id, 0))
        return hash_split(key or clip_id, self.fractions)
