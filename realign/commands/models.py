"""Options of commands that compute with models: which, on which set, how they sample, and where."""

import argparse
from typing import Any

from realign.commands.common import SAMPLERS, add_guidance_scale, add_threads, add_trust, local_path, local_set

_HUB = "ORG/NAME[@REVISION] on the Hub"
SAMPLING = ("steps", "guidance_scale", "scheduler")
"""Names of what `add_sampling` declares; None is the model's own."""


def add_model(parser: argparse.ArgumentParser, flag: str, default: str, what: str = "") -> None:
    """A model by its file, folder or name.

    Args:
        parser: Of the command.
        flag: The option.
        default: Name of the shipped model that is taken without it.
        what: Which model it is.
    """
    told = f"{what}: " if what else ""
    told += f"a .ckpt, a folder of weights, a shipped name or {_HUB} (default: {default})"
    parser.add_argument(flag, type=local_path, help=told)


def add_set(parser: argparse.ArgumentParser) -> None:
    """The prepared set that the command needs."""
    parser.add_argument(
        "--data", type=local_set, required=True, help=f"folder written by `realign prepare`, or {_HUB}"
    )  # fmt: skip


def add_sampling(group: Any) -> None:
    """Options of sampling; see `SAMPLING`."""
    group.add_argument("--steps", type=int, help="denoising steps (default: the model's)")
    add_guidance_scale(group)
    group.add_argument("--scheduler", choices=SAMPLERS, help="sampler (default: the model's)")


def add_computing(parser: argparse.ArgumentParser, shared: str | None = None) -> None:
    """Whether code of checkpoints may run, and what computes.

    Args:
        parser: Of the command.
        shared: What several devices share, such as "sample"; None computes on one.
    """
    add_trust(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: auto)")
    add_threads(parser)
    if shared is not None:
        parser.add_argument(
            "--devices", type=int, default=1, metavar="N", help=f"devices to {shared} on (default: 1)"
        )  # fmt: skip
