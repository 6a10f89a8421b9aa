"""Published figures beside measured ones."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from realign.errors import InputError


class Figure(NamedTuple):
    """A value of a published table.

    Attributes:
        mean: The value.
        interval: Half of its interval as printed; None where none is.
    """

    mean: float
    interval: float | None = None


def read_figures(given: Any, known: Sequence[str]) -> dict[str, Figure]:
    """Figures by measure, each a number or [mean, interval].

    Args:
        given: As a configuration holds them.
        known: Measures that there are.

    Raises:
        InputError: An unknown measure, or a value that is something else.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"Published figures are names of measures with values, not {given!r}; correct them.")
    found = {}
    for name, value in given.items():
        if name not in known:
            raise InputError(f"Published figures name {name!r}, which is not measured; choose of {', '.join(known)}.")
        numbers = value if isinstance(value, list) else [value]
        if len(numbers) not in (1, 2) or not all(_is_number(each) for each in numbers):
            raise InputError(f"The published {name}={value!r} does not fit; give a number, or [mean, interval].")
        found[str(name)] = Figure(*map(float, numbers))
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def compared(figures: Mapping[str, Figure], measured: Mapping[str, float]) -> dict[str, dict[str, float | None]]:
    """Mean, interval, and the difference of what was measured to it, by measure; None where nothing was measured."""
    return {
        name: {**each._asdict(), "difference": measured[name] - each.mean if name in measured else None}
        for name, each in figures.items()
    }
