"""The guidance that lies beside a generator's weights."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import NoneType
from typing import Any

from realign.checkpoint.saved import GUIDANCE, read_yaml
from realign.diffusion.guidance import DEFAULT_OPTIONS, GuidanceOptions
from realign.errors import InputError


@dataclass(frozen=True)
class DefaultGuidance:
    """How a generator is guided where nobody says otherwise; `guidance.yaml` beside its weights holds these fields.

    Attributes:
        reward: Name of the reward's folder, which lies beside the generator's.
        index: Name of the folder of an index that this reward made, beside them.
        mu: Weight of the cosine to the caption.
        eta: Weight of the cosine to the anchor.
        anchors: Motions that make up an anchor.
        temperature: Of the softmax over several.
        through_decoder: Judge decoded motions, for a reward on features and a generator in latents.
        candidates: Motions that the best is taken of, where that is asked for.
        options: When and how strongly to steer.
    """

    reward: str = "reward"
    index: str = "reward_index"
    mu: float = 1.0
    eta: float = 0.0
    anchors: int = 1
    temperature: float = 0.1
    through_decoder: bool = False
    candidates: int = 4
    options: GuidanceOptions = DEFAULT_OPTIONS

    @classmethod
    def read(cls, folder: str | Path) -> "DefaultGuidance | None":
        """What the folder of a generator says; None where it says nothing.

        Raises:
            InputError: A file that cannot be read, with unknown names or values that do not fit.
        """
        path = Path(folder) / GUIDANCE
        if not path.is_file():
            return None
        from jsonargparse import ArgumentError, ArgumentParser

        try:
            content = read_yaml(path)
            _check_names(content, cls)
            parser = ArgumentParser(exit_on_error=False)
            parser.add_class_arguments(cls, "guidance")
            found = parser.instantiate_classes(parser.parse_object({"guidance": content})).guidance
        except (ArgumentError, TypeError, ValueError) as error:
            detail = " ".join(str(error).split())[:300]
            raise InputError(f"{path} does not describe a guidance ({detail}); correct or remove it.") from error
        found.beside(Path(folder))
        return found

    def beside(self, folder: Path) -> tuple[Path, Path]:
        """Reward and index that belong to the generator of a folder, and lie beside it.

        Raises:
            InputError: One is named that lies elsewhere.
        """
        home = folder.resolve().parent  # the folder may be "."
        return _sibling(home, self.reward, "reward"), _sibling(home, self.index, "index")

    def override(self, given: dict[str, Any]) -> "DefaultGuidance":
        """The same but for what is given: fields by their names, and fields of `options` by theirs.

        Raises:
            InputError: A value that makes no sense.
        """
        parts = {each.name: given[each.name] for each in fields(GuidanceOptions) if each.name in given}
        whole = {name: value for name, value in given.items() if name not in parts}
        changed = replace(self, **whole)
        return replace(changed, options=replace(changed.options, **parts))

    def words(self) -> dict[str, Any]:
        """What it says by the words of a `Setting`, options by their own."""
        told = self.steering()
        return told | asdict(told.pop("options"))

    def steering(self) -> dict[str, Any]:
        """What `load_steering` takes besides the files."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("reward", "index")}


def _check_names(content: Mapping[Any, Any], kind: type) -> None:
    """Let pass plain values under the names of a dataclass, and nothing that names a class."""
    known = {each.name: each.type for each in fields(kind)}
    for name, value in content.items():
        if name not in known:
            raise TypeError(f"{name!r} is unknown")
        if known[name] is GuidanceOptions:  # of text, jsonargparse would make a class
            if not isinstance(value, Mapping):
                raise TypeError(f"{name} holds no names with values")
            _check_names(value, GuidanceOptions)
        elif not isinstance(value, (str, int, float, NoneType)):
            raise TypeError(f"{name} is not a plain value")


def _sibling(home: Path, name: str, what: str) -> Path:
    """The file or folder of a name in a folder, wherever a foreign file says it is."""
    place = home / name
    if not re.fullmatch(r"[^/\\:\0]+", name) or place.resolve().parent != home:
        raise InputError(
            f"{GUIDANCE} names the {what} {name!r}, but only what lies beside the generator's folder, in {home}, is "
            "taken; put it there and write its name alone, or remove the line."
        )
    return place
