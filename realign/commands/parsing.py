"""The parser of the project's own commands: errors in one sentence with a suggestion, help with examples."""

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from realign.commands import examples
from realign.errors import InputError
from realign.file_names import CONFIG, GUIDANCE
from realign.files import local_path, shipped_folder
from realign.guidance.config import GuidanceConfig
from realign.spelling import suggestion

_MODELS = ("--checkpoint", "--generator")
_PLAIN = {"int": "a whole number", "float": "a number"}


class CommandParser(argparse.ArgumentParser):
    """A parser that raises `InputError` instead of printing a usage page, and shows a model's own defaults."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._words: list[str] = []
        self._own: dict[str, Any] = {}
        super().__init__(*args, **options)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print.

        Raises:
            InputError: Always.
        """
        message = re.sub(r"^argument (?:-\w/)?([^:]+): ", r"\1: ", message)
        message = re.sub(
            r"invalid (int|float) value: (.*)", lambda m: f"{m[2]} is not {_PLAIN[m[1]]}; give one", message
        )
        message = re.sub(r"^the following arguments are required: (.*)", rf"{self.prog} needs \1", message)
        message = message if message.rstrip().endswith((".", "?")) else f"{message}; see `{self.prog} --help`."
        raise InputError(message)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse; unknown options are refused here, where those of the command are known."""
        self._words = list(args or ())
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            wrong = next((word for word in rest if word.startswith("-")), rest[0])
            flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
            remedy = suggestion(wrong.partition("=")[0], flags, f"`{self.prog} --help` lists the options.")
            raise InputError(f"{wrong!r} is not an option of {self.prog}; {remedy}")
        return found, rest

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        choices: Iterable[Any] | None = action.choices
        if choices is None or value in choices:
            return
        names = [str(each) for each in choices]
        if isinstance(action, argparse._SubParsersAction):
            remedy = suggestion(str(value), names, f"choose one of {', '.join(names)}.")
            raise InputError(f"{self.prog} has no command {str(value)!r}; {remedy}")
        remedy, known = suggestion(str(value), names, ""), f"one of {', '.join(names)}."
        raise argparse.ArgumentError(
            action,
            f"{value!r} is unknown; {remedy} Choose {known}" if remedy else f"{value!r} is unknown; choose {known}",
        )

    def _get_formatter(self) -> argparse.HelpFormatter:
        return _Help(self.prog, own=self._own)

    def format_help(self) -> str:
        """The help page, with examples at its end."""
        self._own = own_defaults(self._words)
        told = examples.told(self.prog.partition(" ")[2])
        return super().format_help() + (f"\n{told}" if told else "")


class _Help(argparse.HelpFormatter):
    """Adds the values of a model to the help of options whose defaults are the model's."""

    def __init__(self, prog: str, own: Mapping[str, Any]) -> None:
        super().__init__(prog)
        self._own = own

    def _expand_help(self, action: argparse.Action) -> str:
        text = super()._expand_help(action)
        value = self._own.get(action.dest)
        if value is None or f"default: {value})" in text:
            return text
        return re.sub(r"\(default: ([^()]*)\)$", rf"(default: \1; {value} of {self._own['']})", text)


def own_defaults(words: Sequence[str]) -> dict[str, Any]:
    """Options of sampling and guidance that the folder of a model sets, under "" its name; empty if they are unknown.

    Args:
        words: A command line, which may name the model; else it is the shipped one.
    """
    given = dict(zip(words, words[1:], strict=False)) | dict(word.split("=", 1) for word in words if "=" in word)
    named = next((given[flag] for flag in _MODELS if flag in given), None)
    folder = shipped_folder("generator") if named is None else local_path(named)
    if not isinstance(folder, Path):
        return {}
    config, guidance = _read(folder / CONFIG).get("init_args"), _read(folder / GUIDANCE)
    options = config if isinstance(config, dict) else {}
    own = {name: options.get(name) for name in ("steps", "guidance_scale")}
    own |= {"scheduler": options.get("sampling_scheduler"), "": folder.name}
    own |= {name: guidance[name] for name in GuidanceConfig.options() if name in guidance}
    return {name: value for name, value in own.items() if isinstance(value, (str, int, float))}


def _read(path: Path) -> dict[str, Any]:
    """A file of names with values; empty if it is missing or anything else."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
