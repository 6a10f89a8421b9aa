"""Map between names of published weights and names in this package, a table of patterns used in both directions."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

Value = TypeVar("Value")


class KeyMap(NamedTuple):
    """Names of published weights and of the same weights in this package.

    A ``*`` matches any text, including dots; matches keep their order in the new name. If several patterns match, the
    first one is used.

    Attributes:
        names: The pattern in this package by published pattern.
        ignored: Patterns of published weights that are left out, such as those of a frozen text encoder.
    """

    names: Mapping[str, str]
    ignored: Sequence[str] = ()

    def rename(self, state: Mapping[str, Value]) -> tuple[dict[str, Value], list[str]]:
        """Weights under the names of this package, and the published names that match no pattern."""
        renamed, surplus = {}, []
        for name, value in state.items():
            if any(_match(pattern, name) is not None for pattern in self.ignored):
                continue
            here = _translate(name, self.names.items())
            if here is None:
                surplus.append(name)
            else:
                renamed[here] = value
        return renamed, surplus

    def published(self, name: str) -> str:
        """The published name of a weight of this package; the name itself if there is none."""
        return _translate(name, ((here, published) for published, here in self.names.items())) or name


def _translate(name: str, rules: Iterable[tuple[str, str]]) -> str | None:
    for pattern, becomes in rules:
        parts = _match(pattern, name)
        if parts is not None:
            pieces = becomes.split("*")
            return pieces[0] + "".join(part + piece for part, piece in zip(parts, pieces[1:], strict=True))
    return None


def _match(pattern: str, name: str) -> tuple[str, ...] | None:
    found = re.fullmatch(re.escape(pattern).replace(r"\*", "(.*?)"), name)
    return None if found is None else found.groups()
