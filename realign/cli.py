"""The `realign` command: Lightning's fit, validate, test and predict beside the project's own commands.

Heavy modules are imported after the command is known, so that `realign --help` answers at once.
"""

import argparse
import os
import select
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from keyword import iskeyword
from types import ModuleType
from typing import TYPE_CHECKING, Any, TextIO

from realign.errors import explain, need, renamed

if TYPE_CHECKING:
    from realign.training import TrainingCLI

TRAINING = {
    "fit": "train the task of a configuration",
    "validate": "run its validation",
    "test": "run its test protocol",
    "predict": "write its predictions for the test split",
}
COMMANDS = (
    "prepare",
    "generate",
    "render",
    "index",
    "calibrate",
    "search",
    "evaluate",
    "sweep",
    "tune-guidance",
    "export",
    "import",
    "doctor",
    "demo",
)
OLD_NAMES = {"adopt": "import"}
"""Commands under names that work in this version only."""


def build(args: Sequence[str]) -> "TrainingCLI":
    """Build trainer, task and data from LightningCLI arguments without running them, for notebooks and scripts.

    Args:
        args: What follows the subcommand, for example ``["--config", "configs/tiny/generator_mdm.yaml"]``.

    Returns:
        An object with `trainer`, `model` and `datamodule`.

    Raises:
        InputError: When an option is unknown or its value does not fit.
    """
    from realign.training import TrainingCLI

    return TrainingCLI.from_args(args, run=False)


def parser() -> argparse.ArgumentParser:
    """The parser of the project's own commands; the four training ones are listed in its help."""
    make = import_module("realign.commands.parsing").CommandParser
    top: argparse.ArgumentParser = make(
        prog="realign", description=str(import_module("realign").__doc__).partition("\n")[0]
    )
    top.add_argument("--version", action="version", version=f"realign {import_module('realign').__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in TRAINING.items():
        commands.add_parser(name, help=f"{text} (realign {name} --config NAME)", add_help=False)
    for name in COMMANDS:
        _module(name).add_parser(commands)
    return top


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of one of the project's own commands, those of a configuration that it names included.

    Raises:
        InputError: A configuration is missing or does not fit, or an option does not exist or has a wrong value.
        SystemExit: Help or the version was asked for, and printed.
    """
    expand = getattr(_module(arguments[0]), "expand", None) if arguments and arguments[0] in COMMANDS else None
    return parser().parse_args(expand(arguments) if expand else arguments)


def _module(command: str) -> ModuleType:
    """The module of a command; `import` is a keyword of Python."""
    return import_module(f"realign.commands.{command.replace('-', '_')}{'_' * iskeyword(command)}")


def main(args: Sequence[str] | None = None) -> int:
    """Run one command line.

    Returns:
        0 when it worked, 2 with one sentence on standard error when the input was at fault; 1 when `doctor` found
        something broken.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a caption may hold what the terminal cannot show
    status = 0
    try:
        if arguments and arguments[0] in TRAINING:
            _train(arguments)
        else:
            with import_module("realign.commands.common").warnings_as_notes():
                if arguments and arguments[0] in OLD_NAMES:
                    old, arguments[0] = arguments[0], OLD_NAMES[arguments[0]]
                    renamed(f"realign {old}", f"realign {arguments[0]}")
                options = parse(arguments)
                module = _module(options.command)
                need(*getattr(module, "NEEDS", ()))
                getattr(module, "check", lambda options: None)(options)
                import_module("realign.commands.early").check(options)
                if getattr(options, "trust_code", False):
                    import_module("realign.own_code").search_working_folder()
                import_module("realign.commands.common").fetch_named(options)
                status = module.run(options) or 0
        sys.stdout.flush()
    except (KeyboardInterrupt, SystemExit) as error:
        signal = _stopped(error)
        if signal is None:
            raise
        print(f"realign: {'interrupted' if signal == 130 else 'stopped by a signal'}", file=sys.stderr)
        return signal
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _is_closed(sys.stdout):  # the reader of the output closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at the end
            return 141
        message = explain(error)
        if message is None:
            raise
        print(f"realign: {' '.join(message.split())}", file=sys.stderr)
        return 2
    return status


def _train(arguments: Sequence[str]) -> None:
    """Run a training command, and print the paths of its results."""
    from realign.commands.training import check_training

    check_training(arguments)
    import_module("realign.threads").wait_asleep()
    from realign.training import TrainingCLI

    if outcome := TrainingCLI.from_args(arguments, run=True).outcome():
        print(outcome)


def _stopped(error: BaseException) -> int | None:
    """The exit code of the signal that stopped a command, also if Lightning exits with its own code."""
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return 130
    return 143 if type(error).__name__ == "SIGTERMException" else None


def _is_closed(stream: TextIO) -> bool:
    """Whether a stream is a pipe that its reader closed."""
    if not hasattr(select, "poll"):
        return False  # Windows raises another error
    try:
        watch = select.poll()
        watch.register(stream.fileno(), 0)
        return any(event & select.POLLERR for _, event in watch.poll(0))
    except (OSError, ValueError):  # not a file of the system
        return False


def run() -> Any:
    """Entry point of the installed command."""
    sys.exit(main())


if __name__ == "__main__":
    run()
