"""Items of an index, and a packed file of them that opens in constant time."""

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence, Set
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

    @classmethod
    def of(cls, record: bytes) -> "MotionItem":
        """What `to_record` wrote.

        Raises:
            InputError: It is damaged.
        """
        try:
            name, captions, source, frames = json.loads(record)
            return cls(str(name), tuple(map(str, captions)), str(source), int(frames))
        except (ValueError, TypeError) as error:
            raise InputError(f"the record {record[:80]!r} of an index is damaged; build the index again") from error


class PackedItems(Sequence[MotionItem]):
    """Items in two memory-mapped files, decoded at access."""

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
        return MotionItem.of(self.record(position % len(self)))

    def record(self, position: int) -> bytes:
        """An item as it is kept."""
        return self._records[int(self._offsets[position]) : int(self._offsets[position + 1])].tobytes()


def to_record(item: MotionItem) -> bytes:
    """An item as it is kept: JSON that begins with the id."""
    return json.dumps([item.id, item.captions, item.source, item.frames], ensure_ascii=False).encode()


def id_of(record: bytes) -> str:
    """The id of a record, without decoding the rest.

    Raises:
        InputError: It is damaged.
    """
    try:
        if record[:2] != b'["':
            raise ValueError("no id")
        return json.decoder.scanstring(record.decode(), 2)[0]  # type: ignore[attr-defined, no-any-return]
    except ValueError as error:
        raise InputError(f"the record {record[:80]!r} of an index is damaged; build the index again") from error


class RecordWriter:
    """Writes the two files that `PackedItems` reads: records end to end, and where each one starts.

    Args:
        folder: Existing folder to write into.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._offsets = folder, array("q", [0])
        self._file = open(folder / RECORDS_FILE, "wb")  # noqa: SIM115 - closed by close

    def add(self, record: bytes) -> None:
        """Append a record."""
        self._offsets.append(self._offsets[-1] + self._file.write(record))

    def close(self) -> None:
        """Write where each record starts."""
        self._file.close()
        np.save(self._folder / OFFSETS_FILE, np.frombuffer(self._offsets, np.int64))


def write_records(records: Iterable[bytes], folder: Path) -> Iterator[str]:
    """Write records for `PackedItems` as they come, giving the id of each."""
    writer = RecordWriter(folder)
    try:
        for record in records:
            writer.add(record)
            yield id_of(record)
    finally:
        writer.close()


def checked_items(items: Sequence[MotionItem], count: int, known: Set[str] = frozenset()) -> list[MotionItem]:
    """The items as a list, after checks that there is one per embedding and that ids are different.

    Motions are removed by id, so that repeated or known ids raise InputError.
    """
    if len(items) != count:
        raise InputError(f"{count} embeddings came with {len(items)} items; give one item an embedding")
    seen: set[str] = set()
    for item in items:
        if item.id in seen or item.id in known:
            raise InputError(f"the id {item.id!r} names two motions of the index; give every motion an id of its own")
        seen.add(item.id)
    return list(items)
