"""Embeddings and items for an index, written by many processes and read in parts as one sequence."""

import json
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from realign.errors import InputError
from realign.index.items import OFFSETS_FILE, RECORDS_FILE, MotionItem, RecordWriter, to_record
from realign.index.names import first_places, name_digests
from realign.index.vectors import unit_vectors

VECTORS_FILE, ORDER_FILE, NAMES_FILE, ABOUT_FILE = "vectors.f32", "order.npy", "names.npy", "shard.json"
BLOCK = 1 << 16  # embeddings read at once: 64 MB of width 256


class Embedded(ABC):
    """Unit embeddings with their items, in order, read in parts.

    Attributes:
        shape: Number N and width E.
    """

    shape: tuple[int, int]

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, rows: slice | Int[np.ndarray, "K"]) -> Float[np.ndarray, "K E"]:
        """The embeddings of a range, or of ascending positions."""

    @abstractmethod
    def records(self) -> Iterator[bytes]:
        """All items, as `items.to_record` writes them."""


class ShardWriter:
    """Appends the embeddings and items of one process to files; an item takes 32 bytes of memory.

    Args:
        folder: A folder to make.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder, self.width = folder, 0
        self._vectors = open(folder / VECTORS_FILE, "wb")  # noqa: SIM115 - closed by close
        self._records = RecordWriter(folder)
        self._order, self._names = array("q"), bytearray()

    def add(self, embeddings: Float[Any, "N E"], items: Sequence[MotionItem], order: Sequence[int]) -> None:
        """Append embeddings.

        Args:
            embeddings: NumPy array or tensor; need not be normalised.
            items: One an embedding.
            order: Ascending numbers, by which the shards of all processes are merged.

        Raises:
            InputError: An embedding holds NaN, or has another width than those before.
        """
        vectors = unit_vectors(embeddings, "embeddings", self.width or None)
        if not len(vectors) == len(items) == len(order):
            raise InputError(f"{len(vectors)} embeddings came with {len(items)} items; give one item an embedding")
        self.width = vectors.shape[1]
        self._vectors.write(vectors.tobytes())
        for item in items:
            self._records.add(to_record(item))
        self._order.extend(order)
        self._names += name_digests(item.id for item in items).tobytes()

    def close(self) -> None:
        """Write the manifest that `Shards` reads."""
        self._vectors.close()
        self._records.close()
        np.save(self.folder / ORDER_FILE, np.frombuffer(self._order, np.int64))
        np.save(self.folder / NAMES_FILE, np.frombuffer(self._names, np.uint64).reshape(-1, 2))
        (self.folder / ABOUT_FILE).write_text(json.dumps({"width": self.width}), encoding="utf-8")


class Shards(Embedded):
    """Shards as one sequence in their order, without repeated ids.

    Files are read, not mapped, so that their content does not stay in the memory of the process.

    Args:
        folders: What `ShardWriter` wrote.

    Raises:
        InputError: They hold nothing, or embeddings of different widths.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        widths = [json.loads((folder / ABOUT_FILE).read_text(encoding="utf-8"))["width"] for folder in folders]
        self._folders = [folder for folder, width in zip(folders, widths, strict=True) if width]
        if len(set(widths) - {0}) != 1:
            raise InputError(f"{len(folders)} shards with embeddings of the widths {sorted(set(widths) - {0})} make no "
                             "index; embed at least one motion, all by one model.")  # fmt: skip
        orders = [np.load(folder / ORDER_FILE) for folder in self._folders]
        shards = np.repeat(np.arange(len(orders), dtype=np.int32), [len(order) for order in orders])
        rows = np.concatenate([np.arange(len(order)) for order in orders])
        merged = np.argsort(np.concatenate(orders), kind="stable")
        names = np.concatenate([np.load(folder / NAMES_FILE) for folder in self._folders])[merged]
        merged = merged[first_places(names)]
        self._shards, self._rows = shards[merged], rows[merged]
        self._offsets = [np.load(folder / OFFSETS_FILE, mmap_mode="r") for folder in self._folders]
        self.shape = len(merged), max(widths)

    def __getitem__(self, rows: slice | Int[np.ndarray, "K"]) -> Float[np.ndarray, "K E"]:
        shards, places = self._shards[rows], self._rows[rows]
        found = np.empty((len(places), self.shape[1]), np.float32)
        for number, folder in enumerate(self._folders):
            mine = np.flatnonzero(shards == number)
            if len(mine):
                found[mine] = _read_rows(folder / VECTORS_FILE, places[mine], self.shape[1])
        return found

    def records(self) -> Iterator[bytes]:
        """All items, read as they are asked for."""
        files = [open(folder / RECORDS_FILE, "rb") for folder in self._folders]  # noqa: SIM115 - closed below
        try:
            for shard, row in _pairs(self._shards, self._rows):
                start, end = self._offsets[shard][row : row + 2].tolist()
                if files[shard].tell() != start:
                    files[shard].seek(start)
                yield files[shard].read(end - start)
        finally:
            for file in files:
                file.close()


class Joined(Embedded):
    """Several sequences one after the other, without some of their items.

    Args:
        parts: The sequences.
        kept: Positions in all of them together, ascending; all when None.
    """

    def __init__(self, parts: Sequence[Embedded], kept: Int[np.ndarray, "K"] | None = None) -> None:
        self._parts, self._kept = parts, kept
        self._starts = np.cumsum([0, *map(len, parts)])
        self.shape = int(self._starts[-1]) if kept is None else len(kept), parts[0].shape[1]

    def __getitem__(self, rows: slice | Int[np.ndarray, "K"]) -> Float[np.ndarray, "K E"]:
        places = np.arange(len(self))[rows] if self._kept is None else self._kept[rows]
        cuts = np.searchsorted(places, self._starts)
        found = [
            part[places[low:high] - start]
            for part, low, high, start in zip(self._parts, cuts, cuts[1:], self._starts, strict=False)
            if high > low
        ]
        return np.concatenate(found) if found else np.empty((0, self.shape[1]), np.float32)

    def records(self) -> Iterator[bytes]:
        """All items that are kept."""
        kept = None if self._kept is None else iter(self._kept.tolist())
        wanted = next(kept, None) if kept else None
        for place, record in enumerate(record for part in self._parts for record in part.records()):
            if kept is None:
                yield record
            elif place == wanted:
                yield record
                wanted = next(kept, None)


def _pairs(shards: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, int]]:
    """Numbers of Python's own, a block at a time."""
    for start in range(0, len(rows), BLOCK):
        yield from zip(shards[start : start + BLOCK].tolist(), rows[start : start + BLOCK].tolist(), strict=True)


def _read_rows(path: Path, rows: Int[np.ndarray, "K"], width: int) -> Float[np.ndarray, "K E"]:
    """Ascending rows of a file: in one piece where they lie close, else one by one."""
    first, span = int(rows[0]), int(rows[-1]) - int(rows[0]) + 1
    if span <= 2 * len(rows):
        piece = np.fromfile(path, np.float32, span * width, offset=first * width * 4).reshape(span, width)
        return piece[rows - first]
    found = np.empty((len(rows), width), np.float32)
    with open(path, "rb", buffering=0) as file:
        for place, row in enumerate(rows.tolist()):
            file.seek(row * width * 4)
            file.readinto(found[place].data)
    return found
