"""Writing a packed set, clip by clip, in one pass and without holding it in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from realign.data.prepare.captions import Caption
from realign.data.store import CLIP, KINDS

_HEADER = 128  # bytes: room for any number of frames, and the alignment that .npy asks for


def _header(frames: int, width: int) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({frames}, {width}), }}"
    room = _HEADER - 10
    return b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + (text.ljust(room - 1) + "\n").encode()


def write_blob(folder: Path, name: str, texts: Sequence[str], offsets_name: str | None) -> None:
    """Write texts as one array of UTF-8 bytes, and where each begins."""
    pieces = [text.encode() for text in texts]
    joined = b"".join(pieces) or b"\0"  # an empty array cannot be mapped
    np.save(folder / f"{name}.npy", np.frombuffer(joined, dtype=np.uint8))
    if offsets_name:
        np.save(folder / f"{offsets_name}.npy", np.cumsum([0, *map(len, pieces)], dtype=np.int64))


class PackedWriter:
    """Writes features as they come and the tables at the end.

    Args:
        folder: Existing folder to write into.
        num_features: Width C.

    Attributes:
        frames: Frames written.
        motions: Ids of the motions added, but for those without any part that is long enough.
    """

    def __init__(self, folder: Path, num_features: int) -> None:
        self.folder, self.width = folder, num_features
        self.frames = 0
        self.motions: list[str] = []
        self._rows: list[tuple[Any, ...]] = []
        self._ids: list[str] = []
        self._id_bytes = 0
        self._captions: list[str] = []
        self._tokens: list[str] = []
        self._file: BinaryIO = open(folder / "features.npy", "wb")  # noqa: SIM115 - closed by finish and close
        self._file.write(_header(0, num_features))

    def add(
        self,
        clip_id: str,
        features: NDArray[np.float32],
        captions: Sequence[Caption],
        splits: int,
        kind: str,
        fps: float,
        min_part: int,
    ) -> list[str]:
        """Add a motion: one clip with the captions about the whole of it and one for each captioned part.

        Args:
            clip_id: Name of the motion.
            features: (F, C) finite values.
            captions: At least one.
            splits: Bits of `packed.SPLITS`.
            kind: One of `packed.KINDS`.
            fps: Frames a second, to turn the parts' seconds into frames.
            min_part: Parts with fewer frames are left out.

        Returns:
            Names of the parts left out.
        """
        total, start = len(features), self.frames
        self._file.write(np.ascontiguousarray(features, dtype="<f4").tobytes())
        self.frames += total
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
            size = len(name.encode())
            place = (len(self._captions), len(group), self._id_bytes, size)
            self._rows.append((start + low, high - low, total, splits, KINDS.index(kind), first, not whole, *place))
            self._ids.append(name)
            self._id_bytes += size
            self._captions += [c.text for c in group]
            self._tokens += [c.tokens for c in group]
            first = 0
        if not first:
            self.motions.append(clip_id)
        return left_out

    def finish(self) -> NDArray[np.void]:
        """Write the tables and the final header; give the table of clips."""
        clips = np.array(self._rows, dtype=CLIP)
        np.save(self.folder / "clips.npy", clips)
        write_blob(self.folder, "ids", self._ids, None)
        write_blob(self.folder, "captions", self._captions, "caption_offsets")
        write_blob(self.folder, "tokens", self._tokens, "token_offsets")
        self._file.seek(0)
        self._file.write(_header(self.frames, self.width))
        self.close()
        return clips

    def close(self) -> None:
        """Close the file, finished or not."""
        self._file.close()
