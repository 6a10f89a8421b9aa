"""A searchable index from `predict`."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from realign.batch import MotionTextBatch
from realign.data.store import PackedMotions
from realign.errors import InputError
from realign.inference.index_writer import IndexWriter
from realign.nn.embedder import JointEmbedding
from realign.tasks.embedding import MotionEmbeddings


class IndexBuilder(Callback):
    """Writes an index of the motions that `predict` goes through, and of all their different captions.

    Works with any number of processes on any strategy. The motions are in the order of the data; duplicates of a
    distributed sampler are dropped.

    Args:
        folder: The index's folder, which all processes must see; an index that is there is replaced.
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
        self._writer: IndexWriter | None = None
        self._open = ExitStack()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check everything before embeddings are computed.

        Raises:
            InputError: The task embeds nothing, or as `IndexWriter`.
        """
        if not isinstance(pl_module, JointEmbedding):
            raise InputError(
                f"A {type(pl_module).__name__} does not embed motions; build the index with a reward or a retriever."
            )
        packed = getattr(getattr(trainer, "datamodule", None), "packed", None)
        writer = IndexWriter(
            self.folder, pl_module, packed if isinstance(packed, PackedMotions) else None,
            factory=self.factory, with_motions=self.with_motions, with_captions=self.with_captions,
        )  # fmt: skip
        self._writer = self._open.enter_context(writer)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: MotionTextBatch, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Keep the embeddings: process r of W has rows r, r + W, ... of every global batch."""
        if isinstance(outputs, MotionEmbeddings) and self._writer is not None:
            told = outputs.ids, outputs.captions, outputs.frames.tolist()
            self._writer.add(*told, outputs.motion, batch_idx, trainer.global_rank)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write; raises what `IndexWriter.finish` does."""
        if self._writer is not None:
            with self._open:
                self._writer.finish()
            self._writer = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the embeddings that were kept."""
        self._open.__exit__(type(exception), exception, exception.__traceback__)
        self._writer = None
