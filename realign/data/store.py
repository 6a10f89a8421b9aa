"""Prepared motions in one memory-mapped set: opening reads a few headers, whatever the number of clips."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realign.errors import InputError
from realign.file_names import ACTIONS, META, SET_ARRAYS, SET_TABLES
from realign.files import content_digest, load_npy, local_set, sweep
from realign.hub import HubSet, fetch

FORMAT_VERSION = 1
SPLITS = ("train", "val", "test")
KINDS = ("recorded", "composed")
UNLABELLED = "unlabelled"
CLIP = np.dtype(
    [
        ("start", "<i8"),  # first frame in features.npy
        ("frames", "<i4"),
        ("parent_frames", "<i4"),  # frames of the motion that this clip is a part of, or of the whole motion
        ("splits", "u1"),  # bit k: member of SPLITS[k]
        ("kind", "u1"),  # index into KINDS
        ("first", "u1"),  # holds the first caption of its motion: one clip of each motion does
        ("part", "u1"),  # cut out of a longer motion by the time range of its captions
        ("caption", "<i8"),  # number of the first caption; the clip's other captions follow it
        ("captions", "<i4"),
        ("name", "<i8"),  # first byte of the id in ids.npy
        ("name_size", "<i4"),
    ]
)


def set_digest(folder: Path, skeleton: str) -> str:
    """Digest of the arrays of a prepared set: equal for a copy, different after any edit."""
    names = [*SET_ARRAYS]
    names += [f"{name}.npy" for name in ACTIONS if (folder / f"{name}.npy").is_file()]
    return f"{skeleton}:{content_digest((name, folder / name) for name in names)}"


def read_array(path: Path, mapped: bool = True) -> NDArray[Any]:
    """Read or map one .npy file; files that are cut off, oversized or hold pickled objects are refused.

    Args:
        path: The file.
        mapped: Map it read-only instead of reading it.
    """
    try:
        return load_npy(path, mapped)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; run `realign prepare` with --overwrite to make the set again.") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is cut off or damaged ({error}); run `realign prepare` with --overwrite.") from None


@dataclass(frozen=True, eq=False)
class PackedMotions:
    """A prepared set; its arrays are memory-mapped and read when they are used.

    Attributes:
        folder: The folder.
        meta: Contents of meta.json: skeleton, fps, source, counts.
        features: (total frames, C) float32, not normalised.
        clips: Table of N clips with the fields of `CLIP`.
        mean: (C,) mean of the train split.
        std: (C,) standard deviation, averaged in feature groups.
    """

    folder: Path
    meta: dict[str, Any]
    features: NDArray[np.float32]
    clips: NDArray[np.void]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    _ids: NDArray[np.uint8]
    _captions: NDArray[np.uint8]
    _caption_offsets: NDArray[np.int64]
    _tokens: NDArray[np.uint8]
    _token_offsets: NDArray[np.int64]
    _actions: tuple[NDArray[np.uint8], NDArray[np.int64]] | None = None

    @classmethod
    def open(cls, folder: str | Path) -> "PackedMotions":
        """Open a folder that `realign prepare` wrote.

        Args:
            folder: The folder, or ORG/NAME[@REVISION] of a set on the Hub, whose checksum is compared.

        Raises:
            InputError: The folder is not a prepared set, one of its files is cut off, or it cannot be downloaded.
        """
        place = local_set(folder)
        if isinstance(place, HubSet):
            return cls.open(fetch(place)).check_content(f"download {place} again")
        return cls._open(place)

    @classmethod
    def _open(cls, folder: Path) -> "PackedMotions":
        """Open a folder."""
        if not folder.exists():
            sweep(folder)  # restores what a killed process had moved away
        meta = read_meta(folder)
        ids, captions, caption_offsets, tokens, token_offsets = (read_array(folder / f"{n}.npy") for n in SET_TABLES)
        features, clips = read_array(folder / "features.npy"), read_array(folder / "clips.npy")
        mean, std = (read_array(folder / f"{n}.npy", mapped=False) for n in ("Mean", "Std"))
        width = meta["num_features"]
        if features.ndim != 2 or features.shape[1] != width or mean.shape != (width,) or std.shape != (width,):
            raise InputError(f"The arrays in {folder} do not have the width {width} of meta.json; prepare it again.")
        if clips.dtype != CLIP or len(clips) == 0:
            raise InputError(f"{folder / 'clips.npy'} is not a table of clips; prepare the set again.")
        actions = None
        if any((folder / f"{name}.npy").exists() for name in ACTIONS):
            named, named_offsets = (read_array(folder / f"{name}.npy") for name in ACTIONS)
            if len(named_offsets) != len(clips) + 1:
                raise InputError(f"{folder / 'action_offsets.npy'} does not fit clips.npy; prepare the set again.")
            actions = (named, named_offsets)
        for name, offsets, blob in (
            ("captions", caption_offsets, captions),
            ("tokens", token_offsets, tokens),
            *([] if actions is None else [("actions", actions[1], actions[0])]),
        ):
            if len(offsets) == 0 or offsets[-1] > len(blob):
                raise InputError(f"{folder / name}.npy ends before its last offset; prepare the set again.")
        if int((clips["start"] + clips["frames"]).max()) > len(features):
            raise InputError(f"{folder / 'features.npy'} ends before the last clip of clips.npy; prepare it again.")
        texts = (ids, captions, caption_offsets, tokens, token_offsets, actions)
        return cls(folder, meta, features, clips, mean, std, *texts)

    def __reduce__(self) -> tuple[Any, ...]:  # spawned workers map the files instead of copying them
        return PackedMotions.open, (self.folder,)

    def __len__(self) -> int:
        return len(self.clips)

    @cached_property
    def identity(self) -> str:
        """`set_digest` of the files as they are now; reads them all once."""
        return set_digest(self.folder, self.skeleton)

    def check_content(self, remedy: str) -> "PackedMotions":
        """The set itself, if its files are still those that were prepared.

        Args:
            remedy: End of the error.

        Raises:
            InputError: They are not.
        """
        if self.meta.get("content") != self.identity:
            raise InputError(f"{self.folder} is damaged or changed: its checksum is not that of {META}; {remedy}.")
        return self

    @property
    def skeleton(self) -> str:
        """Name of the skeleton."""
        return str(self.meta["skeleton"])

    @property
    def fps(self) -> float:
        """Frames per second."""
        return float(self.meta["fps"])

    @property
    def num_features(self) -> int:
        """Width C of the features."""
        return int(self.meta["num_features"])

    def select(
        self, split: str = "all", min_frames: int = 0, max_frames: int | None = None, one_per_motion: bool = False
    ) -> NDArray[np.int64]:
        """Indices of the clips of one split.

        Args:
            split: "train", "val", "test" or "all".
            min_frames: Minimum length of the clip and of the motion that it is a part of.
            max_frames: Maximum length of that motion; no limit when None.
            one_per_motion: Only the clip that holds the first caption of each motion.
        """
        if split not in (*SPLITS, "all"):
            raise InputError(f"The split {split!r} is unknown; use one of {', '.join(SPLITS)} or all.")
        clips = self.clips
        keep = clips["frames"] >= max(min_frames, 1)
        if split != "all":
            keep &= (clips["splits"] & (1 << SPLITS.index(split))) > 0
        keep &= clips["parent_frames"] >= min_frames
        if max_frames is not None:
            keep &= clips["parent_frames"] <= max_frames
        if one_per_motion:
            keep &= clips["first"] > 0
        return np.flatnonzero(keep)

    def motion(self, index: int) -> NDArray[np.float32]:
        """Features (F, C) of a clip: a read-only view of the file."""
        start, frames = int(self.clips["start"][index]), int(self.clips["frames"][index])
        return self.features[start : start + frames]

    def id(self, index: int) -> str:
        """Name of a clip; a part of a motion is named `<id>_<from>-<to>`."""
        start, size = int(self.clips["name"][index]), int(self.clips["name_size"][index])
        return self._ids[start : start + size].tobytes().decode()

    def ids(self, indices: Sequence[int] | NDArray[np.integer]) -> list[str]:
        """Names of several clips."""
        return [self.id(int(index)) for index in indices]

    def kind(self, index: int) -> str:
        """Origin of a clip: "recorded", or "composed" from recorded clips."""
        return KINDS[int(self.clips["kind"][index])]

    def action(self, index: int) -> str:
        """Content and style of a clip as the source names them, such as "walk, tired"; empty if it names none."""
        return "" if self._actions is None else _text(*self._actions, index)

    def of_kind(self, indices: NDArray[np.int64], kind: str | None) -> NDArray[np.bool_]:
        """Which clips are of a kind: recorded, composed, or unlabelled, whose captions are not written from labels.

        Args:
            indices: Of the clips.
            kind: The kind; all clips when None.

        Raises:
            InputError: It is unknown, or the set names no actions, by which labels are known.
        """
        if kind is None:
            return np.ones(len(indices), bool)
        if kind not in (*KINDS, UNLABELLED):
            raise InputError(f"The kind {kind!r} is unknown; use one of {', '.join((*KINDS, UNLABELLED))}.")
        if kind == UNLABELLED:
            if self._actions is None:
                raise InputError(
                    f"{self.folder} does not say which clips are labelled: `realign prepare` reads that from index.csv."
                )
            return np.array([not self.action(int(index)) for index in indices], bool)
        return np.asarray(self.clips["kind"][indices] == KINDS.index(kind))

    def caption(self, index: int, which: int = 0) -> str:
        """One caption of a clip."""
        return self.caption_at(int(self.clips["caption"][index]) + which)

    def caption_at(self, number: int) -> str:
        """A caption by its number among the captions of all clips; `clips` has the first number of each clip."""
        return _text(self._captions, self._caption_offsets, number)

    @property
    def caption_sizes(self) -> NDArray[np.int64]:
        """Bytes of every caption of the set, by number."""
        return np.diff(self._caption_offsets)

    def caption_digest(self) -> str:
        """Digest of all captions and their numbers; reads them all (5 MB for HumanML3D)."""
        names = ("captions.npy", "caption_offsets.npy")
        return content_digest((name, self.folder / name) for name in names)

    def captions(self, index: int) -> list[str]:
        """All captions of a clip; of captions written by `prepare`, the plainest comes first."""
        return [self.caption(index, which) for which in range(int(self.clips["captions"][index]))]

    def tokens(self, index: int, which: int = 0) -> str:
        """Words with parts of speech, "word/POS word/POS ...", of one caption; empty if the source has none."""
        return _text(self._tokens, self._token_offsets, int(self.clips["caption"][index]) + which)


def _text(blob: NDArray[np.uint8], offsets: NDArray[np.int64], index: int) -> str:
    return blob[int(offsets[index]) : int(offsets[index + 1])].tobytes().decode()


def read_meta(folder: Path) -> dict[str, Any]:
    """Read meta.json of a prepared set.

    Raises:
        InputError: It is missing, damaged or of another version.
    """
    try:
        meta: dict[str, Any] = json.loads((folder / META).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder} holds no prepared set; run `realign prepare SOURCE -o {folder}` first.") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{folder / META} cannot be read ({error}); prepare the set again.") from None
    if meta.get("version") != FORMAT_VERSION:
        raise InputError(
            f"{folder} has format {meta.get('version')}, but this version reads {FORMAT_VERSION}; prepare it again."
        )
    return meta
