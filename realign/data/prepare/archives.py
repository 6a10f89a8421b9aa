"""Motions inside Parquet files and tar archives of WebDataset, read from front to end and never unpacked to disk."""

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from realign.data.prepare.caption_sources import LARGEST, STREAMED, open_parquet, split_of, tar_captions
from realign.data.prepare.captions_file import COLUMNS, CaptionRow, motion_key, read_record
from realign.data.prepare.parquet_motions import MotionColumn, motion_column
from realign.errors import InputError
from realign.file_names import READ_MOTIONS
from realign.files import StoredFile, data_files

_BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)
_UNPACK: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_BLOCK = 512  # bytes of a tar header
_LARGEST_MOTION = 1 << 28  # bytes


@dataclass(frozen=True, slots=True)
class Member:
    """A motion inside an archive.

    Attributes:
        archive: The file that it is in.
        name: Its name in a tar archive; the column of a Parquet file.
        place: Its first byte in the unpacked tar archive; the row of a Parquet file.
        size: Its bytes in the tar archive.
    """

    archive: Path
    name: str
    place: int
    size: int = 0


@dataclass
class Contents:
    """What an archive holds.

    Attributes:
        motions: (key, member), in the order of the archive; a key may come twice.
        captions: Captions by key.
        problems: (name, reason, detail) of what cannot be used.
    """

    motions: list[tuple[str, Member]] = field(default_factory=list)
    captions: dict[str, list[CaptionRow]] = field(default_factory=dict)
    problems: list[tuple[str, str, str]] = field(default_factory=list)


def archive_paths(folder: Path) -> list[Path]:
    """All Parquet files and tar archives in a folder and its subfolders."""
    return sorted(path for suffix in STREAMED for path in data_files(folder, suffix, recursive=True))


def read_contents(path: Path) -> Contents:
    """List the motions and captions of an archive; what is damaged is among its problems."""
    found = Contents()
    try:
        (_list_parquet if path.suffix.lower() == ".parquet" else _list_tar)(path, found)
    except InputError as error:
        found.problems.append((path.name, "unreadable", str(error)))
    except _BROKEN as error:
        found.problems.append(
            (path.name, "cut off", f"{path} is cut off or not a tar archive ({error}): copy it again")
        )
    return found


class Archives:
    """Reads members of archives; the last archive stays open, since members are read in its order."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._open: IO[bytes] | MotionColumn | None = None

    def read(self, member: Member) -> StoredFile:
        """One motion as a file in memory.

        Args:
            member: The motion.

        Raises:
            InputError: It is cut off, too large, or not of a known kind.
        """
        if self._path != member.archive:
            self.close()
            parquet = member.archive.suffix.lower() == ".parquet"
            self._open = MotionColumn(member.archive, member.name) if parquet else _unpacked(member.archive)
            self._path = member.archive
        if isinstance(self._open, MotionColumn):
            return self._open.read(member.place)
        name = f"{member.archive.name}, {member.name}"
        if self._open is None or member.size > _LARGEST_MOTION:
            raise InputError(f"{name} has {member.size} bytes, too many for a motion: leave it out")
        try:
            self._open.seek(member.place)
            data = self._open.read(member.size)
        except _BROKEN as error:
            raise InputError(f"{name} cannot be read ({error}): copy the archive again") from None
        if len(data) < member.size:
            raise InputError(f"{name} is cut off at {len(data)} of {member.size} bytes: copy the archive again")
        return StoredFile(name, data)

    def close(self) -> None:
        """Close the archive that is open."""
        if self._open is not None:
            self._open.close()
        self._path = self._open = None


def _unpacked(path: Path) -> IO[bytes]:
    """The archive without compression; it can be read from any place, forwards without reading again."""
    with open(path, "rb") as file:
        start = file.read(8)
    opener = next((opener for magic, opener in _UNPACK.items() if start.startswith(magic)), open)
    unpacked: IO[bytes] = opener(path, "rb")
    return unpacked


def _list_tar(path: Path, found: Contents) -> None:
    """Members of a tar archive: KEY.npy and so on, KEY.txt and KEY.json; a name's first dot ends its key."""
    split = split_of(path)
    with _unpacked(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep all headers
            folder, _, name = info.name.removeprefix("./").rpartition("/")
            stem, dot, kind = name.partition(".")
            key, suffix = (f"{folder}/{stem}" if folder else stem), f".{kind.lower().rpartition('.')[2]}"
            if not info.isreg() or info.issparse() or not dot or not stem:
                continue
            if suffix in READ_MOTIONS:
                found.motions.append((key, Member(path, info.name, info.offset_data, info.size)))
            elif kind.lower() in ("txt", "json"):
                text = archive.extractfile(info) if info.size <= LARGEST else None
                _take_captions(found, key, tar_captions(f"{path}, {info.name}", key, text), split)
        file.seek(archive.offset)
        if file.read(_BLOCK) != b"\0" * _BLOCK:  # tarfile takes some damaged headers for the end
            raise tarfile.ReadError("its end is missing")


def _take_captions(found: Contents, key: str, records: Iterator[tuple[str, dict[str, Any]]], split: str) -> None:
    """Keep the captions of one motion, or report why they cannot be read."""
    try:
        rows = [
            row
            for where, record in records
            for row in read_record(record | {"split": record.get("split") or split}, where)
        ]
    except InputError as error:
        found.problems.append((key, "unreadable captions", str(error)))
        return
    found.captions.setdefault(key, []).extend(rows)


def _list_parquet(path: Path, found: Contents) -> None:
    """Rows of a Parquet file, of which one column holds motions; a file without such a column holds none."""
    split = split_of(path)
    with open_parquet(path) as file:
        motions = motion_column(path, file.schema_arrow)
        if motions is None:
            return
        names = [name for name in file.schema_arrow.names if name.strip().lower() in COLUMNS and name != motions]
        row = 0
        for batch in file.iter_batches(columns=names):
            for values in batch.to_pylist():
                record = {name.strip().lower(): value for name, value in values.items()}
                given = next((record[name] for name in ("id", "file") if record.get(name) not in (None, "")), None)
                key = f"{row:06d}" if given is None else motion_key(str(given))
                found.motions.append((key, Member(path, motions, row)))
                if record.get("caption") is not None:
                    where = f"{path}, row {row + 1}"
                    _take_captions(found, key, iter([(where, record | {"id": key})]), split)
                row += 1
