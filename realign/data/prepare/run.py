"""From a folder of motions to one prepared set: features, statistics, splits, captions and a report."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realign.data.prepare.bvh_folder import BvhFolder, bvh_files
from realign.data.prepare.existing import DOUBTFUL, PrepareReport, existing_set, fingerprint_of
from realign.data.prepare.features import LEAST, Loaded, loaded_items
from realign.data.prepare.humanml3d import LayoutFolder, is_layout
from realign.data.prepare.source import Item, LeftOut, Source
from realign.data.prepare.statistics import dataset_statistics
from realign.data.prepare.writer import PackedWriter
from realign.data.store import FORMAT_VERSION, SPLITS, set_digest
from realign.errors import InputError
from realign.files import atomic_path
from realign.motion.skeleton import Skeleton, check_fps
from realign.motion.upright import parse_up

MAX_FRAMES = 199  # longer motions are stored, but neither trained on nor part of the usual tests
_TOLD = 64  # clips between two reports of the progress
Progress = Callable[[int, int], None]


def open_source(
    source: Path,
    captions: Path | None = None,
    skeleton: str | None = None,
    rig: Path | None = None,
    splits: str | None = None,
    fps: float | None = None,
    up: str | None = None,
) -> Source:
    """Recognise what kind of folder a source is; arguments are those of `prepare`.

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
        if fps is not None:
            raise InputError(f"--fps is for BVH files, but {source} has HumanML3D layout; drop the option.")
        return LayoutFolder.open(source, captions, skeleton, splits, up)
    if bvh_files(source):
        return BvhFolder.open(source, captions, skeleton, rig, splits, fps, up)
    raise InputError(f"{source} holds no new_joints, new_joint_vecs or .bvh files; give a folder that has some.")


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    captions: str | Path | None = None,
    skeleton: str | None = None,
    rig: str | Path | None = None,
    splits: str | None = None,
    fps: float | None = None,
    up: str | None = None,
    overwrite: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> PrepareReport:
    """Make a prepared set, all of it or nothing.

    Args:
        source: Folder of HumanML3D or KIT-ML layout, or of BVH files.
        out: Folder to make.
        captions: CSV or JSONL file of captions; needed for BVH files.
        skeleton: "humanml3d" or "kit"; found from the files, or HumanML3D for BVH, when None.
        rig: YAML map of joint names for BVH rigs that are not recognised.
        splits: Folder with train.txt, val.txt, test.txt, or per cent such as "80/5/15".
        fps: True frames per second of BVH files whose headers are wrong.
        up: The axis that points up in joints or BVH files, one of `upright.UP_AXES`; Y, or found for BVH, when None.
        overwrite: Make the set again even when it is there.
        workers: Processes that read motions and compute features; the set does not depend on their number.
        progress: Called with the clips done and the clips in all.

    Raises:
        InputError: The source cannot be used, no clip is left, or `out` holds something else.
    """
    if workers < 1:
        raise InputError(f"--workers {workers} prepares nothing; give at least 1.")
    out = Path(out)
    up = None if up is None else parse_up(up)
    if fps is not None:
        check_fps(fps, "--fps")
    folder = open_source(Path(source), _path(captions), skeleton, _path(rig), splits, fps, up)
    fingerprint = fingerprint_of(folder, skeleton, splits, fps, up)
    done = existing_set(out, fingerprint, overwrite)
    if done is not None:
        return done
    with atomic_path(out) as staging:
        staging.mkdir()
        report = _Run(folder, staging, progress).go({"source": str(Path(source)), "fingerprint": fingerprint}, workers)
        existing_set(out, fingerprint, overwrite)  # another process may have made one meanwhile
    report.folder = out
    return report


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)


class _Run:
    """One pass over the source."""

    def __init__(self, source: Source, folder: Path, progress: Progress | None) -> None:
        self.source, self.folder, self.progress = source, folder, progress
        self.report = PrepareReport(folder, {})
        self.skeleton: Skeleton = source.skeleton

    def go(self, about: dict[str, Any], workers: int) -> PrepareReport:
        items = self.source.items()
        writer = PackedWriter(self.folder, self.skeleton.num_features)
        try:
            for done, (item, loaded) in enumerate(loaded_items(self.source, items, workers), 1):
                self._take(writer, item, loaded)
                if self.progress and (done % _TOLD == 0 or done == len(items)):
                    self.progress(done, len(items))
            for name, reason, detail in self.source.problems:
                self._leave(name, LeftOut(reason, detail))
            clips = writer.finish()
        finally:
            writer.close()
        if len(clips) == 0:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.report.reasons.items()) or "it is empty"
            detail = next((f"; {record['id']}: {record['detail']}" for record in self.report.left_out), "")
            raise InputError(f"No clip of {self.source.root} can be used ({reasons}{detail}).")
        written = set(writer.motions)
        self._write_tables([item for item in items if item.id in written], clips, about)
        return self.report

    def _take(self, writer: PackedWriter, item: Item, loaded: Loaded) -> None:
        """Write what became of an item, or report why not."""
        for remark in loaded.remarks:
            record = {"id": item.id, "reason": DOUBTFUL, "detail": remark, "stored": True}
            self.report.doubtful.append(record)
        features = loaded.features
        if features is None:
            self._leave(item.id, loaded.why or LeftOut("unreadable"))
            return
        fps, least = self.skeleton.fps, self.skeleton.min_frames
        for name in writer.add(item.id, features, loaded.captions, item.splits, item.kind, fps, LEAST):
            self._leave(name, LeftOut("too short", "the captioned part holds less than four frames"))
        if not least <= len(features) <= MAX_FRAMES:
            reason = f"stored, but not of {least} to {MAX_FRAMES} frames"
            record = {"id": item.id, "reason": reason, "detail": f"{len(features)} frames", "stored": True}
            self.report.outside.append(record)

    def _leave(self, name: str, why: LeftOut) -> None:
        record = {"id": name, "reason": why.reason, "detail": why.detail, "stored": False}
        self.report.left_out.append(record)

    def _write_tables(self, items: list[Item], clips: NDArray[np.void], about: dict[str, Any]) -> None:
        """Everything beside the packed arrays: statistics, splits, report and meta.json."""
        stored = np.load(self.folder / "features.npy", mmap_mode="r")
        names = {item.id for item in items}
        mirrored = any(name.startswith("M") and name[1:] in names for name in names)
        given = self.source.statistics()
        over = "the train split" if (clips["splits"] & 1).any() else "all clips, as there is no train split"
        mean, std = given or dataset_statistics(stored, clips, self.skeleton, symmetric=not mirrored)
        np.save(self.folder / "Mean.npy", mean)
        np.save(self.folder / "Std.npy", std)
        counts: dict[str, Any] = {}
        for k, split in enumerate(SPLITS):
            chosen = [item.id for item in items if item.splits >> k & 1]
            (self.folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in chosen), encoding="utf-8")
            counts[split] = len(chosen)
        with open(self.folder / "report.jsonl", "w", encoding="utf-8") as file:
            for records in (self.report.left_out, self.report.outside, self.report.doubtful):
                file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        self.report.meta = {
            "version": FORMAT_VERSION,
            "skeleton": self.skeleton.name,
            "fps": self.skeleton.fps,
            "num_features": self.skeleton.num_features,
            **about,
            "content": set_digest(self.folder, self.skeleton.name),
            "captions": self.source.captions_from,
            "statistics": "Mean.npy and Std.npy of the source" if given else f"computed over {over}",
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
