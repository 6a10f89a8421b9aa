"""The report of a prepared set, and the check whether an existing set is up to date."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from realign.data.prepare.source import Source
from realign.data.store import FORMAT_VERSION, PackedMotions
from realign.errors import InputError
from realign.file_names import META
from realign.files import content_digest, read_lines, sweep

_BY_CONTENT = "content:"  # earlier versions identified a source by the times of its files

DOUBTFUL = "read with a remark"


@dataclass
class PrepareReport:
    """Result of `prepare`.

    Attributes:
        folder: The prepared set.
        meta: Contents of its meta.json.
        left_out: A record with id, reason and detail of each clip that is not in the set.
        outside: Records of stored clips whose length only protocols without a length limit take.
        doubtful: Records of stored clips with corrections or doubtful content in their files.
        up_to_date: The set existed already, made from the same source with the same options.
    """

    folder: Path
    meta: dict[str, Any]
    left_out: list[dict[str, Any]] = field(default_factory=list)
    outside: list[dict[str, Any]] = field(default_factory=list)
    doubtful: list[dict[str, Any]] = field(default_factory=list)
    up_to_date: bool = False

    @property
    def reasons(self) -> dict[str, int]:
        """Clips left out, by reason."""
        return dict(Counter(record["reason"] for record in self.left_out).most_common())


def fingerprint_of(source: Source, given: tuple[Any, ...]) -> str:
    """Digest of the names and contents of all files read, and of the options; equal for a copy of the source."""
    named = ["actions"] if source.names_actions else []  # without them, sets are as of earlier versions
    options = repr((FORMAT_VERSION, type(source).__name__, *given, *named))
    names = (
        (path.relative_to(source.root).as_posix() if path.is_relative_to(source.root) else path.name, path)
        for path in source.files()
    )
    return f"{_BY_CONTENT}{hashlib.sha256(f'{options} {content_digest(names)}'.encode()).hexdigest()}"


def existing_set(out: Path, fingerprint: str, overwrite: bool) -> PrepareReport | None:
    """The existing set, if it is up to date; refuses to replace anything but a prepared set."""
    sweep(out)  # restores what a killed process had moved away
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not out.is_dir() or not (out / META).is_file() or not (out / "clips.npy").is_file():
        raise InputError(f"{out} exists and is not a prepared set; choose another folder with -o.")
    if overwrite:
        return None
    packed = PackedMotions.open(out)
    known = str(packed.meta.get("fingerprint"))
    if not known.startswith(_BY_CONTENT):
        raise InputError(
            f"{out} is from an earlier version, which did not record its source; add --overwrite or choose another -o."
        )
    if known != fingerprint:
        raise InputError(f"{out} was made from another source or other options; add --overwrite or choose another -o.")
    if packed.meta.get("content") != packed.identity:
        raise InputError(f"{out} was changed after it was made; add --overwrite or choose another -o.")
    report = PrepareReport(out, packed.meta, up_to_date=True)
    for line in read_lines(out / "report.jsonl"):  # not splitlines: names may contain other separators
        record = json.loads(line)
        doubtful = report.doubtful if record["reason"] == DOUBTFUL else report.outside
        (doubtful if record["stored"] else report.left_out).append(record)
    return report
