"""What a prepared set says of each of its captions, looked up by the caption's text."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realign.data.prepare.captions import swap_sides
from realign.data.store import PackedMotions
from realign.seeding import text_numbers

_AT_ONCE = 4096  # captions numbered together
_ENTRY = np.dtype([("key", np.int64), ("clip", np.int32), ("which", np.int32), ("mirrored", np.bool_)])


class CaptionTable(Mapping[str, str]):
    """A text for every caption, read from the memory-mapped files of the set at each lookup.

    A caption takes 17 bytes of memory and no Python object. Captions with left and right exchanged are included, since
    training mirrors some samples; their texts are exchanged, too.

    Args:
        packed: The set.
        clips: Indices of the clips with the captions.
        weakest_first: Sorts entries (`clip`, `which`); the last one of several with the same caption counts.
        read: Returns the text of a caption from the index of its clip and its number in the clip.
    """

    def __init__(
        self,
        packed: PackedMotions,
        clips: NDArray[np.int64],
        weakest_first: Callable[[NDArray[np.void]], NDArray[np.void]],
        read: Callable[[int, int], str],
    ) -> None:
        self._packed, self._read = packed, read
        counts = packed.clips["captions"][clips].astype(np.int64)
        own = np.zeros(int(counts.sum()), dtype=_ENTRY)
        own["clip"] = np.repeat(clips, counts)
        own["which"] = np.arange(len(own)) - np.repeat(np.cumsum(counts) - counts, counts)
        own = weakest_first(own)
        mirrored = own.copy()
        mirrored["mirrored"] = True
        entries = np.concatenate([mirrored, own])
        for start in range(0, len(entries), _AT_ONCE):
            part = entries[start : start + _AT_ONCE]
            part["key"] = text_numbers([self._caption(entry) for entry in part]).numpy()
        entries = entries[np.argsort(entries["key"], kind="stable")]
        last = np.append(entries["key"][1:] != entries["key"][:-1], True) if len(entries) else np.zeros(0, bool)
        self._entries = entries[last]
        self._keys = np.ascontiguousarray(self._entries["key"])

    def __getitem__(self, caption: str) -> str:
        number = int(text_numbers([caption])[0])
        place = int(np.searchsorted(self._keys, number))
        if place == len(self._keys) or self._keys[place] != number:
            raise KeyError(caption)
        entry = self._entries[place]
        text = self._read(int(entry["clip"]), int(entry["which"]))
        return swap_sides(text) if entry["mirrored"] else text

    def __iter__(self) -> Iterator[str]:
        return map(self._caption, self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __deepcopy__(self, memo: Any) -> "CaptionTable":
        return self  # it does not change, and a copy would read the mapped files into memory

    def _caption(self, entry: np.void) -> str:
        caption = self._packed.caption(int(entry["clip"]), int(entry["which"]))
        return swap_sides(caption) if entry["mirrored"] else caption


def caption_tokens(packed: PackedMotions, split: str = "all") -> CaptionTable:
    """Words with parts of speech, "word/POS word/POS ...", by caption; empty if the source has none."""
    return CaptionTable(packed, packed.select(split), lambda entries: entries, packed.tokens)


def plain_captions(packed: PackedMotions, split: str = "all") -> CaptionTable:
    """The first caption of the clip, by caption; clips with the same first caption count as showing the same motion."""

    def firsts_last(entries: NDArray[np.void]) -> NDArray[np.void]:
        return entries[::-1][np.argsort(entries["which"][::-1] == 0, kind="stable")]

    return CaptionTable(packed, packed.select(split), firsts_last, lambda clip, which: packed.caption(clip))
