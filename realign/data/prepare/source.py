"""What `prepare` reads from: a list of items with captions and splits, and how the motion of one is loaded."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realign.data.prepare.captions import Caption
from realign.data.store import SPLITS
from realign.errors import InputError
from realign.files import read_lines
from realign.motion.skeleton import Skeleton

FRACTIONS = (80, 5, 15)  # per cent of train, val and test if a folder has no split lists


class LeftOut(Exception):
    """A clip that cannot be used: a reason that groups, and a detail."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)  # there may be a million
class Item:
    """One motion to prepare.

    Attributes:
        id: Its name.
        path: Its file.
        captions: May be empty if `label` lets them be written.
        splits: Bits of `store.SPLITS`.
        kind: One of `store.KINDS`.
        label: Content and style, from which captions are described.
        start: First second to keep of the file.
        end: Last second to keep; 0 for all.
    """

    id: str
    path: Path
    captions: tuple[Caption, ...] = ()
    splits: int = 0
    kind: str = "recorded"
    label: tuple[str, str] | None = None
    start: float = 0.0
    end: float = 0.0


@dataclass
class Source(ABC):
    """A folder of motions.

    Attributes:
        root: The folder.
        skeleton: Its joints.
        gives_features: Whether `load` gives features (F, C) instead of joints (T, J, 3).
        captions_from: Said in the report: where the captions come from.
        statistics_as_published: Mean and Std are computed as HumanML3D's program does, see `published_statistics`.
        problems: (id, reason, detail) of what was left out before loading.
    """

    root: Path
    skeleton: Skeleton
    gives_features: bool = False
    captions_from: str = ""
    statistics_as_published: bool = False
    problems: list[tuple[str, str, str]] = field(default_factory=list)

    @abstractmethod
    def items(self) -> list[Item]:
        """All motions that can be tried; what cannot goes to `problems`."""

    @abstractmethod
    def load(self, item: Item) -> NDArray[np.float32]:
        """Read one motion; raises LeftOut when it cannot be used."""

    def captions(self, item: Item) -> Sequence[Caption]:
        """The captions of one motion; raises LeftOut when they cannot be read."""
        return item.captions

    @abstractmethod
    def files(self) -> Iterable[Path]:
        """Every file that the result depends on."""

    def __getstate__(self) -> dict[str, Any]:
        """What loading needs: what one process found is not sent to all others."""
        return self.__dict__ | {"problems": []}

    def statistics(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Mean and standard deviation that come with the data, if any."""
        return None

    def finish(self, features: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[str]]:
        """The last change to features that were computed, with remarks for the report."""
        return features, []

    def about(self) -> dict[str, Any]:
        """What meta.json says beside what it says of every set."""
        return {}

    def about_statistics(self, mean: NDArray[np.float32], std: NDArray[np.float32]) -> str:
        """What the report says of statistics that were computed, after how they were."""
        return ""


def parse_fractions(text: str) -> tuple[float, ...]:
    """Read "80/5/15" (train/val/test) as proportions.

    Raises:
        InputError: Not three numbers that add up to more than 0.
    """
    try:
        fractions = tuple(float(piece) for piece in text.replace(",", "/").split("/"))
    except ValueError:
        fractions = ()
    if len(fractions) != 3 or min(fractions) < 0 or sum(fractions) <= 0:
        raise InputError(
            f"--splits {text!r} is neither a folder with train.txt, val.txt, test.txt nor per cent such as 80/5/15."
        )
    return fractions


def hash_split(key: str, fractions: Iterable[float] = FRACTIONS) -> int:
    """Split bits drawn from a name: the same name falls into the same split in every folder."""
    train, val, test = fractions
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    draw = int.from_bytes(digest, "little") / 2**64 * (train + val + test)
    return 1 if draw < train else 2 if draw < train + val else 4


def read_split_lists(folder: Path) -> dict[str, int]:
    """Ids with their split bits, from train.txt, val.txt and test.txt; empty where none of them exists."""
    splits: dict[str, int] = {}
    for k, name in enumerate(SPLITS):
        path = folder / f"{name}.txt"
        if path.is_file():
            for line in read_lines(path):
                splits[line] = splits.get(line, 0) | 1 << k
    return splits


def split_option(option: str | None) -> str | None:
    """What a set depends on of `--splits` beside its files: a folder's lists are among those, wherever it lies."""
    return "lists" if option is not None and os.path.isdir(option) else option


class Splitter:
    """Gives every id its split: lists of a folder, else proportions.

    Args:
        option: `--splits`: a folder with lists, per cent such as "80/5/15", or None.
        fallback: Folder whose lists count when there is no option.
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
        """Split bits of a clip; 0 where there are lists and it is in none.

        Args:
            clip_id: Looked up in the lists.
            key: What the random split is drawn by: parts of one recording and mirrored doubles belong together.
        """
        if self.lists:
            return self.lists.get(clip_id, self.lists.get(key or clip_id, 0))
        return hash_split(key or clip_id, self.fractions)
