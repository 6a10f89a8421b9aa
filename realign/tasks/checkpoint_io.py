"""Training checkpoints that are written completely or not at all."""

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
    """Writes a checkpoint to a temporary file beside it, and renames that when it is complete.

    Lightning itself writes into the system's temporary folder. If that is another file system, the move is a copy, and
    a kill leaves part of a checkpoint under the final name. Remote files are written by Lightning.
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
        """Read a file, and remove remains of killed processes: the resumed run may be over and never write."""
        system, place = url_to_fs(str(path))
        if isinstance(system, LocalFileSystem):
            sweep(place)
        return super().load_checkpoint(path, *args, **options)


def use_atomic_checkpoints(trainer: Trainer) -> None:
    """Have a trainer save through `AtomicCheckpointIO`, unless it or its strategy has its own plugin."""
    holder: Any = trainer.strategy
    while isinstance(holder.checkpoint_io, _WrappingCheckpointIO):  # such as one that saves in a thread
        holder = holder.checkpoint_io
    if type(holder.checkpoint_io) is TorchCheckpointIO:
        holder._checkpoint_io = AtomicCheckpointIO()  # the property of a wrapper refuses a second one
