"""Fonts of the machine for letters that DejaVu Sans lacks: Chinese, Japanese, Korean and others, and emoji."""

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from realign.errors import InputWarning

_Face = ImageFont.FreeTypeFont | ImageFont.ImageFont
_ABSENT = "\U0010fffe"  # is no letter, so a font draws its sign for missing ones
_STRIKES = (109, 128, 136, 160)  # pixels: fonts of coloured bitmaps have one of these sizes alone
_NAMED = re.compile(r"CJK|wqy|fallback|unifont|pingfang|hiragino|gothic|msyh|malgun|meiryo|yugoth|nirmala|noto|emoji"
                    r"|symbol|unicode", re.IGNORECASE)  # fmt: skip
_CHINESE = ("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH")
_SCRIPTS = {**dict.fromkeys(_CHINESE, "Chinese or Japanese"), "HANGUL": "Korean"}
_EASTERN = dict.fromkeys(_SCRIPTS.values(), "fonts-noto-cjk")


@dataclass(frozen=True)
class Letters:
    """Letters of one height: those of DejaVu Sans, and of the machine's other fonts where it has none.

    Attributes:
        size: Height in pixels.
    """

    size: int

    def drawable(self, text: str) -> str:
        """The text with descriptions, which lines may break in, of letters that no font has."""
        return "".join(part for part, _, _ in self._runs(text))

    def getlength(self, text: str) -> float:
        """Width of a text in pixels."""
        return sum(face.getlength(part) * scale for part, face, scale in self._runs(text))

    def write(self, image: Image.Image, left: float, top: float, text: str, ink: tuple[int, int, int]) -> None:
        """Write a text; emoji keep their colours."""
        draw = ImageDraw.Draw(image)
        base = top + _ascent(base_face(self.size))
        for part, face, scale in self._runs(text):
            if scale == 1:
                draw.text((left, base - _ascent(face)), part, fill=ink, font=face)
            else:
                self._paste(image, left, base - scale * _ascent(face), part, face, scale)
            left += face.getlength(part) * scale

    def _paste(self, image: Image.Image, left: float, top: float, text: str, face: _Face, scale: float) -> None:
        """Write letters of a font of bitmaps, scaled to the height."""
        whole = Image.new("RGBA", (round(face.getlength(text)) + 1, round(_ascent(face) * 1.4)))
        ImageDraw.Draw(whole).text((0, 0), text, font=face, embedded_color=True)
        small = whole.resize((max(1, round(whole.width * scale)), max(1, round(whole.height * scale))))
        image.paste(small, (round(left), round(top)), small)

    def _runs(self, text: str) -> Iterator[tuple[str, _Face, float]]:
        """Parts of a text, each with its font and the factor of its size; what no font has is described."""
        text = re.sub("[\ufe00-\ufe0f]", "", text)  # they choose between forms of the sign before them
        for found, letters in groupby(text, functools.partial(_face_of, size=self.size)):
            part = "".join(letters)
            face, scale = found or (base_face(self.size), 1.0)
            yield (part if found else _described(part)), face, scale


