"""What every importer hands over."""

from typing import Any, NamedTuple

from torch import Tensor

from realign.checkpoint.official.key_map import KeyMap
from realign.checkpoint.official.published import Published


class Imported(NamedTuple):
    """What an importer makes of a published file.

    Attributes:
        published: The file.
        config: class_path and init_args of the model.
        state: Its weights, by their names here.
        keys: What each is called in the file.
        surplus: Published names that have no place here.
        summary: What it is, in a few words.
        text_dim: Width of the text features that it reads; None where it reads captions by weights of its own.
    """

    published: Published
    config: dict[str, Any]
    state: dict[str, Tensor]
    keys: KeyMap
    surplus: list[str]
    summary: str
    text_dim: int | None = None
