"""A searchable index out of `predict`: every process embeds its share, one merges and writes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch import distributed

from realign.batch import MotionTextBatch
from realign.data.store import PackedMotions
from realign.errors import InputError
from realign.index.engine import parse_factory
from realign.index.items import MotionItem
from realign.index.library import write_library
from realign.index.motion_index import MotionIndex
from realign.index.storage import check_replaceable
from realign.motion.features import features_to_joints
from realign.motion.skeleton import get_skeleton
from realign.nn.embedder import JointEmbedding
from realign.tasks.embedding import MotionEmbeddings

Place = tuple[int, int, int]  # batch, row, process


@dataclass
class _Shard:
    """What one process embedded."""

    places: list[Place] = field(default_factory=list)
    items: list[MotionItem] = field(default_factory=list)
    motions: list[np.ndarray] = field(default_factory=list)
    captions: dict[str, np.ndarray] = field(default_factory=dict)


class IndexBuilder(Callback):
    """Writes an index of the motions that `predict` goes through, and of all their different captions.

    Works with any number of processes on any strategy; the index does not depend on it. The motions stand in the order
    of the data; one that a sampler serves twice is taken once.

    Args:
        folder: The index's folder; an index that is there is replaced.
        factory: A FAISS factory string; chosen by the number of motions when None.
        with_motions: Keep the motions in the index too, so that hits can be drawn without the prepared set; about 45
            bytes a frame.
        with_captions: Index the captions, too, so that motions can be described by them.
    """

    def __init__(
        self, folder: str, factory: str | None = None, with_motions: bool = False, with_captions: bool = True
    ) -> None:
        self.folder, self.factory = Path(folder), factory
        self.with_motions, self.with_captions = with_motions, with_captions
        self._packed: PackedMotions | None = None
        self._rows: dict[str, int] = {}
        self._shard = _Shard()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what cannot end well before anything is computed.

        Raises:
            InputError: The folder is something else, the task embeds nothing, its motions are not to be had, or FAISS
                is missing or does not know the factory.
        """
        if not isinstance(pl_module, JointEmbedding):
            raise InputError(
                f"A {type(pl_module).__name__} embeds no motions; build the index with a reward model or retriever."
            )
        if trainer.is_global_zero:
            check_replaceable(self.folder)
            parse_factory(self.factory or "Flat", pl_module.model.embedding)
        packed = getattr(getattr(trainer, "datamodule", None), "packed", None)
        self._packed = packed if isinstance(packed, PackedMotions) else None
        if self.with_motions and self._packed is None:
            raise InputError("with_motions needs a prepared set, whose motions can be copied; leave it out.")
        if self._packed is not None:
            self._rows = {self._packed.id(row): row for row in range(len(self._packed))}
        self._shard = _Shard()

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: MotionTextBatch, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Keep the embeddings, and embed the captions beyond the first of each motion."""
        if not isinstance(outputs, MotionEmbeddings) or not isinstance(pl_module, JointEmbedding):
            return
        shard = self._shard
        first = len(shard.items)
        rows = zip(outputs.ids, outputs.captions, outputs.frames.tolist(), strict=True)
        shard.items += [self._item(*row) for row in rows]
        shard.motions += list(outputs.motion.numpy())
        shard.places += [(batch_idx, row, trainer.global_rank) for row in range(len(outputs.ids))]
        if not self.with_captions:
            return
        shard.captions.update(zip(outputs.captions, outputs.text.numpy(), strict=True))
        texts = dict.fromkeys(text for item in shard.items[first:] for text in item.captions if text.strip())
        new = [text for text in texts if text not in shard.captions]
        for start in range(0, len(new), 256):
            part = new[start : start + 256]
            shard.captions.update(zip(part, pl_module.embed_captions(part).float().cpu().numpy(), strict=True))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merge the shares on the first process and write.

        Raises:
            InputError: An embedding holds NaN, the factory does not fit, or the folder cannot be replaced.
        """
        shards = _gather(self._shard)
        self._shard = _Shard()
        if shards is None or not isinstance(pl_module, JointEmbedding):
            return
        items, motions = _in_order(shards)
        index = MotionIndex.build(np.stack(motions), items, fingerprint=pl_module.fingerprint, factory=self.factory)
        embedded = {text: vector for shard in shards for text, vector in shard.captions.items()}
        texts = dict.fromkeys(text for item in items for text in item.captions if text in embedded)
        skeleton = get_skeleton(pl_module.skeleton)
        about = {"skeleton": skeleton.name, "fps": skeleton.fps}
        joints = self._joints(items) if self.with_motions else None
        write_library(self.folder, index, {text: embedded[text] for text in texts}, joints, about)

    def _item(self, name: str, caption: str, frames: int) -> MotionItem:
        if self._packed is None or name not in self._rows:
            return MotionItem(name, (caption,), "", frames)
        packed, row = self._packed, self._rows[name]
        captions = tuple(dict.fromkeys(packed.captions(row)))
        return MotionItem(name, captions, packed.kind(row), int(packed.clips["frames"][row]))

    def _joints(self, items: list[MotionItem]) -> Iterator[np.ndarray]:
        packed = self._packed
        if packed is None:
            return
        for item in items:
            features = torch.from_numpy(packed.motion(self._rows[item.id]).copy())
            yield features_to_joints(features, get_skeleton(packed.skeleton)).numpy()


def _gather(shard: _Shard) -> list[_Shard] | None:
    """The shares of all processes on the first one; None on the others."""
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return [shard]
    first = distributed.get_rank() == 0
    shards: list[Any] | None = [None] * distributed.get_world_size() if first else None
    distributed.gather_object(shard, shards, dst=0)
    return shards


def _in_order(shards: list[_Shard]) -> tuple[list[MotionItem], list[np.ndarray]]:
    """Motions in the order of the data: process r of W takes rows r, r + W, ... of every global batch."""
    entries = sorted(
        (
            (place, item, motion)
            for shard in shards
            for place, item, motion in zip(shard.places, shard.items, shard.motions, strict=True)
        ),
        key=lambda entry: entry[0],
    )
    once: dict[str, tuple[MotionItem, np.ndarray]] = {}
    for _, item, motion in entries:
        once.setdefault(item.id, (item, motion))
    if not once:
        raise InputError("No motion was embedded, so there is nothing to index; choose a split that holds some.")
    return [item for item, _ in once.values()], [motion for _, motion in once.values()]
