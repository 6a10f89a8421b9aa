"""Building of index files from embeddings that do not fit into memory."""

import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from realign.errors import InputError
from realign.index import engine
from realign.index.shards import Embedded

BLOCK = 1 << 18  # vectors added at once: 256 MB of width 256
_MERGED = 1 << 26  # bytes of inverted lists merged at once: 64 MB
_EMPTY = struct.Struct("=4sQQ4sQ")  # what FAISS writes of empty inverted lists, at the end of a file


def write_filled(vectors: Embedded, factory: str, path: Path, gpu: bool | Literal["auto"] = "auto") -> None:
    """Train an index on a sample, fill it block by block under the keys 0, 1, ... and write it to a file.

    Inverted lists are written block by block beside the file and then merged list by list, so that neither the
    embeddings nor the index are ever in memory as a whole. Other kinds of index grow in memory until they are written.
    The file is byte-equal to that of a single addition.

    Args:
        vectors: The embeddings.
        factory: A FAISS factory string.
        path: File to write.
        gpu: As for `engine.place`.

    Raises:
        InputError: As `engine.make_index`.
    """
    index = engine.make_index(vectors, factory, gpu)
    header = _header(index, len(vectors)) if len(vectors) > BLOCK else None
    with engine.faiss_errors(f"FAISS cannot fill an index {factory!r}", "choose another factory"):
        if header is None:
            for _ in _added(index, vectors):
                pass
            engine.write_index(index, path)
            return
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="lists") as folder:
            spilled = _Spilled(Path(folder))
            for _ in _added(index, vectors):
                spilled.take(engine.to_cpu(index))
                index.reset()
            with open(path, "wb") as file:
                file.write(header)
                spilled.merge(file)
    written = engine.read_index(path, mmap=True)
    lists = engine.core(written, engine.load_faiss().IndexIVF).invlists
    if written.ntotal != len(vectors) or lists.compute_ntotal() != len(vectors):
        raise InputError(f"this FAISS writes indexes of the kind {factory!r} in another form; choose another factory")


def _added(index: Any, vectors: Embedded) -> Iterator[int]:
    """Add block after block; gives where each began."""
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : min(start + BLOCK, len(vectors))]
        index.add_with_ids(block, np.arange(start, start + len(block)))
        yield start


def _header(index: Any, count: int) -> bytes | None:
    """The bytes that FAISS writes before the inverted lists of `count` vectors; None without inverted lists."""
    faiss = engine.load_faiss()
    empty = engine.to_cpu(index)
    inverted = engine.core(empty, faiss.IndexIVF)
    if inverted is None or engine.core(empty, faiss.IndexRefine) is not None:
        return None
    lists = faiss.downcast_InvertedLists(inverted.invlists)
    if type(lists) is not faiss.ArrayInvertedLists:
        return None
    counted = [empty, inverted] if empty is not inverted else [empty]
    for each in counted:
        each.ntotal = count
    written = faiss.serialize_index(empty).tobytes()
    for each in counted:
        each.ntotal = 0
    ending = _EMPTY.pack(b"ilar", lists.nlist, lists.code_size, b"sprs", 0)
    return written.removesuffix(ending) if written.endswith(ending) else None


class _Spilled:
    """Inverted lists of blocks, on the disk.

    Args:
        folder: Where.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = folder / "codes", folder / "ids"
        self._sizes: list[np.ndarray] = []
        self.code_size = 0

    def take(self, index: Any) -> None:
        """Write the lists of one block."""
        faiss = engine.load_faiss()
        lists = engine.core(index, faiss.IndexIVF).invlists
        self.code_size = int(lists.code_size)
        sizes = np.array([lists.list_size(number) for number in range(lists.nlist)], np.int64)
        with open(self._paths[0], "ab") as codes, open(self._paths[1], "ab") as ids:
            for number in np.flatnonzero(sizes).tolist():
                size = int(sizes[number])
                codes.write(faiss.rev_swig_ptr(lists.get_codes(number), size * self.code_size).tobytes())
                ids.write(faiss.rev_swig_ptr(lists.get_ids(number), size).tobytes())
        self._sizes.append(sizes)

    def merge(self, file: BinaryIO) -> None:
        """Write all blocks as the inverted lists of one index, as FAISS does."""
        sizes = np.stack(self._sizes)  # (blocks, lists)
        whole = sizes.sum(0)
        filled = np.flatnonzero(whole)
        full = len(filled) > len(whole) // 2
        told = whole if full else np.stack([filled, whole[filled]], 1).ravel()
        file.write(_EMPTY.pack(b"ilar", len(whole), self.code_size, b"full" if full else b"sprs", len(told)))
        file.write(told.astype(np.uint64).tobytes())
        starts = np.cumsum(sizes.ravel()).reshape(sizes.shape) - sizes  # of each list of each block, in the files
        group = np.cumsum(whole) * self.code_size // _MERGED
        for number in np.unique(group).tolist():
            self._merge_group(file, np.flatnonzero(group == number), starts, sizes)

    def _merge_group(self, file: BinaryIO, lists: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> None:
        """Write lists that follow one another; those of one block lie together."""
        low, high = int(lists[0]), int(lists[-1])
        parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])  # of every block, codes and keys
        begins = starts[:, low]
        for block, begin in enumerate(begins.tolist()):
            count, size = int(starts[block, high] + sizes[block, high]) - begin, self.code_size
            codes = np.fromfile(self._paths[0], np.uint8, count * size, offset=begin * size)
            parts[0].append(codes.reshape(count, size))
            parts[1].append(np.fromfile(self._paths[1], np.int64, count, offset=begin * 8))
        for number in lists.tolist():
            for kind in parts:
                for block, part in enumerate(kind):
                    start = int(starts[block, number] - begins[block])
                    file.write(part[start : start + int(sizes[block, number])].tobytes())
