import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside `path` (same suffix) and rename it to `path` when the block succeeds.

    The block may create a file or a folder under that name. An existing file or folder is replaced only at the end;
    when the block raises, nothing is left behind.

    Args:
        path: The final name; its parent folder is created.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    temporary = holder / path.name
    try:
        yield temporary
        if path.is_dir():
            os.rename(path, holder / "replaced")  # a folder cannot be overwritten by a rename
        os.replace(temporary, path)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def cache_folder(name: str) -> Path:
    """Where what can be made again is kept: ``$REALIGN_CACHE/name``, else ``~/.cache/realign/name``."""
    return Path(os.environ.get("REALIGN_CACHE") or "~/.cache/realign").expanduser() / name


def shipped_folder(name: str) -> Path:
    """Where the package keeps weights, or an index, of a name; it need not be there."""
    return Path(str(files("realign"))) / "pretrained" / name


def sha256_file(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
