"""Functions that differ between operating systems: locks, exchange of folders, flushing to the disk."""

import errno
import hashlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_MISSING = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}  # the file system cannot do it
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
_NETWORK = re.compile(
    r"(fuse\.)?(9p|acfs|afpfs|afs|beegfs|ceph|ceph-fuse|cifs|gcsfuse|glusterfs|gpfs|juicefs|lustre|mfs|moosefs|ncpfs|"
    r"nfs|nfs4|orangefs|panfs|pvfs2|quobyte|rclone|s3fs|smb3|smbfs|sshfs|webdav|wekafs)"
)


class NoLocks(OSError):
    """The file system has no locks, as some network file systems."""


def acquire(path: Path, *, shared: bool = False, wait: bool = True) -> int | None:
    """Create and lock a file; it stays locked until the number is closed or the process ends, however it ends.

    Args:
        path: The lock file. Whoever holds it alone may remove it.
        shared: Several processes may hold it like this at once; on Windows one at a time.
        wait: For whoever holds it.

    Returns:
        Number of the open file; None when another holds it, which happens only without `wait`.

    Raises:
        NoLocks: The file system has none.
        OSError: The file cannot be made.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            held = _lock(file, shared, wait)
            if held and _is_at(file, path):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        if not held:
            return None


@contextmanager
def locked(path: str | Path, *, shared: bool = False) -> Iterator[bool]:
    """Hold a path exclusively among all callers of this function; waits for others.

    The lock is a hidden file beside the path, so the path itself may be replaced meanwhile.

    Args:
        path: What to have; its folder is created.
        shared: Allow other holders that share it.

    Yields:
        False where the file system has no locks, so that others may be at it.
    """
    path = Path(os.path.realpath(path))
    make_parent(path)
    place = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}.lock")
    try:
        file = acquire(place, shared=shared)
    except NoLocks:
        place.unlink(missing_ok=True)
        yield False
        return
    except OSError as error:
        error.filename = str(path)  # users do not know the lock file
        raise
    try:
        yield True
    finally:
        if not shared:
            with suppress(OSError):  # Windows does not remove open files
                place.unlink()
        if file is not None:
            os.close(file)


def _is_at(file: int, path: Path) -> bool:
    """Whether an open lock file is still the one at the path: its last holder may have removed it."""
    if sys.platform == "win32":
        return True  # open files stay there
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(file: int, shared: bool, wait: bool) -> bool:
    try:
        if sys.platform != "win32":
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
            return True
        while True:
            with suppress(PermissionError):
                msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
                return True
            if not wait:
                return False
            time.sleep(0.01)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _MISSING:
            raise NoLocks(error.errno, "This file system has no locks") from error
        raise


def make_parent(path: Path) -> None:
    """Make the folder that a path is in.

    Raises:
        NotADirectoryError: A file is in its place.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        told = "A file is where a folder is needed; choose another path"
        raise NotADirectoryError(errno.ENOTDIR, told, error.filename) from error


def machine() -> str:
    """Identifies the running kernel and container, within which locks are visible."""
    told = [socket.gethostname()]
    with suppress(OSError):
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        told.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\0".join(told).encode()).hexdigest()[:12]


def network_kind(path: Path) -> str:
    """Name of the network file system that a path is on, such as nfs4; empty on a disk of this machine, or unknown."""
    if sys.platform == "win32":
        import ctypes

        anchor = Path(os.path.realpath(path)).anchor
        return "network drive" if ctypes.windll.kernel32.GetDriveTypeW(anchor) == 4 else ""
    kind = file_system(path)
    return kind if _NETWORK.fullmatch(kind) else ""


def file_system(path: Path) -> str:
    """Name of the file system that a path is on, such as ext4; empty where that is unknown."""
    place = Path(os.path.realpath(path))
    below = [(point, kind) for point, kind in _mounts() if place.is_relative_to(point)]
    return max(below, key=lambda each: len(Path(each[0]).parts), default=("", ""))[1]  # of equal ones the first found


def _mounts() -> list[tuple[str, str]]:
    """Where file systems are mounted, and their kinds; the latest first, which hides earlier ones."""
    found: list[tuple[str, str]] = []
    with suppress(OSError, ValueError, IndexError, subprocess.SubprocessError):
        if sys.platform == "linux":
            for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
                about, _, kind = line.partition(" - ")
                point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), about.split()[4])
                found.append((point, kind.split()[0]))
        else:
            told = subprocess.run(["/sbin/mount"], capture_output=True, text=True, timeout=5, check=True).stdout
            found += re.findall(r"^.* on (/.*) \((\w+)", told, re.MULTILINE)
    return found[::-1]


def exchange(first: Path, second: Path) -> bool:
    """Exchange two folders atomically; False where the system or the file system cannot.

    Raises:
        OSError: One is missing, or may not be moved.
    """
    import ctypes

    names = os.fsencode(first), os.fsencode(second)
    try:
        if sys.platform == "linux":
            here = ctypes.c_int(-100)  # AT_FDCWD
            failed = ctypes.CDLL(None, use_errno=True).renameat2(here, names[0], here, names[1], _EXCHANGE)
        elif sys.platform == "darwin":
            failed = ctypes.CDLL(None, use_errno=True).renamex_np(names[0], names[1], _EXCHANGE)
        else:
            return False
    except AttributeError:  # an old C library
        return False
    number = ctypes.get_errno() if failed else 0
    if number and number not in _MISSING:
        raise OSError(number, os.strerror(number), str(second))
    return not number


def write_through(path: Path, within: bool = True) -> None:
    """Return when a file, or a folder with all in it, is on the disk.

    Args:
        path: The file or folder.
        within: Not only the folder's list of names.

    Raises:
        OSError: It cannot be written, which some disks report only now.
    """
    if not (within and path.is_dir()):
        _flush(path)
        return
    from concurrent.futures import ThreadPoolExecutor

    found = [Path(root, name) for root, _, names in os.walk(path) for name in (".", *names)]
    with ThreadPoolExecutor(16) as pool:  # one after the other, every file would wait for the disk's next commit
        list(pool.map(_flush, (each for each in found if not each.is_symlink())))


def _flush(path: Path) -> None:
    windows = sys.platform == "win32"
    if not path.is_file() and (windows or not path.is_dir()):
        return  # pipes have no bytes on the disk, and Windows opens no folders
    try:
        file = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    except PermissionError:
        return  # files may be put into some folders whose names may not be read
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in _MISSING:
            raise
    finally:
        os.close(file)
