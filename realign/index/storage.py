"""Manifests of index folders: sizes and checksums of all files, and their verification."""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from realign.errors import InputError, InputWarning
from realign.file_names import META
from realign.files import missing_model, piece_digest, sweep

MANIFEST = META
KNOWN, KNOWN_FILE = "known", "calibration.json"  # what `realign calibrate` writes: a folder, and a file in it
INDEX_FILE, KEYS_FILE, PLACES_FILE = "index.faiss", "keys.npy", "places.npy"
VERSION = 1
PIECE = 1 << 22  # bytes under one checksum: 4 MiB, so that a large file can be checked in part and on several cores
FULL_CHECK = 1 << 29  # bytes: a file up to 512 MiB is checked whole at every opening (0.3 s on one core)
_SAMPLED = 32  # pieces of a larger file checked at every opening, the first and the last among them


def write_manifest(folder: Path, meta: dict[str, Any]) -> None:
    """Write meta.json: the entries of meta, the checksums of all other files, and its own checksum."""
    files = {path.name: _describe(path) for path in sorted(folder.iterdir()) if path.is_file()}
    content = meta | {"version": VERSION, "piece_bytes": PIECE, "files": files}
    with open(folder / MANIFEST, "w", encoding="utf-8") as file:
        json.dump(content | {"sha256": _digest(content)}, file, indent=1)


def check_replaceable(folder: Path) -> None:
    """Refuse to replace anything that is not an index.

    Raises:
        InputError: The path exists and is neither an index nor an empty folder.
    """
    content = _read(folder)
    damaged = content is None and (folder / MANIFEST).is_file()  # a broken index may be replaced
    empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not (empty or damaged or _is_manifest(content)):
        raise InputError(f"{folder} exists and is not an index; choose another folder")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read meta.json.

    Raises:
        InputError: There is no index in the folder, or meta.json is damaged or of another version.
    """
    remedy = "build one with `realign index build`"
    if not folder.exists():
        sweep(folder)  # restores what a killed process had moved away
    if not folder.is_dir():
        raise missing_model(folder, "index")
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{folder} holds no index ({MANIFEST} is missing); {remedy}")
    content = _read(folder)
    if isinstance(content, dict) and not _is_manifest(content):
        raise InputError(f"{folder} holds no index ({MANIFEST} is of something else); {remedy}")
    if content is None or content.pop("sha256") != _digest(content):
        raise InputError(_damage(folder, MANIFEST, "its checksum differs"))
    if content["version"] != VERSION:
        raise InputError(
            f"the index at {folder} has format {content['version']}, this realign reads {VERSION}; build it again"
        )
    return content


def _read(folder: Path) -> dict[str, Any] | None:
    """The content of meta.json; None if it is missing or not a JSON object."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _is_manifest(content: dict[str, Any] | None) -> bool:
    """Whether the manifest is of an index; prepared sets have a file of the same name."""
    return (
        content is not None and {"sha256", "files", "version"} <= content.keys() and isinstance(content["files"], dict)
    )


def keep_calibration(made: Path, output: Path, sources: Sequence[Path] = ()) -> None:
    """Copy what `realign calibrate` wrote into an earlier index, if the new one is the same to the last bit.

    Its probabilities hold for the motions and captions with which they were measured; otherwise a warning says that it
    is left out.

    Args:
        made: The new index, complete but for this.
        output: Where it will be; what is there is replaced.
        sources: Indexes of which it was made.
    """
    calibrated = [each for each in (output, *sources) if (each / KNOWN).is_dir()]
    same = next((each for each in calibrated if _read(each) == _read(made)), None)
    if same is not None:
        shutil.copytree(same / KNOWN, made / KNOWN)
    elif calibrated:
        warnings.warn(
            f"The calibration of {calibrated[0]} does not hold for the new index at {output}, which differs from it, "
            f"and is left out; measure it with `realign calibrate --index {output}`.",
            InputWarning,
            stacklevel=2,
        )


def check_model(folder: Path, made_by: str, fingerprint: str) -> None:
    """Refuse an index of another model than the one that embeds the queries.

    Raises:
        InputError: The fingerprints differ.
    """
    if made_by != fingerprint:
        raise InputError(
            f"the index at {folder} was made by the model {made_by!r}, not by {fingerprint!r}; search it with its own "
            "model or build an index with this one"
        )


def check_files(folder: Path, manifest: dict[str, Any], verify: bool | None = None) -> None:
    """Compare every file with the manifest.

    Args:
        folder: The folder of the index.
        manifest: What `read_manifest` gave.
        verify: True checks every byte; False sizes only; None every byte of files up to 512 MiB and, of larger ones,
            32 pieces of 4 MiB spread from the first to the last.

    Raises:
        InputError: A file is missing, truncated or altered; the message names it.
    """
    for name, entry in manifest["files"].items():
        path = folder / name
        if Path(name).name != name or not _is_description(entry):
            raise InputError(_damage(folder, MANIFEST, f"it describes the file {name!r} wrongly"))
        if not path.is_file():
            raise InputError(_damage(folder, name, "it is missing"))
        if (size := path.stat().st_size) != entry["bytes"]:
            raise InputError(_damage(folder, name, f"it has {size} bytes and {entry['bytes']} were written"))
        count = len(entry["sha256"])
        pieces = list(range(count)) if verify is not False else []
        if verify is None and size > FULL_CHECK:
            pieces = sorted({i * (count - 1) // (_SAMPLED - 1) for i in range(_SAMPLED)})
        digests = _piece_digests(path, pieces, manifest["piece_bytes"])
        if digests != [entry["sha256"][i] for i in pieces]:
            raise InputError(_damage(folder, name, "its checksum differs"))


def _is_description(entry: Any) -> bool:
    """Whether it is what `_describe` gives."""
    return isinstance(entry, dict) and type(entry.get("bytes")) is int and isinstance(entry.get("sha256"), list)


def _describe(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of every piece of a file."""
    size = path.stat().st_size
    return {"bytes": size, "sha256": _piece_digests(path, range(-(-size // PIECE)), PIECE)}


def _piece_digests(path: Path, pieces: Iterable[int], piece_bytes: int) -> list[str]:
    """SHA-256 of the pieces, hashed in threads (hashlib works outside Python's lock)."""
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        return list(pool.map(lambda number: piece_digest(path, number * piece_bytes, piece_bytes), pieces))


def _digest(content: dict[str, Any]) -> str:
    """SHA-256 of the content in one canonical form."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _damage(folder: Path, name: str, why: str) -> str:
    return f"the file {name} of the index at {folder} is damaged: {why}; copy or build the index again"
