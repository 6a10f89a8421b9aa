"""Text in pictures: one font for every alphabet it knows, lines broken at the width of the picture."""

import functools
import importlib.util
import unicodedata
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from realign.motion.draw import LEFT, RIGHT

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
INK, FAINT_INK = (36, 42, 54), (104, 114, 132)
_MOST_LINES = 5


@functools.cache
def font(size: int) -> Font:
    """DejaVu Sans, which Matplotlib brings along; found without importing Matplotlib, which takes a second.

    Args:
        size: Height in pixels.
    """
    spec = importlib.util.find_spec("matplotlib")
    candidates = ["DejaVuSans.ttf"]
    if spec and spec.origin:
        candidates.insert(0, str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"))
    for name in candidates:
        try:
            # The basic layout draws the same whether or not the system has an advanced one.
            return ImageFont.truetype(name, size, layout_engine=ImageFont.Layout.BASIC)
        except OSError:
            continue
    return ImageFont.load_default(size)


def printable(text: str) -> str:
    """Text on one line without control characters or broken surrogates, which fonts choke on."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return " ".join("".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text).split())


def wrap(text: str, letters: Font, width: float) -> list[str]:
    """Break text into lines no wider than `width` pixels; a longer word is cut, too many lines end in an ellipsis."""
    lines: list[str] = []
    line = ""
    for word in printable(text).split():
        wider = f"{line} {word}" if line else word
        if letters.getlength(wider) <= width:
            line = wider
            continue
        if line:
            lines.append(line)
        while letters.getlength(word) > width and len(word) > 1:  # also sentences of alphabets without spaces
            cut = next((n for n in range(len(word) - 1, 1, -1) if letters.getlength(word[:n]) <= width), 1)
            lines.append(word[:cut])
            word = word[cut:]
            if len(lines) > _MOST_LINES:
                break
        line = word
    lines += [line] if line else []
    if len(lines) > _MOST_LINES:
        last = lines[_MOST_LINES - 1]
        while last and letters.getlength(last + "…") > width:
            last = last[:-1]
        lines = [*lines[: _MOST_LINES - 1], last + "…"]
    return lines


def line_height(size: int) -> int:
    """Pixels from line to line of a font."""
    return round(1.3 * size)


def write_lines(image: Image.Image, lines: list[str], left: float, top: float, width: float, size: int) -> None:
    """Write lines centred between `left` and `left + width`."""
    draw, letters = ImageDraw.Draw(image), font(size)
    for number, line in enumerate(lines):
        x = left + (width - letters.getlength(line)) / 2
        draw.text((x, top + number * line_height(size)), line, fill=INK, font=letters)


def write_legend(image: Image.Image, left: float, top: float, size: int) -> None:
    """Say which colour is which side of the body."""
    draw, letters = ImageDraw.Draw(image), font(size)
    middle = top + 0.62 * size
    for name, colour in (("left", LEFT), ("right", RIGHT)):
        draw.ellipse((left, middle - 0.4 * size, left + 0.8 * size, middle + 0.4 * size), fill=colour)
        draw.text((left + 1.1 * size, top), name, fill=FAINT_INK, font=letters)
        left += 2.1 * size + letters.getlength(name)
