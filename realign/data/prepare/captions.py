"""Captions of motions: read them from text files, and swap left and right in them."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realign.errors import InputError
from realign.files import read_text
from realign.text.captions import plain_caption

_SIDES = re.compile(
    r"(?<![a-z])(left|right)(?!\s(?:now|away|angles?|there|here)\b)(?=(?:wards?|most|ies|y|s|ed|-?hand(?:ed)?|-?foot(?:ed)?|-?sided?)?(?![a-z]))"
    r"|(?<![a-z])(counter-?\s?clockwise|anti-?\s?clockwise|clockwise)(?![a-z])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Caption:
    """A caption of a motion or, if `end` > 0, of its part from `start` to `end` (seconds).

    Attributes:
        text: The caption.
        start: Beginning of the part.
        end: End of the part; 0 for the whole motion.
        tokens: "word/POS word/POS ..." if known, for evaluators that read parts of speech.
    """

    text: str
    start: float = 0.0
    end: float = 0.0
    tokens: str = ""

    @property
    def whole(self) -> bool:
        """Whether the caption describes the whole motion."""
        return self.start == 0 and self.end == 0


def swap_sides(text: str) -> str:
    """Exchange left and right, clockwise and counterclockwise, and keep capitals.

    Examples:
        >>> swap_sides("Left hand up, turns rightward, counterclockwise; bright light left over")
        'Right hand up, turns leftward, clockwise; bright light right over'
    """

    def other(match: re.Match[str]) -> str:
        word = match.group(0)
        low = word.lower()
        if low in ("left", "right"):
            swapped = "right" if low == "left" else "left"
        else:
            swapped = "counterclockwise" if low == "clockwise" else "clockwise"
        if word.isupper():
            return swapped.upper()
        return swapped.capitalize() if word[0].isupper() else swapped

    return _SIDES.sub(other, text)


def read_seconds(value: Any, where: str, remedy: str = "") -> float:
    """A time in a motion; 0 for None, empty text, and NaN, which published files contain.

    Args:
        value: A number, or text with a decimal point or comma.
        where: Location for error messages.
        remedy: Further remedy for error messages.

    Raises:
        InputError: It is not a time.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        text = value.strip().replace(",", ".") if isinstance(value, str) else value
        seconds = float(text) if text not in ("", None) else 0.0
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where}: {value!r} is not a time; write seconds as a number{remedy}.") from None
    if math.isnan(seconds):
        return 0.0
    if seconds < 0 or math.isinf(seconds):
        raise InputError(f"{where}: {seconds} is not a time in a motion; write seconds of 0 or more.")
    return seconds


def parse_line(line: str, where: str = "caption") -> Caption | None:
    """Read one line of a HumanML3D text file, `caption#word/POS ...#from#to`; None for a line without words.

    The caption may contain `#`. The times, or the tagged words and the times, may be missing.

    Args:
        line: The line; a plain caption describes the whole motion.
        where: Location for error messages.

    Raises:
        InputError: A time is wrong, or the line has another form.
    """
    pieces = [piece.strip() for piece in line.rsplit("#", 3)]
    if len(pieces) == 4 and any(map(_is_time, pieces[2:])):
        text, tokens, *times = pieces
    elif len(pieces) > 1 and all(map(_is_tagged, pieces[-1].split() or ["no"])):
        text, tokens, times = line.rpartition("#")[0], pieces[-1], ["", ""]
    elif any(map(_is_tagged, pieces[1:])) or (len(pieces) == 3 and all(map(_is_time, pieces[1:]))):
        raise InputError(f"{where}: {line.strip()!r} has too few # signs; write caption#word/POS word/POS#from#to.")
    else:
        text, tokens, times = line, "", ["", ""]
    start, end = (read_seconds(time, where) for time in times)
    if tokens and not _is_tagged(tokens):
        raise InputError(
            f"{where}: {tokens!r} before the times does not hold words with tags (walk/VERB); write "
            "caption#word/POS word/POS#from#to, or ## if there are no tags."
        )
    text = plain_caption(text)
    return Caption(text, start, end, tokens) if text else None


def _is_time(piece: str) -> bool:
    try:
        float(piece or 0)
    except ValueError:
        return False
    return True


def _is_tagged(piece: str) -> bool:
    return any(re.fullmatch(r"\S*/[A-Z][A-Za-z_]*", word) for word in piece.split())


def read_text_file(path: Path) -> list[Caption]:
    """All captions of one file `texts/<id>.txt`; raises as `read_text` and `parse_line` do."""
    return parse_text(read_text(path), path.name)


def parse_text(text: str, name: str) -> list[Caption]:
    """All captions of the text of such a file; error messages use `name`."""
    found = (parse_line(line, f"{name}, line {i}") for i, line in enumerate(text.split("\n"), 1))
    return [caption for caption in found if caption is not None]
