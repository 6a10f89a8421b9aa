"""What an index knows of a motion, and a packed form on disk that opens at once however many there are."""

import json
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from realign.errors import InputError
from realign.files import load_npy

RECORDS_FILE, OFFSETS_FILE = "items.bin", "item_offsets.npy"


@dataclass(frozen=True)
class MotionItem:
    """One motion of an index: its id, its captions, where it comes from and its length in frames."""

    id: str
    captions: tuple[str, ...] = ()
    source: str = ""
    frames: int = 0


class PackedItems(Sequence[MotionItem]):
    """Items read from two memory-mapped files; one is decoded when it is asked for."""

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self._offsets = load_npy(folder / OFFSETS_FILE, mapped=True)
        path = folder / RECORDS_FILE
        self._records = np.memmap(path, mode="r") if path.stat().st_size else np.zeros(0, np.uint8)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, position: int) -> MotionItem: ...

    @overload
    def __getitem__(self, position: slice) -> list[MotionItem]: ...

    def __getitem__(self, position: int | slice) -> MotionItem | list[MotionItem]:
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        if not -len(self) <= position < len(self):
            raise IndexError(position)
        position %= len(self)
        start, end = int(self._offsets[position]), int(self._offsets[position + 1])
        try:
            name, captions, source, frames = json.loads(self._records[start:end].tobytes())
            return MotionItem(str(name), tuple(map(str, captions)), str(source), int(frames))
        except (ValueError, TypeError) as error:
            raise InputError(f"the record {position} of an index is damaged; build the index again") from error


def write_items(items: Iterable[MotionItem], folder: Path) -> None:
    """Write the two files that `PackedItems` reads: records of JSON end to end, and where each one starts."""
    offsets = [0]
    with open(folder / RECORDS_FILE, "wb") as file:
        for item in items:
            record = json.dumps([item.id, item.captions, item.source, item.frames], ensure_ascii=False)
            offsets.append(offsets[-1] + file.write(record.encode()))
    np.save(folder / OFFSETS_FILE, np.array(offsets, np.int64))


def checked_items(items: Sequence[MotionItem], count: int, known: Set[str] = frozenset()) -> list[MotionItem]:
    """The items as a list, after a check that there is one an embedding and no id twice.

    Motions are removed by id, so an id that is repeated or known already raises InputError.
    """
    if len(items) != count:
        raise InputError(f"{count} embeddings came with {len(items)} items; give one item an embedding")
    seen: set[str] = set()
    for item in items:
        if item.id in seen or item.id in known:
            raise InputError(f"the id {item.id!r} names two motions of the index; give every motion an id of its own")
        seen.add(item.id)
    return list(items)
