"""From a folder of motions to one packed set: features, statistics, splits, captions and a report of what was left out."""

import hashlib
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from realign.data.bvh_folder import BvhFolder, bvh_files
from realign.data.captions import Caption
from realign.data.describe import describe
from realign.data.humanml3d import LayoutFolder, is_layout
from realign.data.pack import PackedWriter
from realign.data.packed import FORMAT_VERSION, SPLITS, PackedMotions
from realign.data.source import Item, LeftOut, Source
from realign.errors import InputError
from realign.files import atomic_path
from realign.motion.features import clips_to_features
from realign.motion.layout import mirror_features
from realign.motion.normalizer import grouped_std
from realign.motion.skeleton import Skeleton

MAX_FRAMES = 199  # longer motions are stored, but neither trained on nor part of the usual tests
_LEAST = 4  # frames of features: one unit of length, less is left out altogether
_GROUP = 64
Progress = Callable[[int, int], None]


@dataclass
class PrepareReport:
    """What `prepare` did.

    Attributes:
        folder: The prepared set.
        meta: Contents of its meta.json.
        left_out: One record a clip that is not in it, with id, reason and detail.
        outside: Records of clips that are in it, but whose length only protocols without a length limit take.
        up_to_date: The set was there already, made from the same source with the same options.
    """

    folder: Path
    meta: dict[str, Any]
    left_out: list[dict[str, Any]] = field(default_factory=list)
    outside: list[dict[str, Any]] = field(default_factory=list)
    up_to_date: bool = False

    @property
    def reasons(self) -> dict[str, int]:
        """Clips left out, by reason."""
        return dict(Counter(record["reason"] for record in self.left_out).most_common())


def open_source(
    source: Path,
    captions: Path | None = None,
    skeleton: str | None = None,
    rig: Path | None = None,
    splits: str | None = None,
) -> Source:
    """Recognise what kind of folder a source is.

    Raises:
        InputError: It is missing, or neither of HumanML3D or KIT-ML layout nor a folder of BVH files.
    """
    if not source.is_dir():
        raise InputError(f"The folder {source} does not exist; give a folder of motions.")
    if captions is not None and not captions.is_file():
        raise InputError(f"The captions file {captions} does not exist; check the path given with --captions.")
    if is_layout(source):
        if rig is not None:
            raise InputError(f"--rig is for BVH files, but {source} has HumanML3D layout; drop the option.")
        return LayoutFolder.open(source, captions, skeleton, splits)
    if bvh_files(source):
        return BvhFolder.open(source, captions, skeleton, rig, splits)
    raise InputError(f"{source} holds no new_joints, new_joint_vecs or .bvh files; give a folder that has some.")


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    captions: str | Path | None = None,
    skeleton: str | None = None,
    rig: str | Path | None = None,
    splits: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PrepareReport:
    """Make a prepared set, all of it or nothing.

    Args:
        source: Folder of HumanML3D or KIT-ML layout, or of BVH files.
        out: Folder to make.
        captions: CSV or JSONL file of captions; needed for BVH files.
        skeleton: "humanml3d" or "kit"; told from the files, or HumanML3D for BVH, when None.
        rig: YAML map of joint names for BVH rigs that are not recognised.
        splits: Folder with train.txt, val.txt, test.txt, or shares such as "80/5/15".
        overwrite: Make the set again even when it is there.
        progress: Called with the clips done and the clips in all.

    Raises:
        InputError: The source cannot be used, no clip is left, or `out` holds something else.
    """
    out = Path(out)
    folder = open_source(Path(source), _path(captions), skeleton, _path(rig), splits)
    fingerprint = _fingerprint(folder, skeleton, splits)
    done = _existing(out, fingerprint, overwrite)
    if done is not None:
        return done
    _sweep(out)
    with atomic_path(out) as staging:
        staging.mkdir()
        (staging / "writer.pid").write_text(str(os.getpid()), encoding="ascii")
        report = _Run(folder, staging, progress).go({"source": str(Path(source)), "fingerprint": fingerprint})
        (staging / "writer.pid").unlink()
    report.folder = out
    return report


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)


