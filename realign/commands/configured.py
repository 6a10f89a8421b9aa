"""Options of a command from configuration files: ``--config NAME``, whose values hold unless a flag says otherwise."""

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from realign.configuration import merge, read_config
from realign.errors import InputError
from realign.spelling import suggestion

OPTION = "--config"
_FLAGS_ONLY = ("trust_code", "help", "config")
"""What a file does not decide."""


def add_config(parser: argparse.ArgumentParser, example: str) -> None:
    """Declare the option, which `expand` replaces before the command line is parsed."""
    parser.add_argument(
        OPTION, metavar="NAME", action="append",
        help=f"a file of these options, or one that comes with realign, such as {example}; flags win",
    )  # fmt: skip


def expand(words: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """Words of a command line with those of its configurations before them.

    Args:
        words: What follows the command.
        parser: Of the command.

    Returns:
        Words without ``--config``. What is given on the command line is left out of the configuration's.

    Raises:
        InputError: A configuration is missing, or holds an option that the command lacks or a value that does not fit.
    """
    names, own = _split(words, parser)
    if not names:
        return list(words)
    given = {action.dest for word in own if (action := _action(word, parser)) is not None}
    empty: dict[str, Any] = {}
    values = reduce(merge, map(read_config, names), empty)
    found: list[str] = []
    for name, value in values.items():
        action = _named(name, parser, names)
        if action.dest not in given and value is not None:
            found += _words(name, value, action)
    return [*found, *own]


def _split(words: Sequence[str], parser: argparse.ArgumentParser) -> tuple[list[str], list[str]]:
    """Names of configurations, and the other words."""
    names: list[str] = []
    own: list[str] = []
    waiting = iter(words)
    for word in waiting:
        action = _action(word, parser)
        if action is None or action.dest != "config":
            own.append(word)
            continue
        _, given, name = word.partition("=")
        name = name if given else next(waiting, "")
        if not name or name.startswith("--"):
            raise InputError(f"{OPTION} needs the name of a configuration, but {name or 'nothing'!r} follows; give it.")
        names.append(name)
    return names, own


def _action(word: str, parser: argparse.ArgumentParser) -> argparse.Action | None:
    """The option that a word names, in full or by its beginning."""
    flag, flags = word.partition("=")[0], parser._option_string_actions
    if flag in flags or not flag.startswith("--"):
        return flags.get(flag)
    near = {id(action): action for name, action in flags.items() if name.startswith(flag)}
    return next(iter(near.values())) if len(near) == 1 else None


def _named(name: Any, parser: argparse.ArgumentParser, configs: Sequence[str]) -> argparse.Action:
    known = {flag[2:].replace("-", "_"): action for flag, action in parser._option_string_actions.items()
             if flag.startswith("--") and action.dest not in _FLAGS_ONLY}  # fmt: skip
    key = str(name).replace("-", "_")
    if key not in known or key.startswith("no_"):
        near = [each for each in known if not each.startswith("no_")]
        where = f"The configuration {' and '.join(configs)}"
        if key in _FLAGS_ONLY:
            raise InputError(f"{where} sets {name}, which only the command line can; take it out.")
        remedy = suggestion(key, near, "take it out.")
        raise InputError(f"{where} sets {name!r}, which is not an option of {parser.prog}; {remedy}")
    return known[key]


def _words(name: str, value: Any, action: argparse.Action) -> list[str]:
    """The words that give an option a value."""
    flag = next(flag for flag in action.option_strings if flag.startswith("--"))
    many = isinstance(action, argparse._AppendAction) or action.nargs == "+"
    if isinstance(action, argparse.BooleanOptionalAction):
        if not isinstance(value, bool):
            raise InputError(f"{name}={value!r} of the configuration does not fit; give true or false.")
        return [flag if value else f"--no-{flag[2:]}"]
    if name.startswith("published"):
        return [f"{flag}={json.dumps(value)}"]
    if isinstance(value, list) and not many:
        raise InputError(f"{name}={value!r} of the configuration does not fit; give one value.")
    texts = [_text(each) for each in (value if isinstance(value, list) else [value])]
    return [flag, *texts] if action.nargs == "+" else [f"{flag}={text}" for text in texts]


def _text(value: Any) -> str:
    """A value as a word; names with values are those of a setting."""
    if isinstance(value, Mapping):
        return " ".join(f"{name}={_text(each)}" for name, each in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)
