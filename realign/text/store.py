"""A file of text features that several processes may read and write at once."""

import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from realign.system import locked, network_kind

Entry = tuple[np.ndarray, np.ndarray]  # words (L, D) and sentence (D,), float32
T = TypeVar("T")

_WAIT = 30.0  # seconds to wait for another process
_TABLE = "CREATE TABLE IF NOT EXISTS features (caption BLOB PRIMARY KEY, tokens BLOB, pooled BLOB)"
_BATCH = 500  # rows a query: below the limit on parameters of every SQLite


class StoreUnusable(Exception):
    """The file cannot be opened or written: read-only, full, or a file system without locks."""


class _Damaged(Exception):
    """The file is not a database, or SQLite cannot read it."""


class FeatureStore:
    """Captions and their features in an SQLite file with a write-ahead log; raw float32 bytes, no pickle.

    Each call opens its own connection, so that objects may be copied, pickled and carried over a fork. A file that
    turns out damaged is made anew, with a warning: it holds nothing that cannot be computed again. This waits until no
    other process has the file open, for which each call holds a lock that it shares with the others. It is for the
    processes of one machine: the log does not work over a network, so that a file there is not used.

    Args:
        path: The file; its folder is created.
        dim: Width D of the features.
    """

    def __init__(self, path: Path, dim: int):
        self.path = path
        self.dim = dim

    def read(self, texts: list[str]) -> dict[str, Entry]:
        """Features of those captions that are stored.

        Raises:
            StoreUnusable: The file cannot be opened.
        """

        def query(connection: sqlite3.Connection) -> dict[str, Entry]:
            found: dict[str, Entry] = {}
            for start in range(0, len(texts), _BATCH):
                keys = [_key(text) for text in texts[start : start + _BATCH]]
                marks = ",".join("?" * len(keys))
                for key, *row in connection.execute(f"SELECT * FROM features WHERE caption IN ({marks})", keys):
                    if entry := self._entry(*row):
                        found[key.decode("utf-8", "surrogatepass")] = entry
            return found

        return self._run(query)

    def write(self, entries: Mapping[str, Entry]) -> None:
        """Store features, all of them or none.

        Raises:
            StoreUnusable: The file cannot be written.
        """
        rows = [
            (_key(text), tokens.astype("<f4").tobytes(), pooled.astype("<f4").tobytes())
            for text, (tokens, pooled) in entries.items()
        ]

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")

        self._run(insert)

    def _entry(self, tokens: object, pooled: object) -> Entry | None:
        """Arrays of one row; None if it is damaged, so that it is computed again."""
        width = 4 * self.dim
        if not (isinstance(tokens, bytes) and isinstance(pooled, bytes)):
            return None
        if not tokens or len(tokens) % width or len(pooled) != width:
            return None
        return np.frombuffer(tokens, "<f4").reshape(-1, self.dim), np.frombuffer(pooled, "<f4")

    def _run(self, action: Callable[[sqlite3.Connection], T]) -> T:
        if kind := _network_kind(self.path.parent):
            raise StoreUnusable(f"it is on a network file system, {kind}")
        try:
            with locked(self.path, shared=True), suppress(_Damaged):
                return self._act(action)
            with locked(self.path) as alone:
                with suppress(_Damaged):  # another process may have made it anew meanwhile
                    return self._act(action)
                if not alone:
                    raise OSError(f"{self.path} is damaged and may be open elsewhere; remove it")
                self._remove()
                return self._act(action)
        except (sqlite3.Error, OSError, _Damaged) as error:
            raise StoreUnusable(str(error)) from error

    def _act(self, action: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with self._connect() as connection:
                return action(connection)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            raise _Damaged(str(error)) from error

    def _remove(self) -> None:
        warnings.warn(f"The text cache {self.path} is damaged and is made anew.", stacklevel=2)
        for suffix in ("-wal", "-shm", ""):  # a log without its file would be taken for that of the next one
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)) as connection:
            _use_write_ahead_log(connection)
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(_TABLE)
            yield connection


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch on the mode in which readers and a writer do not block each other; a no-op when it is on already.

    The first switch needs the file alone, and SQLite does not wait for that by itself.
    """
    deadline = time.monotonic() + _WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@lru_cache
def _network_kind(folder: Path) -> str:
    return network_kind(folder)


def _key(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
