"""Trials of the CMU library among the files of its releases, and the rate at which each was recorded."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from realign.data.prepare.humanml3d_cuts import Cut
from realign.files import data_files

FOLDER = "CMU"  # of its recordings in AMASS
FAST, SLOW = 6, 3  # every which frame makes 20 a second, at 120 and at 60
# Actors who were recorded together have a folder each in AMASS, where both have the first one's number.
_SECOND = re.compile(r"rory", re.IGNORECASE)
_TRIAL = re.compile(r"(\d+)_(\d+)")
KNOWN_SLOW = frozenset({60, 61, 62, 75, 77, 79, 80})
"""Subjects of which recordings are known to be at 60 frames per second; there may be more."""


def trial_of(name: str) -> tuple[int, int] | None:
    """Subject and number of a trial, from a file's name without suffix."""
    match = _TRIAL.fullmatch(name.lower().removesuffix("_poses"))
    return (int(match[1]), int(match[2])) if match else None


def trial_in_index(source: str) -> tuple[int, int] | None:
    """Subject and number of the trial that a path of the index means, None if it is not of the CMU library."""
    path = PurePosixPath(source)
    found = trial_of(path.stem) if FOLDER in path.parts[:-1] else None
    if found and _SECOND.search(path.parent.name):
        return found[0] + 1, found[1]
    return found


def frames_of(path: Path) -> int:
    """How many frames a file says that it has, its added pose counted; 0 where it says nothing."""
    with open(path, "rb") as file:
        if path.suffix.lower() == ".bvh":
            match = re.search(rb"^\s*Frames:?\s*(\d+)", file.read(1 << 16), flags=re.MULTILINE | re.IGNORECASE)
            return int(match[1]) if match else 0
        file.seek(max(0, path.stat().st_size - (1 << 14)))
        numbers = re.findall(rb"^\s*(\d+)\s*$", file.read(), flags=re.MULTILINE)
        return int(numbers[-1]) if numbers else 0


@dataclass
class Trials:
    """What a folder holds of the CMU library: BVH files of any release, or AMC files with their ASF skeletons.

    Attributes:
        paths: The file of each trial; where there are several, a BVH file, the first by name.
        skeletons: ASF files by subject.
        others: How many further files of the same trials there are.
        strides: Every which frame is taken of each trial, as the index tells.
        guessed: Trials of which it does not.
    """

    paths: dict[tuple[int, int], Path] = field(default_factory=dict)
    skeletons: dict[int, Path] = field(default_factory=dict)
    others: int = 0
    strides: dict[tuple[int, int], int] = field(default_factory=dict)
    guessed: set[tuple[int, int]] = field(default_factory=set)

    @classmethod
    def find(cls, root: Path) -> "Trials":
        """Look through a folder and its subfolders.

        Args:
            root: The folder.
        """
        found = cls()
        for path in (*data_files(root, ".bvh", recursive=True), *data_files(root, ".amc", recursive=True)):
            trial = trial_of(path.stem)
            if trial in found.paths:
                found.others += 1
            elif trial is not None:
                found.paths[trial] = path
        for path in data_files(root, ".asf", recursive=True):
            if path.stem.isdigit():
                found.skeletons.setdefault(int(path.stem), path)
        return found

    def decide(self, cuts: dict[str, Cut]) -> None:
        """Decide which trials were recorded at 60 frames per second, which no file says.

        HumanML3D takes every sixth frame of a recording at 120 frames per second and every third at 60, and most clips
        of short recordings end where these end. So an index that goes on behind the last sixth frame is of a
        recording at 60, and one that ends with it is of one at 120. The others are as most of their subject's
        recordings for which this is clear; where there are none, as `KNOWN_SLOW` says.

        Args:
            cuts: Clips of the index.
        """
        last: dict[tuple[int, int], int] = {}
        for cut in cuts.values():
            trial = trial_in_index(cut.source)
            if trial in self.paths:
                last[trial] = max(cut.end, last.get(trial, 0))
        for trial, end in last.items():
            sixths = frames_of(self.paths[trial]) / FAST
            if sixths and end > sixths + 2:
                self.strides[trial] = SLOW
            elif sixths and end > sixths - 1:  # rounded up, with the added pose or without
                self.strides[trial] = FAST
        votes = Counter((subject, stride) for (subject, _), stride in self.strides.items())
        self.guessed = set(last) - set(self.strides)
        for subject, number in self.guessed:
            slow, fast = votes[subject, SLOW], votes[subject, FAST]
            if slow == fast:
                slow, fast = int(subject in KNOWN_SLOW), 0
            self.strides[subject, number] = SLOW if slow > fast else FAST