@functools.cache
def base_face(size: int) -> _Face:
    """DejaVu Sans, from Matplotlib if it is installed (importing that takes a second), or Pillow's own font."""
    spec = importlib.util.find_spec("matplotlib")
    candidates = ["DejaVuSans.ttf"]
    if spec and spec.origin:
        candidates.insert(0, str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"))
    for name in candidates:
        try:
            # The basic layout draws the same on all systems.
            return ImageFont.truetype(name, size, layout_engine=ImageFont.Layout.BASIC)
        except OSError:
            continue
    return ImageFont.load_default(size)


@functools.lru_cache(4096)
def _face_of(letter: str, size: int) -> tuple[_Face, float] | None:
    """A font that has a letter, and the factor of its size; None if there is none."""
    base = base_face(size)
    if letter < "\x7f" or letter.isspace() or _has(base, letter):
        return base, 1.0
    key = _script(letter) or letter  # a font for one letter of a script has its others, too
    for path, index in _fonts_for(key, letter):
        found = _open(path, index, size)
        if found is not None and _has(found[0], letter):
            return found
    _warn(letter)
    return None


@functools.cache
def _open(path: str, index: int, size: int) -> tuple[_Face, float] | None:
    for wanted in (size, *_STRIKES):
        try:
            face = ImageFont.truetype(path, wanted, index, layout_engine=ImageFont.Layout.BASIC)
        except OSError:
            continue
        return face, size / wanted
    return None


def _has(face: _Face, letter: str) -> bool:
    """Whether a font has a letter: it is drawn otherwise than one that no font has."""
    try:
        drawn, absent = (face.getmask(each, mode="RGBA") for each in (letter, _ABSENT))
    except (OSError, ValueError, UnicodeError):
        return False
    return drawn.size != absent.size or list(drawn) != list(absent)


def _ascent(face: _Face) -> float:
    return face.getmetrics()[0] if isinstance(face, ImageFont.FreeTypeFont) else face.getbbox("A")[3]


def _fonts_for(key: str, letter: str) -> tuple[tuple[str, int], ...]:
    """Files of fonts that may have a letter, and their number in the file: as fontconfig knows, else by their names.

    Args:
        key: Letters with the same key get the same answer, since fontconfig takes tens of milliseconds.
        letter: The letter.
    """
    if key not in _ASKED:
        _ASKED[key] = _ask(letter)
    return _ASKED[key]


_ASKED: dict[str, tuple[tuple[str, int], ...]] = {}


def _ask(letter: str) -> tuple[tuple[str, int], ...]:
    if program := shutil.which("fc-match"):
        command = [program, "-f", "%{file}\n%{index}", f":charset={ord(letter):x}"]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        if len(told) == 2 and told[1].isdigit():
            return ((told[0], int(told[1]) & 0xFFFF),)
    return _named_fonts()


@functools.cache
def _named_fonts() -> tuple[tuple[str, int], ...]:
    """Fonts in the usual folders whose names say that they have many letters."""
    data = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser()
    folders = {
        "darwin": [Path("/System/Library/Fonts"), Path("/Library/Fonts"), Path("~/Library/Fonts").expanduser()],
        "win32": [Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts"],
    }.get(sys.platform, [data / "fonts", Path("/usr/local/share/fonts"), Path("/usr/share/fonts")])
    files = sorted(path for folder in folders if folder.is_dir() for path in folder.rglob("*.[to]t[fc]"))
    return tuple((str(path), 0) for path in files if _NAMED.search(path.name))


def _described(text: str) -> str:
    """What stands for letters that no font has: the names of signs, and the number of letters of a script."""
    parts = []
    for script, letters in groupby(text, _script):
        found = list(letters)
        named = [unicodedata.name(each, "sign").lower() for each in found]
        parts += [f"{len(found)} {script} letter{'s' * (len(found) > 1)}"] if script else named
    return "".join(f"[{part}]" for part in parts)


def _script(letter: str) -> str:
    """The script of a letter by its name, such as Korean; empty for signs and emoji."""
    if unicodedata.category(letter)[0] == "S":
        return ""
    first = re.split(r"[ -]", unicodedata.name(letter, "UNKNOWN"))[0]
    return _SCRIPTS.get(first, first.capitalize())


def _warn(letter: str) -> None:
    script = _script(letter)
    package = "fonts-noto-color-emoji" if not script else _EASTERN.get(script, "fonts-noto-core")
    _warn_once(
        package,
        {"fonts-noto-cjk": "Chinese, Japanese or Korean letters"}.get(
            package, f"{script} letters" if script else "emoji"
        ),
    )


@functools.cache
def _warn_once(package: str, what: str) -> None:
    warnings.warn(
        f"No font of this machine has the {what} of a caption, so pictures describe them in brackets; install one, "
        f"such as {package} (Debian, Ubuntu: apt install {package}).",
        InputWarning,
        stacklevel=2,
    )
