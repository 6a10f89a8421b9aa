"""One index from the embeddings of many processes: each writes a shard, and the first process merges them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from realign.data.store import PackedMotions
from realign.distributed import from_first, meet, processes, share
from realign.errors import InputError
from realign.files import atomic_path
from realign.index.engine import parse_factory
from realign.index.items import MotionItem, PackedItems, to_record, write_records
from realign.index.library import write_library
from realign.index.names import first_places, name_digests
from realign.index.shards import Shards, ShardWriter
from realign.index.storage import check_replaceable, keep_calibration
from realign.motion.features import features_to_joints
from realign.motion.skeleton import get_skeleton
from realign.nn.embedder import JointEmbedding

_CAPTIONS = 256  # embedded at once
_ROWS, _PROCESSES = 1 << 20, 1 << 14  # limits, so that one number holds a motion's place in the order


class IndexWriter:
    """Writes one index from all processes; a context manager, to be entered in every process.

    Embeddings are written to the disk as they come, beside the index, where all processes must see them. The first
    process merges them in the order of the data, and writes the index in bounded memory.

    Args:
        folder: The index's folder; an index that is there is replaced, once the new one is complete. Its calibration
            stays if the new one is the same.
        embedder: The model.
        packed: The prepared set of the motions, if there is one.
        factory: A FAISS factory string; chosen by the number of motions when None.
        with_motions: Keep the motions in the index too.
        with_captions: Index the captions, too.

    Raises:
        InputError: The folder is something else, with_motions has no prepared set, or FAISS is missing or does not know
            the factory.
    """

    def __init__(
        self,
        folder: Path,
        embedder: JointEmbedding,
        packed: PackedMotions | None = None,
        *,
        factory: str | None = None,
        with_motions: bool = False,
        with_captions: bool = True,
    ) -> None:
        check_replaceable(folder)
        parse_factory(factory or "Flat", embedder.model.embedding)
        if with_motions and packed is None:
            raise InputError("with_motions needs a prepared set, whose motions can be copied; leave it out.")
        self.folder, self.embedder, self.packed, self.factory = folder, embedder, packed, factory
        self.with_motions, self.with_captions = with_motions, with_captions
        self._stack = ExitStack()

    def __enter__(self) -> "IndexWriter":
        rank, _ = processes()
        with self._stack as stack:
            made = stack.enter_context(atomic_path(self.folder)) if rank == 0 else None
            self._made = Path(from_first(made or ""))
            self._rows = None if self.packed is None else _Rows(self.packed)
            self._shard = ShardWriter(self._part("motions", rank))
            stack.callback(self._shard.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    def add(
        self,
        ids: Sequence[str],
        captions: Sequence[str],
        frames: Sequence[int],
        embeddings: Float[Tensor, "B E"],
        batch: int,
        process: int = 0,
    ) -> None:
        """Keep the embeddings of a batch.

        Args:
            ids: Names of the motions.
            captions: One for each motion, if there is no prepared set.
            frames: Their lengths, if there is no prepared set.
            embeddings: Of the motions.
            batch: Number of the batch in the order of the data.
            process: Number of this process, if several processes hold rows of the same batch.
        """
        order = [(batch * _ROWS + row) * _PROCESSES + process for row in range(len(ids))]
        items = [self._item(*row) for row in zip(ids, captions, frames, strict=True)]
        self._shard.add(embeddings, items, order)

    def finish(self, watch: Callable[[str, int, int | None], None] | None = None) -> None:
        """Merge what all processes kept, embed the captions, and write.

        Args:
            watch: As for `build_index`.

        Raises:
            InputError: No motion was embedded, or the factory does not fit.
        """
        self._shard.close()
        rank, world = processes()
        meet()
        motions = Shards([self._part("motions", each) for each in range(world)])
        captions = None
        if self.with_captions:
            if rank == 0:
                _write_captions(motions, self._part("captions"))
            meet()
            self._embed_captions(rank, watch)
            meet()
            captions = Shards([self._part("embedded", each) for each in range(world)]) if rank == 0 else None
        if rank == 0:
            skeleton = get_skeleton(self.embedder.skeleton)
            about = {"skeleton": skeleton.name, "fps": skeleton.fps}
            joints = self._joints() if self.with_motions else None
            if watch is not None:
                watch("index", 0, None)
            write_library(
                self._made, motions, captions, joints, about,
                fingerprint=self.embedder.fingerprint, factory=self.factory,
            )  # fmt: skip
            keep_calibration(self._made, self.folder)

    def _part(self, what: str, process: int = 0) -> Path:
        """A temporary folder beside the index."""
        return self._made.with_name(f"{what}-{process}")

    def _item(self, name: str, caption: str, frames: int) -> MotionItem:
        row = None if self._rows is None else self._rows.find(name)
        if self.packed is None or row is None:
            return MotionItem(name, (caption,), "", frames)
        captions = tuple(dict.fromkeys(self.packed.captions(row)))
        return MotionItem(name, captions, self.packed.kind(row), int(self.packed.clips["frames"][row]))

    def _embed_captions(self, rank: int, watch: Callable[[str, int, int | None], None] | None) -> None:
        """Embed this process's part of all different captions."""
        texts = PackedItems(self._part("captions"))
        writer = ShardWriter(self._part("embedded", rank))
        try:
            for start in share(range(0, len(texts), _CAPTIONS)):
                items = texts[start : start + _CAPTIONS]
                with torch.inference_mode():
                    embeddings = self.embedder.embed_captions([item.id for item in items])
                writer.add(embeddings, items, range(start, start + len(items)))
                if watch is not None:
                    watch("captions", start + len(items), len(texts))
        finally:
            writer.close()

    def _joints(self) -> Iterator[np.ndarray]:
        """The motions of the index, in the order of its items, which are written before."""
        packed, rows = self.packed, self._rows
        if packed is None or rows is None:
            return
        for item in PackedItems(self._made):
            row = rows.find(item.id)
            if row is None:
                raise InputError(f"{packed.folder} holds no motion {item.id!r} to keep; leave with_motions out.")
            features = torch.from_numpy(packed.motion(row).copy())
            yield features_to_joints(features, get_skeleton(packed.skeleton)).numpy()


class _Rows:
    """Finds the row of an id in a prepared set, in 12 bytes a motion.

    Args:
        packed: The prepared set.
    """

    def __init__(self, packed: PackedMotions) -> None:
        digests = name_digests(packed.id(row) for row in range(len(packed)))[:, 0]
        self._packed, self._order = packed, np.argsort(digests, kind="stable").astype(np.int32)
        self._digests = digests[self._order]

    def find(self, name: str) -> int | None:
        """The row of an id; None if there is no such motion."""
        digest = name_digests([name])[0, 0]
        low, high = (int(np.searchsorted(self._digests, digest, side)) for side in ("left", "right"))
        return next((row for row in self._order[low:high].tolist() if self._packed.id(row) == name), None)


def _write_captions(motions: Shards, folder: Path) -> None:
    """Write the different captions of all motions, in the order in which they come, as items."""
    every, kept = folder.with_name("every-caption"), folder
    every.mkdir()
    kept.mkdir()

    def captions() -> Iterator[str]:
        for record in motions.records():
            yield from (text for text in MotionItem.of(record).captions if text.strip())

    digests = name_digests(write_records((to_record(MotionItem(text)) for text in captions()), every))
    packed = PackedItems(every)
    for _ in write_records((packed.record(place) for place in first_places(digests).tolist()), kept):
        pass
