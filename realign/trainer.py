"""A Lightning trainer that keeps the weights of earlier runs, and checks before a run."""

import math
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Literal

from lightning import Callback, LightningModule, Trainer
from lightning.fabric.connector import _PRECISION_INPUT
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from realign.checkpoint.card import usage
from realign.errors import InputError
from realign.files import atomic_path
from realign.launcher import launched
from realign.own_code import KNOWN_PACKAGES, classes_in
from realign.precision import training_precision


class RunTrainer(Trainer):
    """A trainer that writes no checkpoint over one of an earlier run, and reads the loss only where loggers do.

    Args:
        accelerator: Device to train on.
        precision: One of Lightning's, or auto: bf16-mixed on GPUs that support it, 32-true elsewhere.
        options: Options of Lightning's trainer.
    """

    def __init__(
        self,
        *,
        accelerator: str | Accelerator = "auto",
        precision: _PRECISION_INPUT | Literal["auto"] | None = None,
        **options: Any,
    ) -> None:
        if precision == "auto":
            precision = training_precision(accelerator)
            rank_zero_info(f"Precision: {precision}")
        super().__init__(accelerator=accelerator, precision=precision, **options)
        self._loss = (0, math.nan)  # step, and the training loss that was read there

    @property
    def progress_bar_metrics(self) -> Any:
        """What the bar shows, and the training loss of the last step that was logged: to read it waits for a device."""
        shown, logged, step = super().progress_bar_metrics, self.logged_metrics, self.global_step
        every: int = self.log_every_n_steps  # type: ignore[attr-defined]
        if step % every == 0 and step > self._loss[0] and _LOSS in logged:
            self._loss = step, float(logged[_LOSS])
        return {_LOSS: self._loss[1], **shown} if self._loss[0] else shown

    @property
    def log_dir(self) -> str | None:
        """The folder of the run; where a logger keeps all runs in one folder, a folder in it by name and version."""
        folder, logger = super().log_dir, self.logger
        if folder is None or logger is None or isinstance(logger, TensorBoardLogger | CSVLogger):
            return folder
        version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
        return self.strategy.broadcast(os.path.join(folder, str(logger.name), version))  # as Lightning's checkpoints

    def save_checkpoint(self, filepath: str | Path, *args: Any, **options: Any) -> None:
        """Write a checkpoint; a checkpoint of an earlier run with its name is renamed.

        A run that continues from a checkpoint (`ckpt_path`) owns those beside it.
        """
        written: set[Path] = self.__dict__.setdefault("_written", set())
        path = Path(filepath)
        if self.is_global_zero and path not in written and path.is_file() and not _continues(self.ckpt_path, path):
            kept = next(each for each in _earlier_names(path) if not each.exists())
            path.rename(kept)
            rank_zero_info(f"{path} of an earlier run is now {kept}; --ckpt_path continues it.")
        written.add(path)
        super().save_checkpoint(filepath, *args, **options)


def _earlier_names(path: Path) -> Iterator[Path]:
    return (path.with_name(f"{path.stem}-earlier-{number}{path.suffix}") for number in count(1))


def _continues(start: str | Path | None, path: Path) -> bool:
    """Whether a run that started from a checkpoint is the one that wrote the checkpoint at `path`."""
    if start is None or re.search(r"-earlier-\d+$", Path(start).stem):
        return False
    requeued = Path(start).name.startswith("hpc_ckpt")  # by SLURM, in a folder of its own
    return requeued or Path(start).resolve().parent == path.resolve().parent


class LeaveTogether(Callback):
    """Ends each of several training processes at once when SIGTERM comes, with 143, as after a kill.

    Lightning tells the others by a broadcast from within the step that the signal interrupts. They are in other steps,
    and all wait for each other until they are killed.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signal over from Lightning, which gives it back at the end."""
        if trainer.world_size == 1 or threading.current_thread() is not threading.main_thread():
            return

        def leave(number: int, frame: Any) -> None:
            launcher = trainer.strategy.launcher
            if launcher is not None:
                launcher.kill(number)  # type: ignore[attr-defined]
            sys.stderr.write("realign: stopped by a signal\n")
            sys.stderr.flush()
            os._exit(128 + number)

        signal.signal(signal.SIGTERM, leave)


