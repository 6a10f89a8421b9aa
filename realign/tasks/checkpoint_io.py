"""Training checkpoints that are complete or not there."""

from pathlib import Path
from typing import Any

import torch
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from lightning import Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.plugins.io.wrapper import _WrappingCheckpointIO

from realign.files import atomic_path, sweep


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it when all of it is on the disk.

    Lightning's own writes into the system's folder of temporary files: where that is another file system, the move from
    there is a copy, and a kill leaves part of a checkpoint under the final name. Only local files are concerned.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a file, replacing one that is there."""
        system, place = url_to_fs(str(path))
        if storage_options is not None or not isinstance(system, LocalFileSystem):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with atomic_path(place) as temporary, open(temporary, "wb") as file:
            torch.save(checkpoint, file)

    def load_checkpoint(self, path: str | Path, *args: Any, **options: Any) -> dict[str, Any]:
        """Read a file; a run that resumes may be over, so that it would write nothing and leave remains of the last."""
        system, place = url_to_fs(str(path))
        if isinstance(system, LocalFileSystem):
            sweep(place)
        return super().load_checkpoint(path, *args, **options)


def use_atomic_checkpoints(trainer: Trainer) -> None:
    """Have a trainer save through `AtomicCheckpointIO`, unless it or its strategy saves in a way of its own."""
    holder: Any = trainer.strategy
    while isinstance(holder.checkpoint_io, _WrappingCheckpointIO):  # such as one that saves in a thread
        holder = holder.checkpoint_io
    if type(holder.checkpoint_io) is TorchCheckpointIO:
        holder._checkpoint_io = AtomicCheckpointIO()  # a wrapper's property refuses a second one
