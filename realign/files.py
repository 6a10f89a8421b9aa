import codecs
import gzip
import hashlib
import io
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from realign.errors import InputError
from realign.file_names import CONFIG, OUTPUTS, WEIGHTS
from realign.hub import HubName, HubSet, fetch, is_hub_name
from realign.spelling import suggestion
from realign.staging import atomic_path as atomic_path
from realign.staging import sweep as sweep
from realign.staging import unfinished as unfinished

if TYPE_CHECKING:  # light commands come here, too
    from numpy.typing import NDArray


_PIECE = 1 << 24  # bytes hashed at once: 16 MiB, so that one large file keeps several cores busy


def cache_folder(name: str) -> Path:
    """The folder of a cache: ``$REALIGN_CACHE/name``, else ``~/.cache/realign/name``."""
    return Path(os.environ.get("REALIGN_CACHE") or "~/.cache/realign").expanduser() / name


def shipped_folder(name: str) -> Path:
    """The package's folder of weights, or of an index; it may be absent."""
    return Path(str(files("realign"))) / "pretrained" / name


def is_exported(path: Path) -> bool:
    """Whether a path is a folder of exported or imported weights."""
    return all((path / name).is_file() for name in (CONFIG, WEIGHTS))


class StoredFile(str):
    """The name of a file inside another, such as an archive, with its bytes; readers take it as they take a path."""

    data: bytes

    def __new__(cls, name: str, data: bytes) -> "StoredFile":
        """Name it, for messages, and hold its bytes."""
        self = super().__new__(cls, name)
        self.data = data
        return self

    @property
    def suffix(self) -> str:
        """The suffix of its name."""
        return Path(self).suffix


def open_file(path: str | Path) -> IO[bytes]:
    """Open a path or a `StoredFile` to read its bytes."""
    return io.BytesIO(path.data) if isinstance(path, StoredFile) else open(path, "rb")


def model_path(given: str | Path) -> Path:
    """The path of a model or an index: a path, or the name of one that the package ships.

    An existing path comes before a name.
    """
    path = Path(given)
    shipped = shipped_folder(path.name)
    return shipped if str(given) == path.name and not path.exists() and shipped.is_dir() else path


def local_path(given: str | Path) -> Path | HubName:
    """As `resolve_model`, but the name of a repository on the Hub stays one, and nothing is downloaded.

    Beside a folder ORG here, and in the folders of `OUTPUTS`, ORG/NAME is a path that is wrong or was not written yet,
    and ORG/NAME@REVISION a repository.
    """
    if isinstance(given, HubName):
        return given
    path = model_path(given)
    return HubName(given) if _is_remote(given, path) else path


def local_set(given: str | Path) -> Path | HubSet:
    """The path of a prepared set, or the name of one on the Hub, by the rules of `local_path`."""
    if isinstance(given, HubSet):
        return given
    path = Path(given)
    return HubSet(given) if _is_remote(given, path) else path


def _is_remote(given: str | Path, path: Path) -> bool:
    """Whether a text names a repository on the Hub, and nothing at its path."""
    if not isinstance(given, str) or not is_hub_name(given) or path.exists():
        return False
    return "@" in given or not (path.parts[0] in OUTPUTS or path.parent.is_dir())


def resolve_model(given: str | Path) -> Path:
    """As `model_path`, or the downloaded folder of a repository on the Hub, ORG/NAME or ORG/NAME@REVISION.

    An existing path comes before a repository, and a ``Path`` never names one; see also `local_path`. All commands, and
    everything in Python that loads a model, read names this way.

    Raises:
        InputError: A repository cannot be read, see `realign.hub.fetch`.
    """
    path = local_path(given)
    return fetch(path) if isinstance(path, HubName) else path


def named_path(given: str) -> tuple[str | None, Path]:
    """Name and path of NAME=PATH, or None and the path; a repository on the Hub is called by its name.

    It is a path alone if the whole text exists, or if the part before the first "=" is not a plain name: checkpoints
    are called epoch=3-step=200.ckpt.
    """
    name, path = split_name(given)
    if name is not None:
        return name, resolve_model(path)
    local = local_path(given)
    return (local.name, fetch(local)) if isinstance(local, HubName) else (None, local)


def split_name(given: str) -> tuple[str | None, str]:
    """NAME and PATH of NAME=PATH, or None and the whole text, as in `named_path`; nothing is downloaded."""
    name, found, path = given.partition("=")
    return (name, path) if found and re.fullmatch(r"[\w-]*", name) and not Path(given).exists() else (None, given)


def missing(kind: str, path: Path, otherwise: str = "check the path.", names: Iterable[str] = ()) -> InputError:
    """The error of a path that does not exist, with a similar name if there is one.

    Args:
        kind: What it should be.
        path: The path.
        otherwise: The remedy without a similar name.
        names: Further names that could be meant, beside those in its folder.
    """
    around = path.parent.iterdir() if path.parent.is_dir() else ()
    beside = {str(path.parent / each.name) for each in around if bool(each.suffix) == bool(path.suffix)}
    return InputError(f"There is no {kind} at {path}; {suggestion(str(path), {*beside, *names}, otherwise, 0.75)}")


