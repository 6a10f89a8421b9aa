"""What commands share."""

import argparse
import gc
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from realign.errors import Renamed, renamed
from realign.files import model_path as model_path  # what options name models by

GUIDANCE = ("default", "none", "reward", "best-of")
"""The ways of `realign.pipeline.settings.GuidanceWay`, without importing it."""


def note(text: str) -> None:
    """Tell something besides the results: one line on standard error, so that they can be piped on."""
    print(f"realign: note: {text}", file=sys.stderr)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """The option that lets a checkpoint name classes of others."""
    parser.add_argument(
        "--trust-code", action="store_true",
        help="let checkpoints name classes outside realign, whose code then runs here (default: they are refused)",
    )  # fmt: skip


@contextmanager
def loading() -> Iterator[None]:
    """Import and load within this: the many lasting objects are not searched for garbage, a fifth of the time."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


@contextmanager
def renamed_as_notes() -> Iterator[None]:
    """Tell on standard error, as notes, what was called by an old name within this."""
    with warnings.catch_warnings():
        show, told = warnings.showwarning, set()

        def tell(message: Warning | str, category: type[Warning], *about: Any, **more: Any) -> None:
            if issubclass(category, Renamed):
                if str(message) not in told:
                    note(str(message))
                told.add(str(message))
            else:
                show(message, category, *about, **more)

        warnings.showwarning = tell
        warnings.simplefilter("always", Renamed)
        yield


class OldName(argparse.Action):
    """An option under its old name: does what the new one does, whose name is `metavar`, and says so."""

    def __init__(self, option_strings: list[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, **options, help=argparse.SUPPRESS)

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        """Set the value and tell."""
        renamed(str(option_string), f"--{self.dest.replace('_', '-')}")
        setattr(namespace, self.dest, values)


def add_guidance_scale(parser: Any) -> None:
    """The scale of classifier-free guidance, with its old name."""
    parser.add_argument(
        "--guidance-scale", type=float, metavar="W", help="of classifier-free guidance (default: the model's)"
    )
    parser.add_argument("--cfg", dest="guidance_scale", type=float, action=OldName)
