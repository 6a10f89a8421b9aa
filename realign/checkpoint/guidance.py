"""The guidance file beside a generator's weights, read as plain values."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from realign.checkpoint.saved import read_yaml
from realign.errors import InputError
from realign.file_names import GUIDANCE
from realign.hub import HubName, is_hub_name

_ON_HUB = "hub:"
PLACES = {"reward": "reward", "index": "reward_index", "known": None}
"""Names in ``guidance.yaml`` of folders, and which they are by default."""


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


def place_of(folder: Path, name: Any, what: str) -> Path | HubName:
    """What a name in ``guidance.yaml`` means: what lies beside the generator's folder, or ``hub:ORG/NAME[@REVISION]``.

    Raises:
        InputError: It is another place.
    """
    if isinstance(name, str) and name.startswith(_ON_HUB) and is_hub_name(name.removeprefix(_ON_HUB)):
        return HubName(name.removeprefix(_ON_HUB))
    home = folder.resolve().parent  # the folder may be "."
    if isinstance(name, str) and re.fullmatch(r"[^/\\:\0]+", name) and (home / name).resolve().parent == home:
        return home / name
    raise InputError(
        f"{GUIDANCE} names the {what} {name!r}, but only what lies beside the generator's folder, in {home}, is "
        f"taken, or a repository, {_ON_HUB}ORG/NAME; write one of these, or remove the line."
    )


def name_of(place: str | Path) -> str:
    """The name in ``guidance.yaml`` of a place that `place_of` gives."""
    return f"{_ON_HUB}{place}" if isinstance(place, HubName) else Path(place).name


def for_hub(folder: Path, given: Mapping[str, str | None]) -> dict[str, Any] | None:
    """The guidance of a generator's folder as it goes to the Hub, where nothing lies beside it.

    Args:
        folder: The folder.
        given: Repositories, ORG/NAME, of what it names, by `PLACES`; None where the guidance names one itself.

    Returns:
        The content of ``guidance.yaml``; None if there is none.

    Raises:
        InputError: A repository is not named, or the guidance cannot be read.
    """
    content = read_guidance(folder)
    if content is None:
        return None
    for what, default in PLACES.items():
        name, repository = content.get(what, default), given.get(what)
        if repository is not None and not is_hub_name(repository):
            raise InputError(f"--{what} {repository!r} does not name a repository on the Hub; write ORG/NAME.")
        if repository is None and name is None:
            continue
        place = HubName(repository) if repository is not None else place_of(folder, name, what)
        if not isinstance(place, HubName):
            raise InputError(
                f"{folder / GUIDANCE} names the {what} {place.name!r} beside the generator, where the Hub holds "
                f"nothing; name its repository with --{what} ORG/NAME, or leave it out with --without-guidance."
            )
        content[what] = name_of(place)
    return content
