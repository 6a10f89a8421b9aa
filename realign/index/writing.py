"""Writing of index folders from parts that may be larger than memory."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from realign.index import engine, storage
from realign.index.fill import write_filled
from realign.index.items import write_records
from realign.index.names import index_digest
from realign.index.shards import Embedded


def write_embedded(
    folder: Path,
    motions: Embedded,
    *,
    fingerprint: str,
    factory: str | None = None,
    gpu: bool | Literal["auto"] = "auto",
) -> None:
    """Write a folder for `MotionIndex.load` in bounded memory.

    Args:
        folder: The folder to make.
        motions: Embeddings and items, each id once.
        fingerprint: Names the model that made the embeddings.
        factory: A FAISS factory string; chosen by the number of motions when None.
        gpu: As for `MotionIndex.build`.

    Raises:
        InputError: As `MotionIndex.build`.
    """
    factory = factory or engine.default_factory(len(motions))
    folder.mkdir()
    write_filled(motions, factory, folder / storage.INDEX_FILE, gpu)
    index, keys = engine.read_index(folder / storage.INDEX_FILE, mmap=True), np.arange(len(motions), dtype=np.int64)
    finish_folder(folder, index, keys, motions.records(), fingerprint=fingerprint, factory=factory)


def finish_folder(
    folder: Path, index: Any, keys: np.ndarray, records: Iterable[bytes], *, fingerprint: str, factory: str
) -> None:
    """Write the files beside that of FAISS.

    Args:
        folder: Where that file is.
        index: What it holds.
        keys: Of the motions, ascending.
        records: The items.
        fingerprint: Names the model that made the embeddings.
        factory: The FAISS factory string.
    """
    np.save(folder / storage.KEYS_FILE, keys)
    places = engine.places_of(index, keys)
    if places is not None:
        np.save(folder / storage.PLACES_FILE, places)
    digest = index_digest(fingerprint, factory, write_records(records, folder))
    about = {"fingerprint": fingerprint, "factory": factory, "dim": int(index.d), "count": len(keys), "digest": digest}
    storage.write_manifest(folder, about)
