"""Captions in sequence, each with its time: how they are written, and the windows that a generator makes them in."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from realign.diffusion.windows import WindowPlan
from realign.errors import InputError
from realign.files import read_text
from realign.inference.common import LONGEST, UNIT, check_captions
from realign.interfaces import TextToMotionModel
from realign.nn.diffusion import Diffusion

OVERLAP = 24
"""Frames over which neighbouring parts fade into each other (docs/results.md)."""
MOST_SECONDS = 600.0


class Part(NamedTuple):
    """A caption and its time in a sequence.

    Attributes:
        text: The caption.
        seconds: Its time (s); None takes the usual length of such motions.
    """

    text: str
    seconds: float | None = None


class Script(NamedTuple):
    """A sequence as it is made.

    Attributes:
        captions: Of each part, in its plain form.
        frames: Of each part.
        windows: Caption of each window; parts longer than the generator's longest motion have several.
        plan: Where the windows lie; None where one window is the whole.
    """

    captions: list[str]
    frames: list[int]
    windows: list[str]
    plan: WindowPlan | None


def write_script(
    parts: Sequence[tuple[str, float | None] | str], frames_of: Callable[[str, float | None], int], fps: float
) -> Script:
    """Lay out a sequence.

    Args:
        parts: Captions with their seconds, or captions alone.
        frames_of: Frames of a motion for a caption and a time within a generator's lengths; it refuses others.
        fps: Frames per second.

    Raises:
        InputError: There is no part, a blank caption, or a time that cannot be made.
    """
    if isinstance(parts, str):
        raise InputError(f"A sequence is a list of captions with their seconds, but got the text {parts!r}.")
    pairs = [Part(part) if isinstance(part, str) else Part(*part) for part in parts]
    captions = check_captions([pair.text for pair in pairs])
    longest, frames = LONGEST / fps, list[int]()
    for text, (_, seconds) in zip(captions, pairs, strict=True):
        if seconds is not None and longest < seconds <= MOST_SECONDS:
            frames.append(UNIT * round(seconds * fps / UNIT))
        elif seconds is not None and not seconds <= MOST_SECONDS:
            raise InputError(f"A part of {seconds:g} s cannot be made; give at most {MOST_SECONDS:g} seconds.")
        else:
            frames.append(frames_of(text, seconds))
    if sum(frames) > MOST_SECONDS * fps:
        raise InputError(f"The parts take {sum(frames) / fps:g} s together; give at most {MOST_SECONDS:g} seconds.")
    if len(frames) == 1 and frames[0] <= LONGEST:
        return Script(captions, frames, captions, None)
    pieces = [_pieces(each) for each in frames]
    windows = [text for text, each in zip(captions, pieces, strict=True) for _ in each]
    return Script(captions, frames, windows, WindowPlan([[each for piece in pieces for each in piece]], OVERLAP, UNIT))


def _pieces(frames: int) -> list[int]:
    """A part as pieces of nearly equal length, each short enough for a window that fades at both ends."""
    units, number = frames // UNIT, math.ceil(frames / (LONGEST - OVERLAP))
    return [UNIT * ((units + i) // number) for i in range(number)]


def check_sequences(generator: TextToMotionModel) -> None:
    """Refuse a generator that cannot join motions.

    Raises:
        InputError: It is not a diffusion, or its latents stand for whole motions.
    """
    if not isinstance(generator, Diffusion):
        raise InputError(
            f"Motions in sequence are made by a diffusion, but the generator is a {type(generator).__name__}; take a "
            "diffusion, or make the motions one by one."
        )
    generator.windows(WindowPlan([[UNIT]], 0, UNIT))


def read_part(text: str) -> Part:
    """A part from CAPTION or CAPTION:SECONDS; the caption may hold colons, since the last one counts.

    Examples:
        >>> read_part("a person walks: slowly:2.5")
        Part(text='a person walks: slowly', seconds=2.5)
        >>> read_part("a person says: hello")
        Part(text='a person says: hello', seconds=None)
    """
    caption, colon, seconds = text.rpartition(":")
    try:
        return Part(caption, float(seconds)) if colon else Part(text)
    except ValueError:
        return Part(text)


def read_parts(given: Sequence[str]) -> list[Part]:
    """Parts from the command line, or from the one file that it names.

    A .csv has a part a line, its caption and its seconds; a .yaml or .json has a list of captions, of [caption,
    seconds], or of mappings with `caption` and `seconds`.

    Raises:
        InputError: The file cannot be read.
    """
    path = Path(given[0] if given else "")
    if len(given) != 1 or path.suffix.lower() not in (".csv", ".yaml", ".yml", ".json"):
        return [read_part(text) for text in given]
    try:
        text = read_text(path)
        rows = list(csv.reader(io.StringIO(text))) if path.suffix.lower() == ".csv" else yaml.safe_load(text)
    except (OSError, yaml.YAMLError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({' '.join(str(error).split())}); name a file of parts.") from error
    if not isinstance(rows, list):
        raise InputError(f"{path} holds no list of parts; give captions with their seconds.")
    if rows and path.suffix.lower() == ".csv" and rows[0][:1] == ["caption"]:
        rows = rows[1:]
    return [_part(row, f"{path}, part {number}") for number, row in enumerate(filter(None, rows), 1)]


def _part(row: Any, where: str) -> Part:
    if isinstance(row, dict) and "caption" in row and row.keys() <= {"caption", "seconds"}:
        row = [row["caption"], row.get("seconds")]
    elif isinstance(row, str):
        row = [row, None]
    if not isinstance(row, list) or not 1 <= len(row) <= 2 or not isinstance(row[0], str):
        raise InputError(f"{where}: {row!r} is not a caption with its seconds.")
    seconds = row[1] if len(row) == 2 and row[1] not in ("", None) else None
    try:
        return Part(row[0], None if seconds is None else float(seconds))
    except (TypeError, ValueError):
        raise InputError(f"{where}: {seconds!r} is not a number of seconds.") from None
