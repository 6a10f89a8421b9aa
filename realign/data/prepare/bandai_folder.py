"""Bandai-Namco Research Motiondataset, as cloned: labels from file names, captions from labels and joints."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realign.data.dataset import LONGEST
from realign.data.prepare.bandai import knows
from realign.data.prepare.bandai_compose import BLENDED, MEET, arms_on_walk, in_turn
from realign.data.prepare.cmu_files import frames_of
from realign.data.prepare.existing import PrepareReport
from realign.data.prepare.making import Progress, prepare_source
from realign.data.prepare.source import Item, LeftOut, Source, Splitter, action_of, split_option
from realign.data.store import SPLITS
from realign.errors import InputError
from realign.files import data_files
from realign.motion.bvh.retarget import import_bvh
from realign.motion.skeleton import HUMANML3D

_NAME = re.compile(r"dataset-\d+_(?P<content>[a-z-]+)_(?P<style>[a-z-]+)_\d+")
_FPS = 30  # of the recordings
_HANDS = ("left-hand", "right-hand", "both-hands")
GESTURES = tuple(f"{kind}-{hand}" for kind in ("raise-up", "wave") for hand in _HANDS)
"""Actions of the arms alone."""
WALKS = ("walk", "run", "walk-turn-left", "walk-turn-right")
"""Actions whose arms may be those of a gesture."""
STANDING = (*GESTURES, "bow", "bye")
"""Actions that come one after the other."""


@dataclass
class BandaiFolder(Source):
    """Recordings of the data set, and motions composed of two of them.

    Attributes:
        splits_option: Folder with split lists, or percentages; the names decide when None.
        composed: Whether motions are composed, too.
        pairs: Files of the two recordings of each composed motion, by name.
    """

    splits_option: str | None = None
    composed: bool = False
    pairs: dict[str, tuple[Path, Path]] = field(default_factory=dict)

    @classmethod
    def open(cls, root: Path, splits: str | None = None, compose: bool = False) -> "BandaiFolder":
        """Look at a folder.

        Args:
            root: The clone, or any folder with files of the data set.
            splits: As `splits_option`.
            compose: As `composed`.

        Raises:
            InputError: It is missing or holds no file of the data set.
        """
        if not root.is_dir():
            raise InputError(f"The folder {root} does not exist; give the clone of Bandai-Namco's data set.")
        if not any(_NAME.fullmatch(path.stem) for path in data_files(root, ".bvh", recursive=True)):
            named = "dataset-1_bow_active_001.bvh"
            raise InputError(f"{root} holds no recording named as those of the data set, such as {named}.")
        about = "described from the labels in file names and what the joints show"
        return cls(root, HUMANML3D, captions_from=about, names_actions=True, splits_option=splits, composed=compose)

    def files(self) -> Iterable[Path]:
        """Recordings and lists."""
        yield from data_files(self.root, ".bvh", recursive=True)
        lists = Path(self.splits_option) if self.splits_option and Path(self.splits_option).is_dir() else self.root
        yield from (path for name in SPLITS if (path := lists / f"{name}.txt").is_file())

    def items(self) -> list[Item]:
        """Every recording, then the composed motions."""
        splitter = Splitter(self.splits_option, self.root)
        items: dict[str, Item] = {}
        for path in data_files(self.root, ".bvh", recursive=True):
            match = _NAME.fullmatch(path.stem)
            if match is None:
                self.problems.append((path.stem, "not named as in the data set", str(path.relative_to(self.root))))
            elif path.stem in items:
                self.problems.append((path.stem, "same name twice", str(path.relative_to(self.root))))
            elif not knows(match["content"]):
                self.problems.append((path.stem, "no words for its label", match["content"]))
            elif not (splits := splitter(path.stem)):
                self.problems.append((path.stem, "in no split", "none of train.txt, val.txt and test.txt lists it"))
            else:
                label = match["content"], match["style"]
                items[path.stem] = Item(path.stem, path, splits=splits, label=label, action=action_of(*label))
        recorded = sorted(items.values(), key=lambda item: item.id)
        return [*recorded, *self._compose(recorded)] if self.composed else recorded

    def _compose(self, recorded: list[Item]) -> list[Item]:
        """For each walk a gesture, for each standing action another one: of the same split, drawn by name."""
        frames = {item.id: frames_of(item.path) * HUMANML3D.fps / _FPS for item in recorded}
        made = []
        for sign, firsts, seconds in (("+", WALKS, GESTURES), (">", STANDING, STANDING)):
            partners: dict[int, list[Item]] = {}
            for item in recorded:
                if item.label and item.label[0] in seconds:
                    partners.setdefault(item.splits, []).append(item)
            for first in recorded:
                content, style = first.label or ("", "")
                group = partners.get(first.splits, []) if content in firsts else []
                start = _draw(first.id, sign)
                for k in range(len(group)):
                    second = group[(start + k) % len(group)]
                    both = frames[first.id], frames[second.id]
                    length = min(both) if sign == "+" else sum(both) - BLENDED
                    other = second.label[0] if second.label else content
                    if other != content and HUMANML3D.min_frames < length - 1 and length <= LONGEST:
                        name = f"{first.id}{sign}{second.id}"
                        self.pairs[name] = first.path, second.path
                        label = f"{content}{sign}{other}", style
                        action = action_of(*label)
                        made.append(
                            Item(name, first.path, splits=first.splits, kind="composed", label=label, action=action)
                        )
                        break
        return made

    def load(self, item: Item) -> NDArray[np.float32]:
        """Joints (T, 22, 3), Y up."""
        if item.id not in self.pairs:
            return _joints(item.path)
        first, second = (_joints(path).astype(np.float64) for path in self.pairs[item.id])
        if ">" not in item.id:
            start = _draw(item.id) % (abs(len(first) - len(second)) + 1)
            return _long_enough(arms_on_walk(first, second, start))
        if min(len(first), len(second)) <= BLENDED:
            raise LeftOut("too short to compose", f"{BLENDED} frames go over from one to the other")
        joined, apart = in_turn(first, second)
        if apart > MEET:
            raise LeftOut("not composed, as the poses do not meet", f"{apart * 100:.0f} cm apart")
        return _long_enough(joined)

    def about(self) -> dict[str, Any]:
        """What holds for all clips."""
        composed = "; composed clips: arms on walks, and standing actions in turn" if self.composed else ""
        return {"method": f"labels of file names, captions by rule from labels and measures of the joints{composed}"}


def _joints(path: Path) -> NDArray[np.float32]:
    try:
        return np.asarray(import_bvh(path), dtype=np.float32)
    except (InputError, OSError) as error:
        raise LeftOut("unreadable", str(error)) from None


def _long_enough(joints: NDArray[np.floating]) -> NDArray[np.float32]:
    """A composed motion, if its features can be trained on."""
    least, frames = HUMANML3D.min_frames, len(joints) - 1
    if not least <= frames <= LONGEST:
        raise LeftOut("not composed, as it would not be trained on", f"{frames} frames, not {least} to {LONGEST}")
    return joints.astype(np.float32)


def _draw(*words: str) -> int:
    """A number that only names decide."""
    return int.from_bytes(hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest(), "little")


def prepare_bandai(
    source: str | Path,
    out: str | Path,
    *,
    compose: bool = False,
    splits: str | None = None,
    overwrite: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> PrepareReport:
    """Make a set of Bandai-Namco Research Motiondataset.

    Args:
        source: The clone, or any folder with files of the data set.
        out: Folder to make.
        compose: Compose motions of two recordings, too.
        splits: Folder with train.txt, val.txt, test.txt, or percentages; 80/5/15 by the names when None.
        overwrite: As in `prepare`.
        workers: As in `prepare`.
        progress: As in `prepare`.

    Raises:
        InputError: As `prepare`.
    """
    folder = BandaiFolder.open(Path(source), splits, compose)
    return prepare_source(folder, out, ("bandai", split_option(splits), compose), overwrite, workers, progress)