def missing_model(path: Path, kind: str = "checkpoint") -> InputError:
    """The error of a checkpoint or an index that does not exist; names that the package ships may be meant, too."""
    home = shipped_folder("")
    shipped = (
        [each.name for each in home.iterdir() if each.is_dir()] if home.is_dir() and path.name == str(path) else []
    )
    hub = f"{path}@main" if is_hub_name(str(path)) else "ORG/NAME"  # see `local_path`
    command = "index build" if kind == "index" else "import" if path.parts[:1] == ("imported",) else "fit"
    return missing(
        kind,
        path,
        f"check the path, name a repository on the Hub as {hub}, or make one with `realign {command}`.",
        shipped,
    )


def read_text(path: str | Path, errors: str = "strict") -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte-order mark; without the mark and with plain newlines.

    Args:
        path: The file; one that ends in .gz is unpacked.
        errors: Handling of bytes that are not text, as in `bytes.decode`.

    Raises:
        InputError: It is not such text; the line is named. Or it is not an archive that can be unpacked.
        OSError: It cannot be read.
    """
    with open_file(path) as file:
        content = file.read()
    if str(path).lower().endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} cannot be unpacked ({error}); copy it again.") from error
    return decode_text(content, path, errors)


def decode_text(content: bytes, name: str | Path, errors: str = "strict") -> str:
    """The text of a file's bytes; as `read_text`, which says where they are from by `name`."""
    wide = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig", errors)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{name}, line {line}: it is not UTF-8 text; save the file as UTF-8.") from error
    if "\0" in text and errors == "strict":  # UTF-16 without a mark, or no text
        raise InputError(f"{name} holds zero bytes, so it is not UTF-8 text; save the file as UTF-8.")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: str | Path) -> list[str]:
    """Lines of a text file, without blanks around them and without empty ones; raises what `read_text` does."""
    return [line.strip() for line in read_text(path).split("\n") if line.strip()]


def load_npy(path: str | Path, mapped: bool = False) -> "NDArray[Any]":
    """The array of a .npy file, without executing pickled code.

    Args:
        path: The file.
        mapped: Map it read-only instead of reading it.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged, or no .npy file; the message is one line.
        OSError: It cannot be read.
    """
    import numpy as np

    # by name: numpy.load would take an archive, too
    if not mapped:
        with open_file(path) as file:
            return read_npy(file)
    with _one_line_errors():
        array = np.lib.format.open_memmap(path, mode="r")
        if isinstance(array, np.memmap) and array.offset + array.nbytes != os.path.getsize(path):
            raise ValueError("its size is not what its header says")
        return array.view(np.ndarray)


def read_npy(file: IO[bytes]) -> "NDArray[Any]":
    """The array of an open .npy file, without executing pickled code; raises what `load_npy` does."""
    import numpy as np

    with _one_line_errors():
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Raise a ValueError of one line for whatever a damaged .npy file raises."""
    import tokenize

    try:
        yield
    # a header is parsed as Python: a damaged one raises any of these
    except (ValueError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError, tokenize.TokenError) as error:
        lines = str(error.args[0] if error.args else "").splitlines()
        raise ValueError(lines[0] if lines else type(error).__name__) from error


def data_files(folder: str | Path, suffix: str, recursive: bool = False) -> list[Path]:
    """Files of a folder with a suffix, in any case, sorted; without hidden files and those of operating systems.

    Args:
        folder: The folder.
        suffix: Such as ".npy".
        recursive: Search its subfolders, too.

    Returns:
        Their paths, without any below the folder that starts with a dot (``._clip.npy``) or is called ``__MACOSX``.
    """
    folder = Path(folder)
    found = folder.rglob("*") if recursive else folder.glob("*")
    return sorted(
        path
        for path in found
        if path.suffix.lower() == suffix
        and not any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def sha256_file(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def piece_digest(path: str | Path, start: int, size: int) -> str:
    """Hex SHA-256 of a part of a file, `size` bytes from `start` or what there is of them."""
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        return hashlib.sha256(file.read(size)).hexdigest()


def content_digest(files: Iterable[tuple[str, Path]]) -> str:
    """Hex SHA-256 of names and contents of files, independent of folders and dates.

    Hashed in threads, outside Python's lock: 0.2 s for 150 MB on one core.

    Args:
        files: Name and path of each, in any order.
    """
    pieces = (
        (name, path, start) for name, path in sorted(files) for start in range(0, max(path.stat().st_size, 1), _PIECE)
    )
    digest = hashlib.sha256()
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        while group := list(islice(pieces, 4096)):  # in parts, since a million files would be a million waiting tasks
            found = pool.map(lambda piece: piece_digest(piece[1], piece[2], _PIECE), group)
            for (name, _, start), part in zip(group, found, strict=True):
                digest.update(f"{name}\0{start}\0{part}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
