"""Features of the captions of a set in files that are mapped into memory: written once, read by every process."""

import json
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from realign.batch import CaptionFeatures
from realign.files import load_npy
from realign.text.base import TextEncoder

VERSION = 1
ABOUT_FILE, FEATURES_FILE, OFFSETS_FILE, KEYS_FILE, ROWS_FILE = (
    "meta.json", "features.npy", "offsets.npy", "keys.npy", "rows.npy",
)  # fmt: skip
EMPTY = 0
"""Number of the empty caption, the null condition of classifier-free guidance."""


class TextReader(NamedTuple):
    """What a model reads of captions.

    Attributes:
        encoder: A text encoder.
        words: Whether word features are read, besides the sentence vectors.
    """

    encoder: TextEncoder
    words: bool


class NoTable(Exception):
    """There is none, or not the one that is wanted, or a file of it is damaged."""


def caption_key(text: str) -> int:
    """A 64-bit number for a caption, to the letter."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class FeatureTable:
    """Features of the distinct captions of a set by one frozen encoder, in half precision.

    A value differs from the encoder's by 2^-11 (0.0005) of itself at most, or by 2^-25 where it is below 2^-14.
    Numbers of captions begin with the empty one. Copies that are pickled map the files again.

    Args:
        folder: Where the files are.
        wanted: What meta.json must hold: other content is of another encoder, or of other captions.
        words: Read the words, and not the sentences alone.

    Attributes:
        rows: (captions of the set, 2): the number of each caption, and of the same with left and right exchanged.

    Raises:
        NoTable: See there.
    """

    def __init__(self, folder: Path, wanted: dict[str, Any], words: bool) -> None:
        self.folder, self.wanted, self.words = folder, wanted, words
        try:
            about = json.loads((folder / ABOUT_FILE).read_text(encoding="utf-8"))
            if {name: about.get(name) for name in wanted} != wanted or about.get("version") != VERSION:
                raise NoTable(f"{folder} is of another encoder or of other captions")
            if words and not about["words"]:
                raise NoTable(f"{folder} holds no words")
            self.features, self._offsets, self._keys, self.rows = (
                load_npy(folder / name, mapped=True) for name in (FEATURES_FILE, OFFSETS_FILE, KEYS_FILE, ROWS_FILE)
            )
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise NoTable(str(error)) from error
        if self._offsets[-1] != len(self.features) or self._keys.shape != (2, len(self)):
            raise NoTable(f"the files in {folder} do not fit each other")

    def __reduce__(self) -> tuple[type["FeatureTable"], tuple[Path, dict[str, Any], bool]]:
        return FeatureTable, (self.folder, self.wanted, self.words)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def read(self, numbers: NDArray[np.integer], captions: list[str]) -> CaptionFeatures:
        """Features of captions.

        Args:
            numbers: One a caption.
            captions: What they say.
        """
        starts = self._offsets[numbers]
        counts = self._offsets[numbers + 1] - starts if self.words else np.ones_like(starts)
        ends = np.cumsum(counts)
        rows = np.arange(ends[-1])
        source = rows + np.repeat(starts - (ends - counts), counts)
        taken = np.empty((len(rows), self.features.shape[1]), np.float16)
        np.take(self.features, source, axis=0, out=taken, mode="clip")  # with "raise" numpy buffers
        places = np.full((len(numbers), counts.max()), -1)
        places[np.arange(places.shape[1]) < counts[:, None]] = rows
        return CaptionFeatures(captions, torch.from_numpy(taken), torch.from_numpy(places))

    def find(self, captions: Sequence[str]) -> NDArray[np.int64] | None:
        """Numbers of captions; None where one of them is not there."""
        keys = np.array([caption_key(text) for text in captions], np.uint64)
        places = np.minimum(np.searchsorted(self._keys[0], keys), len(self) - 1)
        found = self._keys[:, places]
        return found[1].astype(np.int64) if (found[0] == keys).all() else None
