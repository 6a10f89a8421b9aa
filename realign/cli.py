"""The `realign` command: Lightning's fit, validate, test and predict beside the project's own commands.

Nothing heavy is imported before a command is known, so that `realign --help` answers at once.
"""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from realign.errors import InputError

if TYPE_CHECKING:
    from realign.training import TrainingCLI

TRAINING = {
    "fit": "train the task of a configuration",
    "validate": "run its validation",
    "test": "run its test protocol",
    "predict": "run its predictions over a dataset",
}
COMMANDS = ("prepare", "generate", "render", "index", "search", "evaluate", "sweep", "export", "adopt")


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
    top = argparse.ArgumentParser(prog="realign", description=import_module("realign").__doc__)
    top.add_argument("--version", action="version", version=f"realign {import_module('realign').__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in TRAINING.items():
        commands.add_parser(name, help=f"{text} (LightningCLI: realign {name} --config FILE)", add_help=False)
    for name in COMMANDS:
        import_module(f"realign.commands.{name}").add_parser(commands)
    return top


def main(args: Sequence[str] | None = None) -> int:
    """Run one command line; 0 when it worked, 2 with one sentence on standard error when the input was at fault."""
    arguments = list(sys.argv[1:] if args is None else args)
    try:
        if arguments and arguments[0] in TRAINING:
            from realign.training import TrainingCLI

            TrainingCLI.from_args(arguments, run=True)
        else:
            options = parser().parse_args(arguments)
            import_module(f"realign.commands.{options.command}").run(options)
    except KeyboardInterrupt:
        print("realign: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        print(f"realign: {' '.join(sentence.split())}", file=sys.stderr)
        return 2
    return 0


def _sentence(error: BaseException | None) -> str | None:
    """What to tell about an error that a person can correct, also where a library wrapped it; None for a defect."""
    while error is not None:
        if isinstance(error, InputError):
            return str(error)
        if isinstance(error, OSError) and error.errno is not None:
            return _explain(error)
        if os.strerror(errno.ENOSPC) in str(error):  # libraries that write weights raise errors of their own
            return _explain(OSError(errno.ENOSPC, ""))
        error = error.__cause__ or error.__context__
    return None


def _explain(error: OSError) -> str:
    place = f" {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"The disk is full while writing{place}; free some space or choose another output place."
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"No permission for{place or ' that file'}; choose a place that you may write to."
    if error.errno == errno.ENOENT:
        return f"There is no file or folder{place}; check the path."
    return f"{error.strerror or error}{':' + place if place else ''}."


def run() -> Any:
    """Entry point of the installed command."""
    sys.exit(main())


if __name__ == "__main__":
    run()
