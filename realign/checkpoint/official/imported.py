"""The result of every importer."""

from typing import Any, NamedTuple

from torch import Tensor

from realign.checkpoint.official.key_map import KeyMap
from realign.checkpoint.official.published import Published


class Imported(NamedTuple):
    """A published file in terms of this package.

    Attributes:
        published: The file.
        config: class_path and init_args of the model.
        state: Its weights by their names in this package.
        keys: The map between published names and these.
        surplus: Published names without a counterpart.
        summary: A short description.
        text_dim: Width of the text features that it reads; None if it has its own text encoder.
    """

    published: Published
    config: dict[str, Any]
    state: dict[str, Tensor]
    keys: KeyMap
    surplus: list[str]
    summary: str
    text_dim: int | None = None
