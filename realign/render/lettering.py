"""Text in pictures, with lines broken at the width of the picture."""

import unicodedata
from bisect import bisect_right
from collections.abc import Sequence

from PIL import Image

from realign.render.draw import LEFT, RIGHT, Colour
from realign.render.fonts import Letters

INK, FAINT_INK = (36, 42, 54), (104, 114, 132)
_MOST_LINES, _MOST_LETTERS = 5, 1000


def printable(text: str) -> str:
    """Text on one line without control characters or unpaired surrogates, which fonts cannot draw."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return " ".join("".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text).split())


def wrap(text: str, letters: Letters, width: float) -> list[str]:
    """Break text into lines of at most `width` pixels; longer words are cut, and too many lines end in an ellipsis."""
    lines: list[str] = []
    line = ""
    words = letters.drawable(printable(text[:_MOST_LETTERS])).split()
    while words and len(lines) <= _MOST_LINES:
        word = words.pop(0)
        wider = f"{line} {word}" if line else word
        if letters.getlength(wider) <= width:
            line = wider
        elif line:
            lines.append(line)
            line, words = "", [word, *words]
        else:  # one word is wider than the picture, as in scripts without spaces
            fits = max(1, bisect_right(range(len(word)), width, key=lambda n: letters.getlength(word[:n])) - 1)
            lines.append(word[:fits])
            words = [word[fits:], *words] if word[fits:] else words
    lines += [line] if line else []
    if len(lines) > _MOST_LINES:
        last = lines[_MOST_LINES - 1]
        while last and letters.getlength(last + "…") > width:
            last = last[:-1]
        lines = [*lines[: _MOST_LINES - 1], last + "…"]
    return lines


def line_height(size: int) -> int:
    """Line spacing of a font in pixels."""
    return round(1.3 * size)


def write_lines(
    image: Image.Image, lines: list[str], left: float, top: float, width: float, size: int, ink: Colour = INK
) -> None:
    """Write lines centred between `left` and `left + width`."""
    letters = Letters(size)
    for number, line in enumerate(lines):
        x = left + (width - letters.getlength(line)) / 2
        letters.write(image, x, top + number * line_height(size), line, ink)


class Titles:
    """Labels and captions above panels; captions are fainter below labels.

    Args:
        captions: One a panel; may be empty.
        labels: One a panel; none when empty.
        size: Height of the letters in pixels.
        width: Of a panel, where lines break.

    Attributes:
        heights: Of the title of each panel, in pixels.
    """

    def __init__(self, captions: Sequence[str], labels: Sequence[str], size: int, width: float) -> None:
        letters, labels = Letters(size), labels or [""] * len(captions)
        self._labels = [wrap(label, letters, width) for label in labels]
        self._captions = [wrap(caption, letters, width) for caption in captions]
        self._size, self._ink = size, FAINT_INK if any(labels) else INK
        pairs = zip(self._labels, self._captions, strict=True)
        self.heights = [(len(above) + len(below)) * line_height(size) for above, below in pairs]

    def write(self, image: Image.Image, number: int, left: float, top: float, width: float) -> None:
        """Write a title centred between `left` and `left + width`."""
        label, caption = self._labels[number], self._captions[number]
        write_lines(image, label, left, top, width, self._size)
        below = top + len(label) * line_height(self._size)
        write_lines(image, caption, left, below, width, self._size, self._ink)


def write_legend(image: Image.Image, left: float, top: float, size: int) -> None:
    """Write which colour is which side of the body."""
    letters = Letters(size)
    for name, colour in (("left", LEFT), ("right", RIGHT)):
        letters.write(image, left, top, "●", colour)
        letters.write(image, left + 1.1 * size, top, name, FAINT_INK)
        left += 2.1 * size + letters.getlength(name)
