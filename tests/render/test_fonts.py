"""Letters that the usual font lacks come from fonts of the machine, else they are described and a package is named."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import realign.render.fonts as fonts
from realign.errors import InputWarning
from realign.render.fonts import Letters
from realign.render.lettering import wrap


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    """No answer of another test is kept."""

    def forget() -> None:
        fonts._ASKED.clear()
        for each in (fonts._face_of, fonts._open, fonts._warn_once, fonts._named_fonts):
            each.cache_clear()

    forget()
    yield
    forget()


def make_font(path: Path, letters: str) -> None:
    """A font in which every letter is a square as wide as the letters are high."""
    builder = pytest.importorskip("fontTools.fontBuilder").FontBuilder(1000, isTTF=True)
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    for move, point in zip(
        ("moveTo", "lineTo", "lineTo", "lineTo"), ((0, 0), (0, 800), (900, 800), (900, 0)), strict=True
    ):
        getattr(pen, move)(point)
    pen.closePath()
    names = [".notdef", *(f"u{ord(letter):x}" for letter in letters)]
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(letter): f"u{ord(letter):x}" for letter in letters})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), **dict.fromkeys(names[1:], pen.glyph())})
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


def drawn(text: str, size: int = 20) -> np.ndarray:
    image = Image.new("L", (300, 40), 255).convert("RGB")
    Letters(size).write(image, 2, 2, text, (0, 0, 0))
    return np.asarray(image.convert("L")) < 128


def test_letters_come_from_a_font_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fonts").mkdir()
    make_font(tmp_path / "fonts/SquaresCJK.ttf", "走弓")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda name: None)  # by the names of files, as without fontconfig
    monkeypatch.setattr("sys.platform", "linux")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Letters(20).getlength("走弓") == 40
        assert Letters(20).getlength("a走b") == Letters(20).getlength("ab") + 20
        squares = drawn("走")
        assert squares[:, 2:19].sum() >= 16 * 17 and not squares[:, 22:].any()
        assert wrap("走弓走弓走弓", Letters(20), 60) == ["走弓走", "弓走弓"]


def test_fontconfig_is_asked_once_for_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_font(tmp_path / "some.ttf", "走弓")
    asked = []

    class Told:
        stdout = f"{tmp_path / 'some.ttf'}\n0"

    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr("subprocess.run", lambda words, **_: asked.append(words) or Told())
    assert Letters(20).getlength("走弓走") == 60
    assert len(asked) == 1 and asked[0][0] == "fc-match" and asked[0][-1] == ":charset=8d70"


@pytest.mark.parametrize(
    ("text", "told", "package"),
    [
        ("走弓", "[2 Chinese or Japanese letters]", "fonts-noto-cjk"),
        ("おじぎ", "[3 Chinese or Japanese letters]", "fonts-noto-cjk"),
        ("걷다", "[2 Korean letters]", "fonts-noto-cjk"),
        ("🏃️", "[runner]", "fonts-noto-color-emoji"),
        ("मनु", "[3 Devanagari letters]", "fonts-noto-core"),
    ],
)
def test_without_a_font_letters_are_described_and_a_package_is_named(
    text: str, told: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fonts, "_ask", lambda letter: ())
    with pytest.warns(InputWarning, match=f"apt install {package}") as found:
        assert (drawn(f"a {text}") == drawn(f"a {told}")).all()
        assert Letters(14).getlength(text) == Letters(14).getlength(told)
    assert len(found) == 1


def test_usual_letters_ask_for_no_font(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_ask", None)
    assert Letters(14).getlength("a person walks, Grüße, кто-то ● ✔ …") > 100
