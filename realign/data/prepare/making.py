"""Make a prepared set from a source: features, statistics, splits, captions and a report."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realign.data.dataset import LONGEST
from realign.data.prepare.existing import DOUBTFUL, PrepareReport, existing_set, fingerprint_of
from realign.data.prepare.features import GROUP, LEAST, Loaded, loaded_items
from realign.data.prepare.source import Item, LeftOut, Source
from realign.data.prepare.statistics import dataset_statistics, published_statistics
from realign.data.prepare.writer import PackedWriter
from realign.data.store import FORMAT_VERSION, SPLITS, set_digest
from realign.errors import InputError
from realign.file_names import META
from realign.files import atomic_path, unfinished
from realign.motion.skeleton import Skeleton

_REPORTED = 64  # clips between two calls of `progress`
_STATE = "unfinished.json"
_INTERVAL = 30.0  # seconds after which a run saves its state
Progress = Callable[[int, int], None]


def prepare_source(
    source: Source,
    out: str | Path,
    options: tuple[Any, ...],
    overwrite: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> PrepareReport:
    """Make a prepared set completely or not at all; an up-to-date set is left as it is.

    After a run was killed, the next run with the same source and options continues it.

    Args:
        source: The source of the motions.
        out: Folder to make.
        options: The options that the result depends on.
        overwrite: As in `prepare`.
        workers: As in `prepare`.
        progress: As in `prepare`.

    Raises:
        InputError: The source cannot be used, no clip is left, or `out` holds something else.
    """
    if workers < 1:
        raise InputError(f"--workers {workers} is too few; give at least 1.")
    out = Path(out)
    fingerprint = fingerprint_of(source, options)
    done = existing_set(out, fingerprint, overwrite)
    if done is not None:
        return done
    with unfinished(out, fingerprint, _STATE) as folder:
        about = {"source": str(source.root), **source.about(), "fingerprint": fingerprint}
        report = _Run(source, folder, progress).go(about, workers)
        with atomic_path(out) as staging:
            os.rename(folder, staging)
            existing_set(out, fingerprint, overwrite)  # another process may have made one meanwhile
    report.folder = out
    return report


class _Run:
    """One pass over the source, or the rest of a pass that was killed."""

    def __init__(self, source: Source, folder: Path, progress: Progress | None) -> None:
        self.source, self.folder, self.progress = source, folder, progress
        self.report = PrepareReport(folder, {})
        self.skeleton: Skeleton = source.skeleton
        self.short: list[NDArray[np.float32]] = []  # counted in the statistics, but not stored

    def go(self, about: dict[str, Any], workers: int) -> PrepareReport:
        items = self.source.items()
        writer, start = self._continued()
        try:
            kept = time.monotonic()
            for done, (item, loaded) in enumerate(loaded_items(self.source, items[start:], workers), start + 1):
                self._take(writer, item, loaded)
                if self.progress and (done % _REPORTED == 0 or done == len(items)):
                    self.progress(done, len(items))
                if done % GROUP == 0 and time.monotonic() - kept >= _INTERVAL:  # groups are computed together
                    self._keep(writer, done)
                    kept = time.monotonic()
            for name, reason, detail in self.source.problems:
                self._leave(name, LeftOut(reason, detail))
            clips = writer.finish()
        finally:
            writer.close()
            self.source.close()
        (self.folder / _STATE).unlink(missing_ok=True)
        if len(clips) == 0:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.report.reasons.items()) or "it has none"
            detail = next((f"; {record['id']}: {record['detail']}" for record in self.report.left_out), "")
            raise InputError(f"No clip of {self.source.root} can be used ({reasons}{detail}).")
        written = set(writer.motions)
        self._write_tables([item for item in items if item.id in written], clips, about)
        return self.report

    def _keep(self, writer: PackedWriter, done: int) -> None:
        """Save the state of this run."""
        state = {
            "done": done,
            "writer": writer.checkpoint(),
            "short": [features.tolist() for features in self.short],  # few and of a few rows
            "records": [self.report.left_out, self.report.outside, self.report.doubtful],
        }
        with atomic_path(self.folder / _STATE) as path:
            path.write_text(json.dumps(state), encoding="utf-8")

    def _continued(self) -> tuple[PackedWriter, int]:
        """A writer that continues a killed run, and the number of items which that had done."""
        width = self.skeleton.num_features
        try:
            state = json.loads((self.folder / _STATE).read_text(encoding="utf-8"))
            writer = PackedWriter(self.folder, width, state["writer"])
        except (OSError, ValueError, KeyError):  # none exists, or the machine went down while it was written
            return PackedWriter(self.folder, width), 0
        self.short = [np.array(rows, dtype=np.float32) for rows in state["short"]]
        self.report.left_out, self.report.outside, self.report.doubtful = state["records"]
        return writer, int(state["done"])

    def _take(self, writer: PackedWriter, item: Item, loaded: Loaded) -> None:
        """Write the features of an item, or report why there are none."""
        features = loaded.features
        if features is None or loaded.why is not None:
            self._leave(item.id, loaded.why or LeftOut("unreadable"))
            self.short += [] if features is None else [features]
            return
        for remark in loaded.remarks:
            record = {"id": item.id, "reason": DOUBTFUL, "detail": remark, "stored": True}
            self.report.doubtful.append(record)
        fps, least = self.skeleton.fps, self.skeleton.min_frames
        for name in writer.add(item.id, features, loaded.captions, item.splits, item.kind, fps, LEAST, item.action):
            self._leave(name, LeftOut("too short", f"the captioned part has fewer than {LEAST} frames"))
        if not least <= len(features) <= LONGEST:  # neither trained on nor part of the usual tests
            reason = f"stored, but not of {least} to {LONGEST} frames"
            record = {"id": item.id, "reason": reason, "detail": f"{len(features)} frames", "stored": True}
            self.report.outside.append(record)

    def _leave(self, name: str, why: LeftOut) -> None:
        record = {"id": name, "reason": why.reason, "detail": why.detail, "stored": False}
        self.report.left_out.append(record)

    def _write_tables(self, items: list[Item], clips: NDArray[np.void], about: dict[str, Any]) -> None:
        """Write statistics, splits, report and meta.json."""
        stored = np.load(self.folder / "features.npy", mmap_mode="r")
        names = {item.id for item in items}
        mirrored = any(name.startswith("M") and name[1:] in names for name in names)
        mean, std, how = self._statistics(stored, clips, mirrored)
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
            "statistics": how,
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
        (self.folder / META).write_text(json.dumps(self.report.meta, indent=1) + "\n", encoding="utf-8")

    def _statistics(
        self, stored: NDArray[np.float32], clips: NDArray[np.void], mirrored: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], str]:
        """Mean, standard deviation, and their origin."""
        if given := self.source.statistics():
            return *given, "Mean.npy and Std.npy of the source"
        if self.source.statistics_as_published:
            mean, std = published_statistics(stored, self.short, self.skeleton)
            return mean, std, f"computed over all clips, as published{self.source.about_statistics(mean, std)}"
        over = "the train split" if (clips["splits"] & 1).any() else "all clips, since there is no train split"
        mean, std = dataset_statistics(stored, clips, self.skeleton, symmetric=not mirrored)
        return mean, std, f"computed over {over}"
