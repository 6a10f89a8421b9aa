"""The container of glTF 2.0 (.glb, .gltf): its JSON, its buffers and the arrays in them."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from realign.errors import InputError
from realign.files import StoredFile, open_file

_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_JSON, _BINARY = b"JSON", b"BIN\0"


class GltfFile:
    """An open file; nothing in it is executed, and only files beside it are read.

    Args:
        path: A .glb, or a .gltf with its buffers inside or beside it.

    Raises:
        InputError: It is cut off or not glTF 2.0.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self._binary = path, b""
        self._buffers: dict[int, bytes] = {}
        try:
            with open_file(path) as file:
                data = file.read()
        except FileNotFoundError:
            raise InputError(f"no such motion file: {path}; check the path") from None
        except OSError as error:
            raise InputError(f"cannot read {path} ({error}): check the file") from None
        if data[:4] == b"glTF":
            data = self._unpacked(data)
        self.content = json.loads(data.decode("utf-8-sig"))
        version = str(self.content["asset"]["version"])
        if not version.startswith("2"):
            raise InputError(f"{path} is glTF {version[:9]}: export it as glTF 2.0")

    def _unpacked(self, data: bytes) -> bytes:
        """The JSON chunk; the binary chunk is kept."""
        total = struct.unpack_from("<I", data, 8)[0] if len(data) >= 12 else 12
        if total > len(data):
            raise InputError(f"{self.path} is cut off at {len(data)} of {total} bytes: copy it again")
        chunks: dict[bytes, bytes] = {}
        place = 12
        while place + 8 <= total:
            length, kind = struct.unpack_from("<I4s", data, place)
            chunks.setdefault(kind, data[place + 8 : place + 8 + length])
            place += 8 + length
        self._binary = chunks.get(_BINARY, b"")
        return chunks[_JSON]

    def items(self, kind: str) -> list[dict[str, Any]]:
        """A list of the file's JSON, such as "nodes"; empty if it has none."""
        found = self.content.get(kind, [])
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise ValueError(f"{kind} is not a list of objects")
        return found

    def item(self, kind: str, index: Any) -> dict[str, Any]:
        """One of them by its index."""
        return self.items(kind)[checked_index(index)]

    def array(self, index: Any) -> Float[ndarray, "N K"]:
        """The numbers of an accessor, in float64; normalised integers are scaled to at most 1.

        Raises:
            InputError: It is compressed or sparse.
        """
        accessor = self.item("accessors", index)
        view = self.item("bufferViews", accessor["bufferView"]) if "bufferView" in accessor else None
        if view is None or "sparse" in accessor or view.get("extensions"):
            raise InputError(f"{self.path} holds compressed animations: export it without compression")
        kind, width = np.dtype(_COMPONENTS[accessor["componentType"]]), _WIDTHS[accessor["type"]]
        count, start = checked_index(accessor["count"]), checked_index(view.get("byteOffset", 0))
        data = self._buffer(checked_index(view["buffer"]))[start : start + checked_index(view["byteLength"])]
        stride = checked_index(view.get("byteStride", 0)) or width * kind.itemsize
        shape, strides = (count, width), (stride, kind.itemsize)
        array = np.ndarray(shape, kind, data, checked_index(accessor.get("byteOffset", 0)), strides)  # checks the size
        numbers = array.astype(np.float64)
        if accessor.get("normalized") and kind.kind in "iu":
            numbers = np.maximum(numbers / np.iinfo(kind).max, -1.0)
        if not np.isfinite(numbers).all():
            raise InputError(f"{self.path} holds NaN or infinite values: repair the clip or leave it out")
        return numbers

    def _buffer(self, index: int) -> bytes:
        if index not in self._buffers:
            self._buffers[index] = self._read_buffer(index)
        return self._buffers[index]

    def _read_buffer(self, index: int) -> bytes:
        uri = self.item("buffers", index).get("uri")
        if uri is None:
            return self._binary
        if uri.startswith("data:"):
            return base64.b64decode(uri.partition(",")[2], validate=True)
        from urllib.parse import unquote

        folder = Path(self.path).parent.resolve()
        beside = (folder / unquote(uri)).resolve()
        if isinstance(self.path, StoredFile) or "://" in uri or not beside.is_relative_to(folder):
            raise InputError(f"{self.path} names a buffer outside its folder ({uri[:60]!r}): export it as .glb")
        if not beside.is_file():
            raise InputError(f"{self.path} needs the file {unquote(uri)!r} beside it: copy it there, or export as .glb")
        return beside.read_bytes()


def checked_index(value: Any) -> int:
    """A whole number of 0 or more; raises ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is not an index")
    return value
