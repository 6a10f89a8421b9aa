"""Files with captions of many motions: CSV, JSON lines, JSON, Parquet, tar archives, and folders of them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realign.data.prepare.caption_sources import STREAMED, caption_files, parquet_records, split_of, tar_records
from realign.data.prepare.captions import Caption, read_seconds
from realign.data.prepare.table import read_csv, read_json
from realign.errors import InputError
from realign.text.captions import plain_caption

COLUMNS = ("id", "file", "caption", "start", "end", "split")
_HEADER = "it needs 'id' or 'file', and 'caption': write file,caption above the rows"


@dataclass(frozen=True)
class CaptionRow:
    """One caption of a captions file.

    Attributes:
        key: An id, or the path of a motion file with forward slashes and without suffix.
        caption: The caption.
        split: The split, if the file names one.
    """

    key: str
    caption: Caption
    split: str = ""

    @property
    def stem(self) -> str:
        """The key without folders."""
        return self.key.rsplit("/", 1)[-1]


def read_captions_file(path: str | Path) -> list[CaptionRow]:
    """Read captions: CSV with a header, JSON lines, JSON with a list of objects or captions by id, Parquet, WebDataset.

    Args:
        path: A file with columns or keys `id` or `file`, `caption` (in JSON a text or a list of texts), and optionally
            `start`, `end` (seconds), `split` (train, val or test). A file that ends in .gz is unpacked.
            Or a tar archive with KEY.txt or KEY.json, or a folder of Parquet files and archives, whose
            names may begin with their split.

    Raises:
        InputError: The file is missing or not readable, or a row is incomplete or would lose a part of its caption.
    """
    path = Path(path)
    try:
        rows = [row for each in caption_files(path) for row in _rows(each)]
    except FileNotFoundError:
        raise InputError(f"The captions file {path} does not exist; check the path given with --captions.") from None
    if not rows:
        raise InputError(f"The captions file {path} holds no captions; give it rows of id, caption.")
    return rows


def _rows(path: Path) -> Iterator[CaptionRow]:
    """The rows of one file."""
    if path.suffix.lower() in STREAMED:
        records = parquet_records(path, COLUMNS) if path.suffix.lower() == ".parquet" else tar_records(path)
        split = split_of(path)
        for where, record in records:
            yield from read_record(record | {"split": record.get("split") or split}, where)
        return
    is_json = any(suffix.lower() in (".jsonl", ".json", ".ndjson") for suffix in path.suffixes[-2:])
    records = read_json(path, "id", "caption") if is_json else read_csv(path, COLUMNS, _HEADER)
    quote = "" if is_json else ", and put a caption that holds a comma in quotes"
    for where, record in records:
        yield from read_record(record, where, quote)


def read_record(record: dict[str, Any], where: str, quote: str = "") -> Iterator[CaptionRow]:
    """The captions of one row.

    Args:
        record: Its values by column, in lower case.
        where: Its location for messages.
        quote: Further remedy in case that a caption was cut.

    Raises:
        InputError: It is incomplete, or would lose a part of its caption.
    """
    key = next((record[name] for name in ("id", "file") if str(record.get(name) or "").strip()), None)
    if key is None or record.get("caption") is None:
        raise InputError(f"{where}: needs 'id' or 'file', and 'caption'; it has {sorted(record)}.")
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise InputError(f"{where}: {key!r} does not name a motion; write an id or a file as text.")
    texts = record["caption"] if isinstance(record["caption"], list) else [record["caption"]]
    start, end = (read_seconds(record.get(name), where, quote) for name in ("start", "end"))
    if (start or end) and end <= start:
        raise InputError(f"{where}: the part from {start} s to {end} s is empty; 'end' must come after 'start'.")
    split = str(record.get("split") or "").strip().lower()
    if split not in ("", "train", "val", "test"):
        raise InputError(f"{where}: the split {split!r} is unknown; use train, val or test{quote}.")
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"{where}: the caption {text!r} is not text; write text or a list of texts.")
        try:
            sentence = plain_caption(text)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        if sentence:
            yield CaptionRow(motion_key(str(key)), Caption(sentence, start, end), split)


def motion_key(key: str) -> str:
    """An id or a file path in either slash style, without suffix."""
    name = key.strip().replace("\\", "/").removeprefix("./")
    return re.sub(r"\.(bvh|npy|npz|glb|gltf)$", "", name, flags=re.IGNORECASE)
