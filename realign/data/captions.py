"""Sentences about motions: reading them from text files, CSV and JSONL, and swapping left and right in them."""

import csv
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realign.errors import InputError
from realign.files import read_text

_SIDES = re.compile(
    r"(?<![a-z])(left|right)(?!\s(?:now|away|angles?|there|here)\b)(?=(?:wards?|most|ies|y|s|ed|-?hand(?:ed)?|-?foot(?:ed)?|-?sided?)?(?![a-z]))"
    r"|(?<![a-z])(counter-?\s?clockwise|anti-?\s?clockwise|clockwise)(?![a-z])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Caption:
    """A sentence about a motion or, where `end` > 0, about its part from `start` to `end` (seconds).

    Attributes:
        text: The sentence.
        start: Beginning of the part.
        end: End of the part; 0 for the whole motion.
        tokens: "word/POS word/POS ..." where known, for evaluators that read parts of speech.
    """

    text: str
    start: float = 0.0
    end: float = 0.0
    tokens: str = ""

    @property
    def whole(self) -> bool:
        """Whether the sentence is about the whole motion."""
        return self.start == 0 and self.end == 0


@dataclass(frozen=True)
class CaptionRow:
    """One line of a captions file.

    Attributes:
        key: Which motion: an id, or the path of a file without its suffix and with plain slashes.
        caption: The sentence.
        split: Where the file names one.
    """

    key: str
    caption: Caption
    split: str = ""

    @property
    def stem(self) -> str:
        """The key without folders."""
        return self.key.rsplit("/", 1)[-1]


def swap_sides(text: str) -> str:
    """Exchange left and right, clockwise and counterclockwise, word by word and keeping capitals.

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


def _seconds(value: Any, where: str) -> float:
    try:
        seconds = float(value) if value not in ("", None) else 0.0
    except (TypeError, ValueError):
        raise InputError(f"{where}: {value!r} is not a time; write seconds as a number.") from None
    if math.isnan(seconds):
        return 0.0
    if seconds < 0 or math.isinf(seconds):
        raise InputError(f"{where}: {seconds} is not a time in a motion; write seconds of 0 or more.")
    return seconds


def parse_line(line: str, where: str = "caption") -> Caption | None:
    """Read one line of a HumanML3D text file, `sentence#word/POS ...#from#to`; None for a line without words.

    Args:
        line: The line; a plain sentence without `#` is about the whole motion.
        where: Named in errors.
    """
    pieces = line.strip().split("#")
    text = " ".join(pieces[0].split())
    if not text:
        return None
    start, end = (_seconds(pieces[i].strip(), where) if len(pieces) > i else 0.0 for i in (2, 3))
    return Caption(text, start, end, pieces[1].strip() if len(pieces) > 1 else "")


def read_text_file(path: Path) -> list[Caption]:
    """All captions of one `texts/<id>.txt`."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    found = (parse_line(line, f"{path.name}, line {i}") for i, line in enumerate(lines, 1))
    return [caption for caption in found if caption is not None]


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise InputError(f"The captions file {path} does not exist; check the path given with --captions.") from None
    if path.suffix.lower() in (".jsonl", ".json", ".ndjson"):
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path}, line {number}: not a JSON object ({error.msg}); write one a line.") from None
            if not isinstance(record, dict):
                raise InputError(
                    f'{path}, line {number}: {line} is no JSON object; write {{"id": ..., "caption": ...}}'
                )
            yield number, record
        return
    yield from enumerate(csv.DictReader(text.splitlines(keepends=True)), 2)


def read_captions_file(path: str | Path) -> list[CaptionRow]:
    """Read a CSV (with a header) or JSONL file of captions.

    Args:
        path: Columns or keys `id` or `file`, `caption`, and optionally `start`, `end` (seconds), `split`
            (train, val or test).

    Raises:
        InputError: The file is missing, not readable, or a row lacks what it needs.
    """
    path = Path(path)
    rows = []
    for number, record in _records(path):
        where = f"{path}, line {number}"
        key = record.get("id") or record.get("file")
        if not key or record.get("caption") is None:
            raise InputError(f"{where}: needs 'id' or 'file', and 'caption'; it has {sorted(map(str, record))}.")
        text = " ".join(str(record["caption"]).split())
        if not text:
            continue
        start, end = _seconds(record.get("start"), where), _seconds(record.get("end"), where)
        if (start or end) and end <= start:
            raise InputError(f"{where}: the part from {start} s to {end} s is empty; 'end' must come after 'start'.")
        split = str(record.get("split") or "").strip().lower()
        if split not in ("", "train", "val", "test"):
            raise InputError(f"{where}: the split {split!r} is unknown; use train, val or test.")
        rows.append(CaptionRow(_key(str(key)), Caption(text, start, end), split))
    if not rows:
        raise InputError(f"The captions file {path} holds no captions; give it rows of id, caption.")
    return rows


def _key(key: str) -> str:
    """An id or a file path in either slash style, without suffix."""
    name = key.strip().replace("\\", "/").removeprefix("./")
    return re.sub(r"\.(bvh|npy)$", "", name, flags=re.IGNORECASE)
