"""Write a packed set clip by clip, in one pass, without holding it in memory."""

import math
import os
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from realign.data.prepare.captions import Caption
from realign.data.store import ACTIONS, CLIP, KINDS

_TEXTS = ("ids", "captions", "tokens", "actions")


class ArrayFile:
    """A .npy file that grows row by row; `finish` writes the number of rows into its header.

    Args:
        path: The file.
        dtype: Type of the values.
        shape: Shape of a row.
        rows: Rows of an existing file to continue after; a new file when 0.
    """

    def __init__(self, path: Path, dtype: DTypeLike, shape: tuple[int, ...] = (), rows: int = 0) -> None:
        self.dtype, self.shape, self.rows = np.dtype(dtype), shape, 0
        self._file: BinaryIO = open(path, "r+b" if rows else "wb")  # noqa: SIM115 - closed by close
        self._write_header()
        self._start = self._file.tell()
        end = self._start + rows * self.dtype.itemsize * math.prod(shape)
        if self._file.seek(0, os.SEEK_END) < end:
            self._file.close()
            raise ValueError(f"{path} ends before row {rows}")
        self.rows = rows
        self._file.truncate(end)
        self._file.seek(end)

    def _write_header(self) -> None:
        header = {"shape": (self.rows, *self.shape), "fortran_order": False}
        # NumPy pads the header, so that the number of rows may grow
        np.lib.format.write_array_header_1_0(self._file, {**header, "descr": np.lib.format.dtype_to_descr(self.dtype)})

    def add(self, values: Any) -> None:
        """Append rows."""
        rows = np.ascontiguousarray(values, self.dtype).reshape(-1, *self.shape)
        self._file.write(rows.tobytes())
        self.rows += len(rows)

    def finish(self) -> None:
        """Write the final header.

        Raises:
            RuntimeError: It is longer than the first one.
        """
        self._file.seek(0)
        self._write_header()
        if self._file.tell() != self._start:
            raise RuntimeError("this NumPy does not pad the header of an array that grows")
        self.close()

    def flush(self) -> None:
        """Return when all rows are on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file, finished or not."""
        self._file.close()


class _Texts:
    """Texts as one growing array of UTF-8 bytes, and the offset of each.

    Args:
        folder: Existing folder to write into.
        name: Name of the array.
        offsets: Where each text of an existing file begins, and the end of the last.
    """

    def __init__(self, folder: Path, name: str, offsets: Sequence[int] = (0,)) -> None:
        self.offsets = array("q", offsets)
        self.bytes = ArrayFile(folder / f"{name}.npy", np.uint8, rows=offsets[-1])

    def add(self, texts: Iterable[str]) -> None:
        """Append texts."""
        for text in texts:
            piece = text.encode()
            self.bytes.add(np.frombuffer(piece, np.uint8))
            self.offsets.append(self.offsets[-1] + len(piece))

    def finish(self, offsets: Path | None = None) -> None:
        """Complete the array and write the offsets."""
        if not self.bytes.rows:
            self.bytes.add([0])  # an empty array cannot be mapped
        self.bytes.finish()
        if offsets is not None:
            np.save(offsets, np.frombuffer(self.offsets, np.int64))


class PackedWriter:
    """Writes features, captions and the table of clips, motion by motion.

    Args:
        folder: Existing folder to write into.
        num_features: Width C.
        state: State that `checkpoint` returned for the same folder, to continue from.

    Attributes:
        motions: Ids of the motions added, except those without any part that is long enough.
    """

    def __init__(self, folder: Path, num_features: int, state: dict[str, Any] | None = None) -> None:
        state = state or {"motions": [], "features": 0, "clips": 0, **dict.fromkeys(_TEXTS, [0])}
        self.folder, self.motions = folder, list[str](state["motions"])
        self._features = ArrayFile(folder / "features.npy", "<f4", (num_features,), state["features"])
        self._clips = ArrayFile(folder / "clips.npy", CLIP, rows=state["clips"])
        self._texts = {name: _Texts(folder, name, state[name]) for name in _TEXTS}

    def checkpoint(self) -> dict[str, Any]:
        """Flush everything to disk and return the state from which a new writer can continue."""
        for each in self._files():
            each.flush()
        offsets = {name: text.offsets.tolist() for name, text in self._texts.items()}
        return {"motions": self.motions, "features": self.frames, "clips": self._clips.rows, **offsets}

    @property
    def frames(self) -> int:
        """Frames written."""
        return self._features.rows

    def add(
        self,
        clip_id: str,
        features: NDArray[np.float32],
        captions: Sequence[Caption],
        splits: int,
        kind: str,
        fps: float,
        min_part: int,
        action: str = "",
    ) -> list[str]:
        """Add a motion: one clip with the captions of the whole motion, and one for each captioned part.

        Args:
            clip_id: Name of the motion.
            features: (F, C) finite values.
            captions: At least one.
            splits: Bits of `store.SPLITS`.
            kind: One of `store.KINDS`.
            fps: Frames per second, to convert the times of parts into frames.
            min_part: Parts with fewer frames are left out.
            action: What `PackedMotions.action` returns for the motion.

        Returns:
            Names of the parts left out.
        """
        total, start = len(features), self.frames
        self._features.add(features)
        ranges: dict[tuple[float, float], list[Caption]] = {}
        for caption in captions:
            ranges.setdefault((caption.start, caption.end), []).append(caption)
        left_out, first = [], 1
        for (begin, end), group in ranges.items():
            whole = group[0].whole
            low, high = (0, total) if whole else (int(begin * fps), min(int(end * fps), total))
            name = clip_id if whole else f"{clip_id}_{begin:g}-{end:g}"
            if not whole and high - low < min_part:
                left_out.append(name)
                continue
            texts = self._texts
            place = (len(texts["captions"].offsets) - 1, len(group), texts["ids"].offsets[-1], len(name.encode()))
            row = (start + low, high - low, total, splits, KINDS.index(kind), first, not whole, *place)
            self._clips.add(np.array([row], CLIP))
            texts["ids"].add([name])
            texts["captions"].add(c.text for c in group)
            texts["tokens"].add(c.tokens for c in group)
            texts["actions"].add([action])
            first = 0
        if not first:
            self.motions.append(clip_id)
        return left_out

    def finish(self) -> NDArray[np.void]:
        """Complete all arrays and return the table of clips."""
        self._clips.finish()
        self._features.finish()
        texts = self._texts
        named = texts["actions"].offsets[-1] > 0
        texts["ids"].finish()
        texts["captions"].finish(self.folder / "caption_offsets.npy")
        texts["tokens"].finish(self.folder / "token_offsets.npy")
        texts["actions"].finish(self.folder / "action_offsets.npy")
        if not named:  # most sources name no actions
            for name in ACTIONS:
                (self.folder / f"{name}.npy").unlink()
        return np.load(self.folder / "clips.npy")

    def close(self) -> None:
        """Close the files, finished or not."""
        for each in self._files():
            each.close()

    def _files(self) -> list[ArrayFile]:
        return [self._features, self._clips, *(text.bytes for text in self._texts.values())]