def _fingerprint(source: Source, skeleton: str | None, splits: str | None) -> str:
    """Digest of the names, sizes and times of all files read, and of the options."""
    digest = hashlib.sha256(repr((FORMAT_VERSION, type(source).__name__, skeleton, splits)).encode())
    for path in source.files():
        stat = path.stat()
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _existing(out: Path, fingerprint: str, overwrite: bool) -> PrepareReport | None:
    """The set that is already there, when it is what would be made; refuses to replace anything that is no such set."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not out.is_dir() or not (out / "meta.json").is_file() or not (out / "clips.npy").is_file():
        raise InputError(f"{out} exists and is no prepared set; choose another folder with -o.")
    if overwrite:
        return None
    packed = PackedMotions.open(out)
    if packed.meta.get("fingerprint") != fingerprint:
        raise InputError(f"{out} was made from another source or with other options; add --overwrite or choose another -o.")
    left_out, outside = [], []
    for line in (out / "report.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        (outside if record["stored"] else left_out).append(record)
    return PrepareReport(out, packed.meta, left_out, outside, up_to_date=True)


def _sweep(out: Path) -> None:
    """Remove what a killed run left beside `out`; a run that is still alive keeps its own."""
    if sys.platform == "win32":
        return  # there, asking whether a process lives would end it
    for pid_file in out.parent.glob(f".{out.name}.*/{out.name}/writer.pid"):
        try:
            os.kill(int(pid_file.read_text()), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(pid_file.parents[1], ignore_errors=True)
        except OSError:
            continue


class _Run:
    """One pass over the source."""

    def __init__(self, source: Source, folder: Path, progress: Progress | None) -> None:
        self.source, self.folder, self.progress = source, folder, progress
        self.report = PrepareReport(folder, {})
        self.skeleton: Skeleton = source.skeleton

    def go(self, about: dict[str, Any]) -> PrepareReport:
        items = self.source.items()
        writer = PackedWriter(self.folder, self.skeleton.num_features)
        try:
            for item, features, sentences in self._features(items):
                fps, least = self.skeleton.fps, self.skeleton.min_frames
                args = (sentences, item.splits, item.kind, fps, _LEAST)
                for name in writer.add(item.id, features, *args):
                    self._leave(name, LeftOut("too short", "the captioned part holds less than four frames"))
                if not least <= len(features) <= MAX_FRAMES:
                    reason = f"stored, but not of {least} to {MAX_FRAMES} frames"
                    record = {"id": item.id, "reason": reason, "detail": f"{len(features)} frames", "stored": True}
                    self.report.outside.append(record)
            for name, reason, detail in self.source.problems:
                self._leave(name, LeftOut(reason, detail))
            clips = writer.finish()
        finally:
            writer.close()
        if len(clips) == 0:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.report.reasons.items()) or "it is empty"
            detail = next((f"; {record['id']}: {record['detail']}" for record in self.report.left_out), "")
            raise InputError(f"No clip of {self.source.root} can be used ({reasons}{detail}).")
        self._write_tables(items, clips, about)
        return self.report

    def _leave(self, name: str, why: LeftOut) -> None:
        record = {"id": name, "reason": why.reason, "detail": why.detail, "stored": False}
        self.report.left_out.append(record)

    def _features(self, items: list[Item]) -> Iterator[tuple[Item, NDArray[np.float32], Sequence[Caption]]]:
        """Usable motions with their features and captions, in the order of the items."""
        for begin in range(0, len(items), _GROUP):
            loaded = []
            for item in items[begin : begin + _GROUP]:
                try:
                    loaded.append(self._load(item))
                except LeftOut as why:
                    self._leave(item.id, why)
            arrays = [array for _, array, _ in loaded]
            if not self.source.gives_features and arrays:
                tensors = clips_to_features([torch.from_numpy(array) for array in arrays], self.skeleton)
                arrays = [tensor.numpy() for tensor in tensors]
            for (item, _, sentences), features in zip(loaded, arrays, strict=True):
                if np.isfinite(features).all():
                    yield item, features, sentences
                else:
                    self._leave(item.id, LeftOut("NaN", "the features of its joints are not finite"))
            if self.progress:
                self.progress(min(begin + _GROUP, len(items)), len(items))

    def _load(self, item: Item) -> tuple[Item, NDArray[np.float32], Sequence[Caption]]:
        if not item.captions and item.label is None:
            raise LeftOut("no caption")
        array = self.source.load(item)
        frames = len(array) - (0 if self.source.gives_features else 1)
        if frames < _LEAST:
            raise LeftOut("too short", f"{max(frames, 0)} frames of features")
        if not np.isfinite(array).all():
            raise LeftOut("NaN", f"{int((~np.isfinite(array)).any(axis=tuple(range(1, array.ndim))).sum())} frames")
        if not self.source.gives_features and not np.ptp(array.reshape(len(array), -1), axis=1).all():
            raise LeftOut("unreadable", "all joints lie in one point")
        sentences: Sequence[Caption] = item.captions
        if not sentences and item.label is not None:
            sentences = [Caption(text) for text in describe(item.id, *item.label, array, self.skeleton.fps)]
        return item, np.ascontiguousarray(array, dtype=np.float32), sentences

    def _write_tables(self, items: list[Item], clips: NDArray[np.void], about: dict[str, Any]) -> None:
        """Everything beside the packed arrays: statistics, splits, report and meta.json."""
        stored = np.load(self.folder / "features.npy", mmap_mode="r")
        names = {item.id for item in items}
        mirrored = any(name.startswith("M") and name[1:] in names for name in names)
        given = self.source.statistics()
        mean, std = given or _statistics(stored, clips, self.skeleton, symmetric=not mirrored)
        np.save(self.folder / "Mean.npy", mean)
        np.save(self.folder / "Std.npy", std)
        gone = {record["id"] for record in self.report.left_out}
        counts: dict[str, Any] = {}
        for k, split in enumerate(SPLITS):
            chosen = [item.id for item in items if item.splits >> k & 1 and item.id not in gone]
            (self.folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in chosen), encoding="utf-8")
            counts[split] = len(chosen)
        records = self.report.left_out + self.report.outside
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (self.folder / "report.jsonl").write_text(lines, encoding="utf-8")
        self.report.meta = {
            "version": FORMAT_VERSION,
            "skeleton": self.skeleton.name,
            "fps": self.skeleton.fps,
            "num_features": self.skeleton.num_features,
            **about,
            "captions": self.source.captions_from,
            "statistics": "Mean.npy and Std.npy of the source" if given else "computed over the train split",
            "mirrored_included": mirrored,
            "counts": {
                "motions": int(clips["first"].sum()),
                "clips": len(clips),
                "parts": int(clips["part"].sum()),
                "captions": int(clips["captions"].sum()),
                "frames": len(stored),
                "composed": int(((clips["kind"] == 1) & (clips["first"] == 1)).sum()),
                **counts,
                "left_out": self.report.reasons,
                "outside_length_limits": len(self.report.outside),
            },
        }
        (self.folder / "meta.json").write_text(json.dumps(self.report.meta, indent=1) + "\n", encoding="utf-8")


def _statistics(
    features: NDArray[np.float32], clips: NDArray[np.void], skeleton: Skeleton, symmetric: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and grouped standard deviation over the train split, of the motions and (`symmetric`) their mirror images."""
    whole = clips[clips["part"] == 0]
    rows = next((r for r in (whole[(whole["splits"] & 1) > 0], whole, clips) if len(r)), clips)
    total = np.zeros(features.shape[1])
    squares, frames = np.zeros_like(total), 0
    for start, length in zip(rows["start"].tolist(), rows["frames"].tolist(), strict=True):
        x = features[start : start + length].astype(np.float64)
        total += x.sum(0)
        squares += np.einsum("fc,fc->c", x, x)
        frames += length
    mean, second = torch.from_numpy(total / frames)[None], torch.from_numpy(squares / frames)[None]
    if symmetric:
        mean = (mean + mirror_features(mean, skeleton)) / 2
        second = (second + mirror_features(second, skeleton).abs()) / 2
    std = (second - mean.square()).clamp(min=0).sqrt()[0]
    grouped = grouped_std(std.float(), skeleton)
    grouped[grouped < 1e-6] = 1.0  # a group that never changes, as contacts in a clip of jumps, stays as it is
    return mean[0].float().numpy(), grouped.numpy()
