"""Files and folders that are written under a temporary name and renamed when they are complete."""

import errno
import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from realign import system
from realign.errors import InputError

_LOCK, _REPLACED = "lock", "replaced"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary name (same suffix) and rename it to `path` when the block succeeds.

    The block may create a file or a folder under that name; anything else that it puts beside it is removed. What is at
    `path` is replaced only at the end, once the new one is on the disk, and a folder without a moment of absence where
    the system can exchange folders. When the block raises, nothing is left behind; what a killed process left is
    removed by the next one that writes into the same parent folder, see `sweep`.

    Args:
        path: The final name; its parent folder is created. A link stays, what it points to is replaced.

    Raises:
        InputError: The path is a device, or the folder in which this process runs.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    _check_target(path, target)
    system.make_parent(target)
    sweep(target)
    try:
        with _staging(target.parent) as folder:
            made = folder / (path.name or target.name)
            yield made
            system.write_through(made)
            _publish(made, target, folder)
            system.write_through(target.parent, within=False)
    except OSError as error:
        nameless = error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if nameless or str(error.filename).startswith(str(_place(target.parent))):
            error.filename = str(path)  # users do not know the temporary name
        raise


@contextmanager
def unfinished(path: str | Path, key: str, mark: str) -> Iterator[Path]:
    """Give a folder for long work on what `path` will be, in which a killed process's work is found again.

    Its name is stable: the next process with the same path and key gets the folder as it was left, and work of another
    key is removed. It also stays when the block is interrupted from the keyboard, but not after any other error. Where
    another process is at the same work, an empty folder of its own is given.

    Args:
        path: The final name; moving what was made there is left to the block, by `atomic_path`.
        key: What the work depends on.
        mark: Name of the file in the folder that says how far the work is; without it nothing is kept.
    """
    target = Path(os.path.realpath(path))
    system.make_parent(target)
    sweep(target)
    place, mine = _place(target.parent), f"kept-{_short(target.name)}-"
    folder, lock = place / f"{mine}{_short(key)}", None
    place.mkdir(exist_ok=True)
    for old in place.glob(f"{mine}*"):
        if old != folder:
            _remove(old)
    with suppress(system.NoLocks, FileNotFoundError):
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = system.acquire(folder / _LOCK, wait=False)
    if lock is None:
        with _staging(target.parent) as other:
            (other / "work").mkdir()
            yield other / "work"
        return
    work = folder / "work"
    if not (work / mark).exists():
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(exist_ok=True)
    try:
        yield work
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt) or not (work / mark).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        os.close(lock)
        with suppress(OSError):  # not empty
            place.rmdir()


def _short(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:12]


def _remove(folder: Path) -> None:
    """Remove a folder that no living process has locked."""
    with suppress(OSError):
        lock = system.acquire(folder / _LOCK, wait=False)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def sweep(path: str | Path) -> None:
    """Remove what killed processes left beside a path that `atomic_path` writes.

    If a process was killed between moving the old folder away and the new one in, the old one is restored. Files of
    living processes and of other machines, containers or users are left alone.

    Args:
        path: A file or folder that may have been written; it need not be there.
    """
    place = _place(Path(os.path.realpath(path)).parent)
    try:
        names = os.listdir(place)
    except OSError:
        return  # usually, there is none
    for folder in (place / name for name in names if name.startswith(f"{system.machine()}-")):
        with suppress(OSError):  # another process sweeps, too
            lock = system.acquire(folder / _LOCK, wait=False)
            if lock is None:
                continue
            try:
                for old in (folder / _REPLACED).glob("*"):
                    if not os.path.lexists(place.parent / old.name):
                        os.rename(old, place.parent / old.name)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
    with suppress(OSError):  # not empty
        place.rmdir()


def _place(parent: Path) -> Path:
    """The subfolder of this user's unfinished files; one for all, so that they are found quickly."""
    return parent / f".realign-{os.getuid() if sys.platform != 'win32' else 'partial'}"


@contextmanager
def _staging(parent: Path) -> Iterator[Path]:
    """A new folder of this process, locked, that is removed afterwards."""
    place = _place(parent)
    for _ in range(1000):  # others may remove both folders before they are locked
        folder = place / f"{system.machine()}-{os.getpid()}-{secrets.token_hex(4)}"
        lock = None
        try:
            place.mkdir(exist_ok=True)
            folder.mkdir(mode=0o700)
            if (lock := system.acquire(folder / _LOCK, wait=False)) is not None:
                break
        except system.NoLocks:
            break
        except FileNotFoundError:
            continue
    else:
        raise FileNotFoundError(errno.ENOENT, "The folder vanishes again and again", str(parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)
        with suppress(OSError):  # not empty
            place.rmdir()


def _publish(made: Path, target: Path, folder: Path) -> None:
    """Move the result to its place; what it replaces goes into `folder`."""
    if target.is_dir() and made.is_file():
        raise IsADirectoryError(errno.EISDIR, "A folder has that name; choose another for the file", str(target))
    if target.is_file() and made.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "A file has that name; choose another for the folder", str(target))
    old = folder / _REPLACED / target.name
    for attempt in range(10):
        try:
            if not target.is_dir():
                os.replace(made, target)
                return
            if system.exchange(made, target):
                return
            old.parent.mkdir(exist_ok=True)
            os.rename(target, old)  # a folder cannot be overwritten by a rename
            try:
                os.rename(made, target)
            except OSError:
                os.rename(old, folder / f"old{attempt}" if target.exists() else target)
                raise
            os.rename(old, made)  # no longer to be put back
            return
        except OSError as error:
            # another process has put one there, or taken one away, since we looked
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT) or not made.exists() or attempt == 9:
                raise


def _check_target(path: Path, target: Path) -> None:
    if target.is_dir():
        with suppress(FileNotFoundError):  # the current folder may be gone
            if Path.cwd().is_relative_to(target):
                raise InputError(f"{path} is the folder that this runs in; choose a folder inside it.")
    elif target.exists() and not target.is_file():
        raise InputError(f"{path} is neither a file nor a folder; choose another output path.")
