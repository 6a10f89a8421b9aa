"""Motions in a column of a Parquet file: nested lists of numbers, or the bytes of files."""

import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from realign.data.prepare.caption_sources import open_parquet
from realign.errors import InputError
from realign.files import StoredFile

if TYPE_CHECKING:
    import pyarrow

_NAMES = ("motion", "motions", "joints", "features", "new_joints", "new_joint_vecs", "positions")
_KINDS = {b"\x93NUMPY": ".npy", b"PK\x03\x04": ".npz", b"glTF": ".glb"}
_BATCH = 16  # rows read at once


def motion_column(path: Path, schema: "pyarrow.Schema") -> str | None:
    """The column of motions; None if there is none.

    Raises:
        InputError: Several columns may be.
    """
    found = [each.name for each in schema if _holds_motions(each.type)]
    named = [name for name in found if name.strip().lower() in _NAMES] or found
    if len(named) > 1:
        raise InputError(f"{path} has the columns {', '.join(named)[:100]}, each of which may be motions: keep one.")
    return named[0] if named else None


def _holds_motions(kind: "pyarrow.DataType") -> bool:
    """Whether a column may hold motions: nested lists of numbers, bytes, or bytes with a path."""
    from pyarrow import types

    kind = getattr(kind, "storage_type", kind)  # of arrays of the library datasets
    if types.is_struct(kind):
        return any(each.name == "bytes" and _is_binary(each.type) for each in kind)
    depth = 0
    while _is_list(kind):
        kind, depth = kind.value_type, depth + 1
    return _is_binary(kind) if depth == 0 else depth > 1 and (types.is_floating(kind) or types.is_integer(kind))


def _is_binary(kind: "pyarrow.DataType") -> bool:
    from pyarrow import types

    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_list(kind: "pyarrow.DataType") -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


class MotionColumn:
    """One column of a Parquet file, read forwards in small batches.

    Args:
        path: The file.
        column: The column.
    """

    def __init__(self, path: Path, column: str) -> None:
        self._path, self._column = path, column
        self._stack = ExitStack()
        self._file = self._stack.enter_context(open_parquet(path))
        counts = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._starts = np.cumsum([0, *counts])  # first row of each group
        self._batches: Iterator[pyarrow.RecordBatch] = iter(())
        self._batch: pyarrow.RecordBatch | None = None
        self._first = 0  # row of the batch

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def read(self, row: int) -> StoredFile:
        """The motion of a row; raises as `Archives.read`."""
        import pyarrow

        name = f"{self._path.name}, row {row + 1}"
        try:
            column = self._row(row)
            if isinstance(column.type, pyarrow.ExtensionType):
                column = column.storage
            if pyarrow.types.is_struct(column.type):
                column = column.field("bytes")
            if column.null_count:
                raise InputError(f"{name} holds no motion")
            if _is_list(column.type):
                return _array_file(f"{name}.npy", _numbers(column, name))
            data = bytes(column[0].as_py())
        except (pyarrow.ArrowException, OSError) as error:
            self._batch, self._batches = None, iter(())
            reason = " ".join(str(error).split())[:100]
            raise InputError(f"{name} is damaged ({reason}): copy the file again") from None
        return StoredFile(f"{name}{_suffix_of(data, name)}", data)

    def _row(self, row: int) -> Any:
        """The column of one row alone."""
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        if self._batch is None or row < self._first or self._starts[group] >= self._first + len(self._batch):
            groups = list(range(group, len(self._starts) - 1))
            self._batches = self._file.iter_batches(_BATCH, row_groups=groups, columns=[self._column])
            self._first, self._batch = int(self._starts[group]), next(self._batches)
        while row >= self._first + len(self._batch):
            self._first += len(self._batch)
            self._batch = next(self._batches)
        return self._batch.column(0).slice(row - self._first, 1)


def _numbers(column: Any, name: str) -> NDArray[Any]:
    """The array of nested lists of equal lengths, in a column of one row."""
    from pyarrow import compute

    shape = []
    while _is_list(column.type):
        lengths = set(compute.list_value_length(column).to_pylist())
        if len(lengths) != 1 or None in lengths:
            raise InputError(f"{name} holds lists of different lengths, not an array: give (frames, joints, 3)")
        shape.append(lengths.pop())
        column = column.flatten()
    return np.asarray(column.to_numpy(zero_copy_only=False)).reshape(shape)


def _array_file(name: str, array: NDArray[Any]) -> StoredFile:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return StoredFile(name, file.getvalue())


def _suffix_of(data: bytes, name: str) -> str:
    """The suffix of the file whose bytes these are."""
    for magic, suffix in _KINDS.items():
        if data.startswith(magic):
            return suffix
    if data[:64].lstrip().upper().startswith(b"HIERARCHY"):
        return ".bvh"
    raise InputError(f"{name} holds bytes that are not a .npy, .npz, .glb or .bvh file: leave it out")
