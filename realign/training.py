"""LightningCLI in subclass mode for tasks and data, with one-line errors."""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from realign.errors import InputError, explain, optional_packages

with optional_packages():
    from lightning import Callback, LightningDataModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from realign.callbacks.prediction_writer import PredictionWriter, writes_predictions
from realign.checkpoint.saved import read_saved
from realign.commands import examples
from realign.configuration import compose_arguments
from realign.data.datamodule import MotionDataModule
from realign.files import is_exported
from realign.launcher import check_processes
from realign.library_errors import reads_checkpoint, shorten
from realign.nn.compiled import compile_networks
from realign.precision import use_tensor_cores
from realign.tasks.base import Task
from realign.tasks.checkpoint_io import use_atomic_checkpoints
from realign.threads import use_threads
from realign.trainer import (
    LeaveTogether,
    RunTrainer,
    SaveConfig,
    check_numbers,
    join_launcher,
    outcome,
    states_global_batch,
)


class OneLineParser(LightningArgumentParser):
    """A parser whose errors are one sentence instead of a usage page."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Raise what jsonargparse would print, shortened to the part that a user can act on."""
        raise InputError(shorten(message)) from ex

    def format_help(self, *args: Any, **options: Any) -> str:
        """The help page, with examples at its end."""
        words = sys.argv[1:2]
        return f"{super().format_help(*args, **options)}\n{examples.told(words[0] if words else '')}"


class TrainingCLI(LightningCLI):
    """fit, validate, test and predict over any `Task` and any LightningDataModule named by `class_path`."""

    @classmethod
    def from_args(cls, args: Sequence[str], run: bool) -> "TrainingCLI":
        """Parse, build and (with `run`) execute one training command line.

        Args:
            args: Command-line words; with `run` the first is fit, validate, test or predict. A ``--config`` may name a
                configuration that comes with the package (`realign.configuration`).
            run: Run the trainer too.

        Raises:
            InputError: For an unknown option, a class that does not fit, or a missing file.
        """
        args = compose_arguments(args)
        before = sys.argv
        sys.argv = [before[0], *args]  # Lightning warns when both sys.argv and args are given
        try:
            return cls(
                Task,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                seed_everything_default=0,
                parser_class=OneLineParser,
                trainer_class=RunTrainer,
                save_config_callback=SaveConfig,
                save_config_kwargs={"overwrite": True},
                run=run,
            )
        finally:
            sys.argv = before

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Options beside those of trainer, model and data."""
        parser.add_argument(
            "--trust_code", "--trust-code", action="store_true",
            help="let checkpoints that a run starts from, or is guided by, name classes outside realign",
        )  # fmt: skip
        parser.add_argument("--compile", action="store_true", help="compile the networks by torch.compile")
        parser.add_argument(
            "--threads", type=int | None, default=None,
            help="threads that compute on the CPU in each process (default: OMP_NUM_THREADS, else its cores)",
        )  # fmt: skip

    def instantiate_classes(self) -> None:
        """Build, pass trust_code to the task, and compile its networks if asked to."""
        super().instantiate_classes()
        if self._get(self.config, "compile"):
            compile_networks(self.model)
        self.model.trust_code = bool(self._get(self.config, "trust_code"))

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Load checkpoints, remote ones too, without executing what is pickled in them, and folders of weights."""
        options = super()._prepare_subcommand_kwargs(subcommand) | {"weights_only": True}
        path = options.get("ckpt_path")
        if subcommand != "fit" and path and is_exported(Path(path)):
            self.model.exported = read_saved(path, self.model.trust_code)
            options["ckpt_path"] = None
        return options

    def _run_subcommand(self, subcommand: str) -> None:
        """Run; refuse a missing or unreadable checkpoint, where Lightning would continue with random weights."""
        with warnings.catch_warnings():
            if subcommand != "fit":  # whose first start may find no last checkpoint
                warnings.filterwarnings("error", ".*there is no last checkpoint available")
            try:
                super()._run_subcommand(subcommand)
            except Exception as error:
                if explain(error) is None and reads_checkpoint(error):
                    raise InputError(
                        f"{self._get(self.config, 'ckpt_path')} is not a checkpoint of this project, or damaged, or "
                        "holds Python objects, which are never executed; give one that `realign fit` wrote."
                    ) from error
                raise

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The command that was asked for alone: to make the parsers of all takes as long as the rest of the start."""
        every = LightningCLI.subcommands()
        return {name: skipped for name, skipped in every.items() if name in sys.argv[1:2]} or every

    def _parse_ckpt_path(self) -> None:
        """Leave the options as they were given: Lightning would silently lay those of the checkpoint over them.

        A checkpoint that does not fit them is refused when it is loaded (`Task.on_load_checkpoint`).
        """

    def instantiate_trainer(self, **options: Any) -> Trainer:
        """The trainer; a kill at any moment leaves its checkpoints whole."""
        trainer = super().instantiate_trainer(**options)
        use_atomic_checkpoints(trainer)
        trainer.callbacks.append(LeaveTogether())  # type: ignore[attr-defined]
        return trainer

    def before_instantiate_classes(self) -> None:
        """Train at the speed of tensor cores; what only measures or predicts stays exact.

        Raises:
            InputError: A number of the trainer's is too small, which Lightning takes and then divides by or loops on.
        """
        if self.subcommand in (None, "fit"):
            use_tensor_cores()
        options = self.config if self.subcommand is None else self.config[self.subcommand]
        if self.subcommand == "predict" or (self.subcommand and states_global_batch(options.data)):
            join_launcher(options.trainer)
        check_numbers(options.trainer)
        if self.subcommand == "predict" and options.return_predictions is None:
            options.return_predictions = False  # they are not read, and would fill the memory

    def after_instantiate_classes(self) -> None:
        """Write predictions where the configuration has nothing that does, and count processes.

        Raises:
            InputError: The launcher started another number of processes than the trainer counts, or they cannot share
                the global batch.
        """
        if self.subcommand is None:
            return
        use_threads(self._get(self.config, "threads"), processes=self.trainer.num_devices)
        count = self.trainer.num_devices * self.trainer.num_nodes
        check_processes(count)
        if self.subcommand != "predict" and isinstance(self.datamodule, MotionDataModule):
            self.datamodule.process_batch(count)  # refused before any process is started
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        if self.subcommand == "predict" and not any(map(writes_predictions, callbacks)):
            callbacks.append(PredictionWriter())

    def outcome(self) -> str:
        """The paths of a finished command's results; empty for other commands and in all processes except the first."""
        if not self.trainer.is_global_zero:
            return ""
        if self.subcommand == "predict":
            callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
            written = [each.written for each in callbacks if isinstance(each, PredictionWriter)]
            return "\n".join(f"Predictions: {folder}" for folder in written if folder is not None)
        return outcome(self.trainer) if self.subcommand == "fit" else ""