class SaveConfig(SaveConfigCallback):
    """Writes the configuration of a run beside its logs, completely, and never over a file of the user."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the configuration.

        Raises:
            InputError: A file of that name was not written by this callback.
        """
        folder = trainer.log_dir or trainer.default_root_dir
        self.save_to_log_dir = "://" in str(folder)  # Lightning writes where a kill leaves part of a local file
        self._path = path = Path(folder, self.config_filename)
        if path.is_file() and (head := path.read_bytes()) and not head.startswith(b"# lightning.pytorch=="):
            raise InputError(
                f"The run would write its configuration over {path}; name another folder with "
                "--trainer.default_root_dir, or use a logger."
            )
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write a local file; the first process calls this."""
        if not self.save_to_log_dir:
            with atomic_path(self._path) as temporary:
                self.parser.save(self.config, str(temporary), skip_none=False, multifile=self.multifile)


def check_numbers(options: Any) -> None:
    """Refuse numbers that Lightning accepts, and then divides by, loops on or ignores.

    Args:
        options: Options of the trainer from the configuration and the command line.

    Raises:
        InputError: A number is refused; the message names the option.
    """
    for name, least in _LEAST.items():
        value = options.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value < least:
            raise InputError(f"--trainer.{name} {value} is too small; give at least {least}.")
    if options.get("val_check_interval") == 0:
        raise InputError("--trainer.val_check_interval 0 never ends; --trainer.limit_val_batches 0 stops validation.")


def join_launcher(options: Any, environment: Mapping[str, str] = os.environ) -> None:
    """Let the trainer count the processes that torchrun or srun started, unless their number is given.

    Used if results do not depend on their number: for `predict`, and for data with a global batch. With a batch per
    process, the number must be given.

    Args:
        options: Options of the trainer, which are changed.
        environment: Variables of the process.
    """
    joined = launched(environment)
    if joined is not None and options.get("devices") in ("auto", 1) and options.get("num_nodes") == 1:
        options.devices, options.num_nodes = joined.local_world, joined.nodes


def states_global_batch(data: Any) -> bool:
    """Whether the options of a data module set the global batch size."""
    return bool(data and (data.get("init_args") or {}).get("global_batch_size"))


def outcome(trainer: Any) -> str:
    """Lines with the checkpoints of a finished training, and a command that uses the best of them."""
    found: dict[str, str] = {}
    for each in trainer.checkpoint_callbacks:
        if isinstance(each, ModelCheckpoint):
            best = each.best_model_score
            score = "" if each.monitor is None or best is None else f" ({each.monitor} {float(best):.4g})"
            found |= {each.last_model_path: "", each.best_model_path: score}
    paths = {os.path.relpath(path): score for path, score in found.items() if path and Path(path).exists()}
    if not paths:
        return "No weights were written: no ModelCheckpoint of the configuration saved any."
    told = f"Weights: {', '.join(f'{path}{score}' for path, score in paths.items())}"
    chosen = next((path for path, score in paths.items() if score), next(iter(paths)))
    use = usage(type(trainer.lightning_module), shlex.quote(chosen))
    own = any(not name.startswith(KNOWN_PACKAGES) for _, name in classes_in(_plain(trainer.lightning_module.hparams)))
    return told if use is None else f"{told}\nTo use them: {use}{' --trust-code' if own else ''}"


def _plain(options: Any) -> Any:
    """Hyper-parameters as names with values, the class of the task included."""
    return {"class_path": options.get("_class_path"), "init_args": dict(options)}


_LOSS = "train/loss"
_LEAST = {
    "accumulate_grad_batches": 1, "check_val_every_n_epoch": 1, "gradient_clip_val": 0, "log_every_n_steps": 0,
    "num_nodes": 1, "num_sanity_val_steps": -1, "val_check_interval": 0,
}  # fmt: skip
