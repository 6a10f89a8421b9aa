"""Rendered motions of callbacks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn

from realign.motion.clip import MotionClip
from realign.render.save import save_motions


def log_folder(trainer: Trainer) -> Path:
    """The folder of the run. Every process must call this, since Lightning broadcasts the answer."""
    return Path(trainer.log_dir or trainer.default_root_dir)


def is_due(trainer: Trainer, every_n_epochs: int) -> bool:
    """Whether to render now: after every n-th epoch while training, as Lightning counts for validation; else always.

    Nothing is rendered in the sanity check before training.
    """
    fitting = trainer.state.fn == TrainerFn.FITTING
    return not trainer.sanity_checking and (not fitting or (trainer.current_epoch + 1) % every_n_epochs == 0)


def show(trainer: Trainer, folder: Path, tag: str, clips: Sequence[MotionClip], suffix: str) -> None:
    """Write clips side by side as a file and as a strip of poses, which is logged to TensorBoard, too.

    Args:
        trainer: Knows the step and the loggers.
        folder: Where to write.
        tag: Name of the picture in TensorBoard.
        clips: The motions.
        suffix: Format of the file, as `save_motions` knows them.
    """
    save_motions(folder / f"step={trainer.global_step:07d}{suffix}", clips)
    strip = save_motions(folder / f"step={trainer.global_step:07d}.png", clips)[0]
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(tag, np.asarray(_open(strip)), trainer.global_step, dataformats="HWC")


def _open(path: Path) -> Any:
    from PIL import Image

    return Image.open(path).convert("RGB")
