"""LightningCLI as the project uses it: subclass mode for tasks and data, one-line errors."""

import pickle
import re
import sys
from collections.abc import Sequence
from typing import Any

from lightning import LightningDataModule
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from realign.configuration import compose_arguments
from realign.errors import InputError
from realign.precision import use_tensor_cores
from realign.tasks.base import Task


class OneLineParser(LightningArgumentParser):
    """A parser whose complaint is one sentence instead of a usage page."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Raise what jsonargparse would print, shortened to the part a person can act on."""
        raise InputError(_shorten(message)) from ex


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

    def instantiate_classes(self) -> None:
        """Build, and tell the task whom to trust."""
        super().instantiate_classes()
        self.model.trust_code = bool(self._get(self.config, "trust_code"))

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Load checkpoints, remote ones too, without executing what is pickled in them."""
        return super()._prepare_subcommand_kwargs(subcommand) | {"weights_only": True}

    def _run_subcommand(self, subcommand: str) -> None:
        """Run, and name a checkpoint that asks for code."""
        try:
            super()._run_subcommand(subcommand)
        except pickle.UnpicklingError as error:
            raise InputError(
                f"{self._get(self.config, 'ckpt_path')} is not a checkpoint of this project, or holds Python objects, "
                "which are never executed; give one written by `realign fit`."
            ) from error

    def _parse_ckpt_path(self) -> None:
        """Leave the options as they were given: Lightning lays those of the checkpoint over them without a word.

        A checkpoint that does not fit them is refused when it is loaded (`Task.on_load_checkpoint`).
        """

    def before_instantiate_classes(self) -> None:
        """Train at the speed of tensor cores; what only measures or predicts stays exact."""
        if self.subcommand in (None, "fit"):
            use_tensor_cores()


_NOISE = re.compile(
    r"^(Subtypes: .*|Errors:|Expected a <class 'NoneType'>|Given value( type)?: .*|usage: .*|tip: .*)$", re.IGNORECASE
)


def _shorten(message: str) -> str:
    """The part of a nested jsonargparse message that a person can act on, on one line."""
    lines = (line.strip(" -\t") for line in message.splitlines())
    told = " ".join(line for line in lines if line and not _NOISE.match(line))
    told = re.sub(r"Does not validate against any of the Union subtypes ", "", told)
    told = re.sub(r'Parser key "([\w.]+)": ', r"\1: ", told)
    return re.sub(r"\s+", " ", told)[:600]
