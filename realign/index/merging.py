"""Merging of indexes, and export as plain files for other tools."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from realign.errors import InputError
from realign.files import atomic_path
from realign.index import storage
from realign.index.items import MotionItem, PackedItems, id_of
from realign.index.joints import PackedJoints
from realign.index.library import CAPTIONS, MotionLibrary, write_library
from realign.index.motion_index import MotionIndex
from realign.index.names import first_places, name_digests
from realign.index.shards import BLOCK, Embedded, Joined
from realign.index.vectors import unit_vectors


class IndexEmbedded(Embedded):
    """The embeddings and items of an index, as it keeps them.

    Args:
        index: A memory-mapped index.
    """

    def __init__(self, index: MotionIndex) -> None:
        self.index, self.shape = index, (len(index), index.dim)

    def __getitem__(self, rows: slice | Int[np.ndarray, "K"]) -> Float[np.ndarray, "K E"]:
        places = np.arange(len(self))[rows] if isinstance(rows, slice) else rows
        return unit_vectors(self.index.vectors(places), "embeddings of the index", self.shape[1])

    def records(self) -> Iterator[bytes]:
        """All items, as they are kept."""
        items = self.index.items
        if not isinstance(items, PackedItems):
            raise InputError("an index in memory has no records; save it and load it again")
        return (items.record(place) for place in range(len(items)))

    def ids(self) -> Iterator[str]:
        """Their ids."""
        return map(id_of, self.records())


def merge_libraries(folders: Sequence[str | Path], output: str | Path, factory: str | None = None) -> bool:
    """Write one index of the motions of several, in their order, and of all their captions.

    Embeddings are taken as the indexes keep them and indexed anew: exact ones stay exact.

    Args:
        folders: At least two indexes of the same model.
        output: Folder to write; an index that is there is replaced.
        factory: A FAISS factory string; chosen by the number of motions when None.

    Returns:
        Whether the index holds the motions themselves, which it does if all indexes do.

    Raises:
        InputError: Another model made one of them, two motions have the same id, or a kind of index does not give its
            vectors back.
    """
    output = Path(output)
    storage.check_replaceable(output)
    if len(folders) < 2:
        raise InputError(f"{len(folders)} index cannot be merged; name at least two.")
    first = MotionLibrary.load(folders[0])
    libraries = [first, *(MotionLibrary.load(folder, first.motions.fingerprint) for folder in folders[1:])]
    parts = [IndexEmbedded(each.motions) for each in libraries]
    _check_unique(libraries, parts)
    captions = [IndexEmbedded(each.captions) for each in libraries if each.captions is not None]
    kept = first_places(np.concatenate([name_digests(each.ids()) for each in captions])) if captions else None
    joints = _all_joints(libraries)
    with atomic_path(output) as made:
        write_library(
            made, Joined(parts), Joined(captions, kept) if captions else None,
            (clip for each in joints for clip in each) if joints else None, _about(joints[0]) if joints else None,
            fingerprint=first.motions.fingerprint, factory=factory,
        )  # fmt: skip
        storage.keep_calibration(made, output, [each.folder for each in libraries])
    return bool(joints)


def _check_unique(libraries: Sequence[MotionLibrary], parts: Sequence[IndexEmbedded]) -> None:
    """Refuse repeated ids, naming the indexes that hold them."""
    digests = np.concatenate([name_digests(part.ids()) for part in parts])
    alone = first_places(digests)
    if len(alone) == len(digests):
        return
    place = int(np.setdiff1d(np.arange(len(digests)), alone)[0])
    starts = np.cumsum([0, *map(len, parts)])
    first = int(np.flatnonzero((digests == digests[place]).all(1))[0])
    holders = [int(np.searchsorted(starts, each, "right")) - 1 for each in (first, place)]
    name = parts[holders[1]].index.items[place - int(starts[holders[1]])].id
    raise InputError(
        f"{libraries[holders[0]].folder} and {libraries[holders[1]].folder} both hold a motion {name!r}; merge indexes "
        "of different motions, or build them from sets whose ids differ."
    )


def _all_joints(libraries: Sequence[MotionLibrary]) -> list[PackedJoints]:
    """The motions of all indexes; none where one of them keeps none, or where they are of different bodies."""
    joints = [each.joints() for each in libraries]
    found = [each for each in joints if each is not None]
    return found if len(found) == len(joints) and len({str(_about(each)) for each in found}) == 1 else []


def _about(joints: PackedJoints) -> dict[str, Any]:
    return {name: joints.meta.get(name) for name in ("skeleton", "fps")}


def export_library(folder: str | Path, output: str | Path, kind: str | None = None) -> list[Path]:
    """Write an index as files for vector databases: embeddings.npy, unit rows of float32, and items in the same order.

    The captions are written likewise, into a folder of their own.

    Args:
        folder: The index.
        output: Folder to write; it must not be there, or be empty.
        kind: Of the file of items, parquet or jsonl; parquet where pyarrow is installed when None.

    Returns:
        The files.

    Raises:
        InputError: The folder holds something, pyarrow is missing, or the index does not give its vectors back.
    """
    kind = kind or ("parquet" if _pyarrow() else "jsonl")
    if kind == "parquet" and not _pyarrow():
        raise InputError("Parquet needs pyarrow; run pip install 'realign[parquet]', or choose --items jsonl.")
    output, library = Path(output), MotionLibrary.load(folder)
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise InputError(f"{output} exists; choose another folder for what is exported.")
    written = []
    with atomic_path(output) as made:
        for part, index in ((Path(), library.motions), (Path(CAPTIONS), library.captions)):
            if index is not None:
                (made / part).mkdir()
                written += [part / "embeddings.npy", part / f"items.{kind}"]
                _export_vectors(IndexEmbedded(index), made / part / "embeddings.npy")
                (_export_parquet if kind == "parquet" else _export_jsonl)(index, made / part / f"items.{kind}")
        about = {"fingerprint": library.motions.fingerprint, "dim": library.motions.dim}
        (made / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return [output / name for name in (*written, Path("about.json"))]


def _export_vectors(motions: IndexEmbedded, path: Path) -> None:
    with open(path, "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": motions.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(motions), BLOCK):
            file.write(motions[start : start + BLOCK].astype("<f4").tobytes())


def _export_jsonl(index: MotionIndex, path: Path) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for item in index.items:
            file.write(json.dumps(item.__dict__, ensure_ascii=False) + "\n")


def _export_parquet(index: MotionIndex, path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    columns = [("id", pyarrow.string()), ("captions", pyarrow.list_(pyarrow.string())),
               ("source", pyarrow.string()), ("frames", pyarrow.int64())]  # fmt: skip
    with parquet.ParquetWriter(path, pyarrow.schema(columns)) as writer:
        for start in range(0, len(index), BLOCK):
            items: list[MotionItem] = list(index.items[start : start + BLOCK])
            rows = {name: [getattr(item, name) for item in items] for name, _ in columns}
            writer.write_table(pyarrow.table(rows, schema=pyarrow.schema(columns)))


def _pyarrow() -> bool:
    from importlib.util import find_spec

    return find_spec("pyarrow") is not None
