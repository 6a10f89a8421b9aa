"""The options of guidance on the command line, made from the fields of `GuidanceConfig`."""

import argparse
from typing import Any, Literal, get_args, get_origin

from realign.errors import InputError
from realign.guidance.config import GuidanceConfig, option_flag


def add_guidance_options(group: "argparse._ArgumentGroup", leave: tuple[str, ...] = (), many: bool = False) -> None:
    """Add one flag for each option; one that is not given stays None, so that a generator's own value holds.

    Args:
        group: Where they go.
        leave: Options to leave out.
        many: Take several values of each, for a grid.
    """
    defaults = GuidanceConfig()
    for name, each in GuidanceConfig.options().items():
        if name in leave:
            continue
        flag, told = option_flag(name), f"{each.metadata['help']} (default: {getattr(defaults, name)})"
        several: dict[str, Any] = {"dest": name, **({"nargs": "+"} if many else {})}
        if each.type is bool and not many:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, dest=name, help=told)
        elif each.type is bool or get_origin(each.type) is Literal:
            choices = ("true", "false") if each.type is bool else get_args(each.type)  # text, read with the other words
            group.add_argument(flag, choices=choices, help=told, **several)
        else:
            kind: Any = each.type
            group.add_argument(flag, type=kind, metavar="N" if kind is int else "X", help=told, **several)


def given_options(options: argparse.Namespace) -> dict[str, Any]:
    """The options of guidance that were given."""
    values = {name: getattr(options, name, None) for name in GuidanceConfig.options()}
    return {name: value for name, value in values.items() if value is not None}


def check_concern(given: dict[str, Any], methods: set[str]) -> None:
    """Refuse options that none of the requested methods reads.

    Raises:
        InputError: As said, with the first of them.
    """
    every = GuidanceConfig.options()
    for name in given:
        concerned = every[name].metadata["methods"] if name in every else ("reward", "best-of")  # reward and index
        if not methods & set(concerned):
            flag = option_flag(name) if name in every else f"--{name}"
            raise InputError(
                f"{flag} has no effect with --guidance {' or '.join(sorted(methods))}; add "
                f"--guidance {' or '.join(concerned)}, or leave it out."
            )
