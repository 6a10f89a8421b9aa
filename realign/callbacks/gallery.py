"""Rendered motions and pictures of callbacks, in files and in loggers."""

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
    """Write clips side by side as a file and as a strip of poses, and log both.

    Args:
        trainer: Knows the step and the loggers.
        folder: Where to write.
        tag: Name in loggers of the strip; the clip is called `tag` and ``_clip``.
        clips: The motions.
        suffix: Format of the file, as `save_motions` knows them.
    """
    moving = save_motions(folder / f"step={trainer.global_step:07d}{suffix}", clips)[0]
    strip = save_motions(folder / f"step={trainer.global_step:07d}.png", clips)[0]
    log_picture(trainer, tag, strip)
    log_clip(trainer, f"{tag}_clip", moving)


def log_picture(trainer: Trainer, tag: str, path: Path) -> None:
    """Log a picture to TensorBoard, and to loggers that have Lightning's `log_image`, such as W&B; rank 0 calls this.

    Args:
        trainer: Knows the step and the loggers.
        tag: Name of the picture.
        path: Its file, which other loggers leave to be found in the folder of the run.
    """
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(tag, np.asarray(_open(path)), trainer.global_step, dataformats="HWC")
        elif hasattr(logger, "log_image"):
            logger.log_image(tag, [str(path)], step=trainer.global_step)


def log_clip(trainer: Trainer, tag: str, path: Path) -> None:
    """Log a moving picture to TensorBoard (GIF), and to loggers with Lightning's `log_video` (GIF, MP4), such as W&B.

    Args:
        trainer: Knows the step and the loggers.
        tag: Name of the clip.
        path: Its file; nothing is logged for files of other formats.
    """
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger) and path.suffix == ".gif":
            logger.experiment.file_writer.add_summary(_animation(tag, path), trainer.global_step)
        elif hasattr(logger, "log_video") and path.suffix in (".gif", ".mp4"):
            logger.log_video(tag, [str(path)], step=trainer.global_step)


def _animation(tag: str, path: Path) -> Any:
    """A GIF as TensorBoard keeps it; `add_video` would encode frames again, by a package of its own."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    width, height = _open(path).size
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes())
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def _open(path: Path) -> Any:
    from PIL import Image

    return Image.open(path).convert("RGB")
