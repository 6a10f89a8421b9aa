"""Writes predictions to files."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from realign.batch import MotionTextBatch
from realign.callbacks.gallery import log_folder
from realign.errors import InputError
from realign.files import atomic_path
from realign.tasks.base import Task
from realign.tasks.embedding import MotionEmbeddings


class PredictionWriter(Callback):
    """Writes predictions: motions as one .npy of joints a clip, embeddings as one .npz a process.

    Every process writes the clips that it predicts. The arrays of an .npz are ids, captions, frames, motion and text.

    Args:
        folder: Where to write; a new folder ``predictions`` beside the run's logs when None.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder
        self.written: Path | None = None
        self._embedded: list[MotionEmbeddings] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the folder, the same in all processes.

        Raises:
            InputError: The model is not a task whose predictions can be written.
        """
        if not isinstance(pl_module, Task):
            raise InputError(
                f"A {type(pl_module).__name__} is not a Task, whose predictions have a known form; {_REMEDY}"
            )
        self._embedded = []
        logs = log_folder(trainer)
        chosen = Path(self.folder) if self.folder else _free(logs / "predictions") if trainer.is_global_zero else None
        self.written = trainer.strategy.broadcast(chosen)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: MotionTextBatch, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Write the motions of a batch, or keep its embeddings.

        Raises:
            InputError: The outputs are neither.
        """
        if isinstance(outputs, MotionEmbeddings):
            self._embedded.append(outputs)
        elif (
            isinstance(outputs, Tensor) and isinstance(pl_module, Task) and self.written and len(outputs) == len(batch)
        ):
            for name, clip in zip(batch.ids, pl_module.clips(outputs, batch, "predicted"), strict=True):
                clip.save(self.written / f"{_file_name(name)}.npy")
        else:
            raise InputError(f"A {type(pl_module).__name__} predicts {type(outputs).__name__}, not motions; {_REMEDY}")

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the embeddings of this process."""
        if not self._embedded or self.written is None:
            return
        parts, self._embedded = self._embedded, []
        arrays: dict[str, Any] = {
            "ids": np.array([name for part in parts for name in part.ids]),
            "captions": np.array([caption for part in parts for caption in part.captions]),
            **{
                name: np.concatenate([getattr(part, name).numpy() for part in parts])
                for name in ("frames", "motion", "text")
            },
        }
        with atomic_path(self.written / f"embeddings-{trainer.global_rank}.npz") as path:
            np.savez(path, **arrays)


_REMEDY = "add a callback under trainer.callbacks that writes them, derived from lightning's BasePredictionWriter."


def writes_predictions(callback: Callback) -> bool:
    """Whether a callback uses predictions; those of Lightning itself, such as progress bars, only count them."""
    own = type(callback).__module__.startswith(("lightning.", "pytorch_lightning."))
    return not own and is_overridden("on_predict_batch_end", callback, Callback)


def _free(folder: Path) -> Path:
    """The folder's name, with a number if it exists: predictions of two runs are not mixed."""
    names = [folder, *(folder.with_name(f"{folder.name}-{number}") for number in range(1, 10_000))]
    return next(name for name in names if not name.exists())


def _file_name(identifier: str) -> str:
    """A clip's name as a file name; separators and a leading dot are escaped, as %2F."""
    return re.sub(r'^\.|[%/\\:*?"<>|\x00-\x1f]', lambda match: f"%{ord(match[0]):02X}", identifier)
