"""MotionIndex: nearest motions by cosine, over FAISS."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from realign.errors import InputError
from realign.files import atomic_path, load_npy, resolve_model
from realign.index import engine, storage
from realign.index.items import MotionItem, PackedItems, checked_items, to_record
from realign.index.names import index_digest
from realign.index.vectors import unit_vectors
from realign.index.writing import finish_folder


@dataclass(frozen=True)
class SearchResult:
    """The k nearest motions of Q queries, best first, equal scores in the order of the index.

    Attributes:
        positions: Rows of the motions in the index, Int["Q k"].
        scores: Cosine similarities, Float["Q k"]; approximate where the index compresses its vectors.
    """

    positions: Int[np.ndarray, "Q k"]
    scores: Float[np.ndarray, "Q k"]
    _source: Sequence[MotionItem]

    @property
    def items(self) -> list[list[MotionItem]]:
        """The motions found, k a query."""
        return [[self._source[int(position)] for position in row] for row in self.positions]

    @property
    def ids(self) -> list[list[str]]:
        """Their ids, k a query."""
        return [[item.id for item in row] for row in self.items]

    def __repr__(self) -> str:
        queries, k = self.positions.shape
        best = f", the first found {self._source[int(self.positions[0, 0])].id!r} ({self.scores[0, 0]:.3f})"
        return f"SearchResult({k} nearest of {queries} queries{best if self.positions.size else ''})"


class MotionIndex:
    """Motions findable by embedding: FAISS index, items, and the fingerprint of the model that made the embeddings.

    Make one with `build` or `load`. Vectors are normalised when added, so scores are cosines. An index that `load`
    has memory-mapped is read-only.

    Attributes:
        items: The motions, in the order of their positions.
        dim: Width E of the embeddings.
        factory: The FAISS factory string.
        fingerprint: Identifies the model that made the embeddings.
        read_only: Whether the index is memory-mapped.
    """

    def __init__(
        self,
        index: Any,
        keys: np.ndarray,
        items: Sequence[MotionItem],
        *,
        factory: str,
        fingerprint: str,
        read_only: bool,
        places: np.ndarray | None = None,
        digest: str | None = None,
    ) -> None:
        # FAISS knows a motion by a key that never changes; keys are ascending, so a position is found by bisection.
        self._index, self._keys = index, keys
        self.items, self.factory, self.fingerprint, self.read_only = items, factory, fingerprint, read_only
        self.dim = int(index.d)
        self._ids: set[str] | None = None  # gathered at the first addition
        self._places, self._digest = places, digest  # both until a change

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        access = ", read-only" if self.read_only else ""
        return f"MotionIndex({len(self)} motions, width {self.dim}, {self.factory}, by {self.fingerprint}{access})"

    @property
    def digest(self) -> str:
        """Digest of the model, the factory and the ids of the motions."""
        if self._digest is None:
            self._digest = index_digest(self.fingerprint, self.factory, (item.id for item in self.items))
        return self._digest

    @classmethod
    def build(
        cls,
        embeddings: Float[Any, "N E"],
        items: Sequence[MotionItem],
        *,
        fingerprint: str,
        factory: str | None = None,
        gpu: bool | Literal["auto"] = "auto",
    ) -> "MotionIndex":
        """Index motions by their embeddings.

        Args:
            embeddings: One a motion, NumPy array or tensor; need not be normalised.
            items: The motions, with an id each of its own.
            fingerprint: Identifies the model that made the embeddings.
            factory: A FAISS factory string (Flat, HNSW32, "IVF1024,Flat", "OPQ32,IVF1024,PQ32", ...); None takes an
                exact index below 50 thousand motions and inverted lists of 8-bit vectors above.
            gpu: "auto" uses a GPU when the GPU build of FAISS, a device and this kind of index allow; True insists.

        Raises:
            InputError: Nothing to index, NaN or zero embeddings, an unknown factory, too few vectors to train it.
        """
        vectors = unit_vectors(embeddings, "embeddings")
        items = checked_items(items, len(vectors))
        if not items:
            raise InputError("there are no motions to index; give at least one embedding and its item")
        factory = factory or engine.default_factory(len(items))
        index = engine.make_index(vectors, factory, gpu)
        keys = np.arange(len(items), dtype=np.int64)
        with engine.faiss_errors(f"FAISS cannot fill an index {factory!r}", "choose another factory"):
            index.add_with_ids(vectors, keys)
        return cls(index, keys, items, factory=factory, fingerprint=fingerprint, read_only=False)

    def search(self, queries: Float[Any, "Q E"], k: int = 10) -> SearchResult:
        """Find the k motions nearest to each query.

        Args:
            queries: Embeddings by the model of the fingerprint, NumPy array or tensor.
            k: Motions a query, at most as many as the index holds.

        Raises:
            InputError: Wrong width, NaN or zero queries, k below 1 or above the number of motions.
        """
        vectors = unit_vectors(queries, "queries", self.dim)
        if not 1 <= k <= len(self):
            raise InputError(
                f"k = {k} is not between 1 and the {len(self)} motions of the index; ask for a k in that range"
            )
        scores, keys = engine.search_keys(self._index, vectors, int(k))
        positions = np.searchsorted(self._keys, keys)
        if not np.array_equal(self._keys[np.minimum(positions, len(self) - 1)], keys):
            raise InputError("the vectors of the index bear other keys than its items; build it again")
        order = np.lexsort((positions, -scores))
        return SearchResult(np.take_along_axis(positions, order, 1), np.take_along_axis(scores, order, 1), self.items)

    def vectors(self, positions: Sequence[int] | Int[Any, "K"]) -> Float[np.ndarray, "K E"]:
        """The unit embeddings at these positions, approximate where the index compresses them."""
        chosen = np.asarray(positions, dtype=np.int64)
        if len(chosen) and (chosen.min() < 0 or chosen.max() >= len(self)):
            raise InputError(
                f"positions go from 0 to {len(self) - 1}, got {chosen.min()} to {chosen.max()}; use those of a search"
            )
        places = None if self._places is None else np.asarray(self._places[chosen])
        return engine.vectors_of(self._index, np.asarray(self._keys[chosen]), places)

    def add(self, embeddings: Float[Any, "N E"], items: Sequence[MotionItem]) -> None:
        """Append motions; inverted lists and codes stay as they were trained.

        Raises:
            InputError: As for `build`, an id that the index has already, or a memory-mapped index.
        """
        self._refuse_read_only("added to")
        vectors = unit_vectors(embeddings, "embeddings", self.dim)
        if self._ids is None:
            self._ids = {item.id for item in self.items}
        items = checked_items(items, len(vectors), self._ids)
        start = int(self._keys[-1]) + 1 if len(self) else 0
        keys = np.arange(start, start + len(items), dtype=np.int64)
        with engine.faiss_errors(f"FAISS cannot add to an index {self.factory!r}", "build it again with all motions"):
            self._index.add_with_ids(vectors, keys)
        self._places = self._digest = None
        self._keys, self.items = np.concatenate([self._keys, keys]), [*self.items, *items]
        self._ids.update(item.id for item in items)

    def remove(self, ids: Sequence[str]) -> None:
        """Remove motions by id.

        Raises:
            InputError: An id that the index does not have, a kind of index (HNSW) that cannot, or a memory-mapped one.
        """
        self._refuse_read_only("removed from")
        wanted = set(ids)
        gone = np.array([item.id in wanted for item in self.items], dtype=bool)
        if missing := wanted - {self.items[i].id for i in np.flatnonzero(gone).tolist()}:
            raise InputError(f"the index holds no motion {min(missing)!r}; remove ids that it holds")
        what, remedy = (
            f"an index {self.factory!r} cannot remove motions",
            "build it again without them, or use Flat or IVF",
        )
        with engine.faiss_errors(what, remedy):
            index = engine.to_cpu(self._index)
            index.remove_ids(self._keys[gone])
        self._index = engine.place(index, "auto") if index is not self._index else index
        self._keys, self._ids = self._keys[~gone], None
        self._places = self._digest = None
        self.items = [item for item, out in zip(self.items, gone, strict=True) if not out]

    def save(self, folder: str | Path) -> None:
        """Write the index to a folder, all or nothing; an index that is there is replaced.

        Raises:
            InputError: The index is memory-mapped (its folder can be copied), or the path is not an index to replace.
        """
        self._refuse_read_only("saved")
        folder = Path(folder)
        storage.check_replaceable(folder)
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            index = engine.to_cpu(self._index)
            engine.write_index(index, temporary / storage.INDEX_FILE)
            about = {"fingerprint": self.fingerprint, "factory": self.factory}
            finish_folder(temporary, index, self._keys, map(to_record, self.items), **about)
            storage.keep_calibration(temporary, folder)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        fingerprint: str | None = None,
        *,
        mmap: bool = True,
        verify: bool | None = None,
        gpu: bool | Literal["auto"] = "auto",
    ) -> "MotionIndex":
        """Open a folder that `save` wrote; no pickled code runs.

        Args:
            folder: The folder, or the name of an index that the package ships.
            fingerprint: The model whose embeddings will be the queries; an index of another model is refused.
            mmap: Leave vectors and items in their files and open read-only, at once and shared between processes; False
                reads everything, and the index can be changed.
            verify: True checks every byte against its checksum, False sizes only, None every byte of files up to 512
                MiB and 128 MiB spread over each larger one.
            gpu: As for `build`; a copy on the GPU is searched.

        Raises:
            InputError: No index there, a file missing, truncated or altered, or an index made by another model.
        """
        folder = resolve_model(folder)
        manifest = storage.read_manifest(folder)
        if fingerprint is not None:
            storage.check_model(folder, manifest["fingerprint"], fingerprint)
        storage.check_files(folder, manifest, verify)
        index = engine.place(engine.read_index(folder / storage.INDEX_FILE, mmap), gpu)
        try:
            keys = load_npy(folder / storage.KEYS_FILE, mapped=mmap)
            known = storage.PLACES_FILE in manifest["files"] and not engine.on_gpu(index)
            places = load_npy(folder / storage.PLACES_FILE, mapped=mmap) if known else None
            items: Sequence[MotionItem] = PackedItems(folder)
        except ValueError as error:
            raise InputError(f"the index at {folder} is damaged ({error}); build it again") from error
        sizes = {"vectors": index.ntotal, "keys": keys.size, "items": len(items)}
        sizes |= {} if places is None else {"places": places.size}
        tables = [keys] if places is None else [keys, places]
        if any(table.dtype != np.int64 or table.ndim != 1 for table in tables) or len(set(sizes.values())) > 1:
            raise InputError(f"the files of the index at {folder} do not belong together ({sizes}); build it again")
        about: dict[str, Any] = {name: manifest.get(name) for name in ("factory", "fingerprint", "digest")}
        return cls(index, keys, items if mmap else list(items), read_only=mmap, places=places, **about)

    def _refuse_read_only(self, action: str) -> None:
        if self.read_only:
            raise InputError(
                f"a memory-mapped index cannot be {action}; open it with MotionIndex.load(folder, mmap=False)"
            )
