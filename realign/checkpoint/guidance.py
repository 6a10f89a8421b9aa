"""The guidance file beside a generator's weights, read as plain values."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from realign.checkpoint.saved import read_yaml
from realign.errors import InputError
from realign.file_names import GUIDANCE


def read_guidance(folder: Path) -> dict[str, Any] | None:
    """Names and plain values of ``guidance.yaml`` in the folder of a generator; None where there is none.

    Raises:
        InputError: It cannot be read, or holds more than plain values.
    """
    path = folder / GUIDANCE
    if not path.is_file():
        return None
    found: dict[str, Any] = {}
    try:
        content = dict(read_yaml(path))
    except ValueError as error:
        raise InputError(f"{path} does not describe a guidance ({error}); correct or remove it.") from error
    options = content.pop("options", {})  # where the first version kept those of the gradient
    for part in (content, options):
        if not isinstance(part, Mapping):
            raise InputError(f"{path} does not describe a guidance (options holds no names); correct or remove it.")
        for name, value in part.items():
            if not (isinstance(name, str) and isinstance(value, (str, int, float, NoneType))):
                raise InputError(
                    f"{path} does not describe a guidance ({name!r} is not a plain value); correct or remove it."
                )
            found[name] = value
    return found


def beside(folder: Path, name: Any, what: str) -> Path:
    """The file or folder of a name beside a generator's folder; other places are refused.

    Raises:
        InputError: It lies elsewhere.
    """
    home = folder.resolve().parent  # the folder may be "."
    if isinstance(name, str) and re.fullmatch(r"[^/\\:\0]+", name) and (home / name).resolve().parent == home:
        return home / name
    raise InputError(
        f"{GUIDANCE} names the {what} {name!r}, but only what lies beside the generator's folder, in {home}, is "
        "taken; put it there and write its name alone, or remove the line."
    )
