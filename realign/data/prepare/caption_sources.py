"""Records of captions in folders of the `datasets` library: Parquet files and tar archives of WebDataset."""

import re
import tarfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from realign.data.prepare.captions import parse_text
from realign.data.prepare.table import Records, read_json_text
from realign.errors import InputError
from realign.files import data_files

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

STREAMED = (".parquet", ".tar")
_METADATA = ("metadata.csv", "metadata.jsonl")
_ROWS = 4096  # read at once
LARGEST = 1 << 24  # bytes of a text in an archive
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test"}


def caption_files(path: Path) -> list[Path]:
    """The files that hold the captions: the path itself, or those of a folder.

    Raises:
        InputError: The folder holds none.
    """
    if not path.is_dir():
        return [path]
    found = [each for suffix in STREAMED for each in data_files(path, suffix, recursive=True)]
    found += [path / name for name in _METADATA if (path / name).is_file()]
    if not found:
        raise InputError(
            f"The folder {path} given with --captions holds no .parquet or .tar files and no {' or '.join(_METADATA)}; "
            "give a file with file and caption."
        )
    return sorted(found)


def split_of(path: Path) -> str:
    """The split that a file's name begins with, as in train-00000-of-00002.parquet; "" if it names none."""
    word = re.match(r"[a-z]+", path.name.lower())
    return _SPLITS.get(word[0], "") if word else ""


def parquet_records(path: Path, columns: Collection[str]) -> Records:
    """Rows of a Parquet file, read in parts and without other columns, such as motions.

    Args:
        path: The file.
        columns: Names of the columns to read.

    Raises:
        InputError: It is damaged, or pyarrow is missing.
    """
    with open_parquet(path) as file:
        names = [name for name in file.schema_arrow.names if name.strip().lower() in columns]
        if not names:
            has = ", ".join(file.schema_arrow.names)[:100]
            raise InputError(f"{path} has the columns {has}; it needs 'id' or 'file', and 'caption'.")
        number = 0
        for batch in file.iter_batches(batch_size=_ROWS, columns=names):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", {name.strip().lower(): value for name, value in row.items()}


@contextmanager
def open_parquet(path: Path) -> "Iterator[ParquetFile]":
    """Open a Parquet file; what goes wrong in the block is told as a damaged file.

    Args:
        path: The file.

    Raises:
        InputError: It is damaged, or pyarrow is missing.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise InputError(
            f"{path} needs pyarrow; run pip install 'realign[parquet]', or save captions as CSV or JSON lines."
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{path} is damaged or not a Parquet file ({reason}); copy it again.") from None


def tar_records(path: Path) -> Records:
    """Captions of an archive of WebDataset, read once from front to end: KEY.txt with lines, or KEY.json.

    Args:
        path: The archive; other members, such as motions, are passed over.

    Raises:
        InputError: It is cut off, or a text in it cannot be read.
    """
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                folder, _, name = member.name.removeprefix("./").rpartition("/")
                stem, _, kind = name.partition(".")
                if not member.isfile() or not stem or kind.lower() not in ("txt", "json"):
                    continue
                key = f"{folder}/{stem}" if folder else stem
                file = archive.extractfile(member) if member.size <= LARGEST else None
                yield from tar_captions(f"{path}, {member.name}", key, file)
    except InputError:
        raise
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path} is cut off or not a tar archive ({error}); copy it again.") from None


def tar_captions(where: str, key: str, file: IO[bytes] | None) -> Records:
    """The captions of one member, KEY.txt or KEY.json.

    Args:
        where: Archive and member, for messages.
        key: The key.
        file: The open member; None if it is too large.

    Raises:
        InputError: It cannot be read.
    """
    if file is None:
        raise InputError(f"{where}: more than {LARGEST >> 20} MiB are not a caption; leave it out.")
    try:
        text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{where} is not UTF-8; save it as UTF-8.") from None
    if where.lower().endswith(".json"):
        yield where, {"id": key} | read_json_text(text, where)
        return
    for caption in parse_text(text, where):
        yield where, {"id": key, "caption": caption.text, "start": caption.start, "end": caption.end}
