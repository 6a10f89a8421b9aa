"""HumanML3D made from AMASS recordings, body models, and the index and captions of its repository."""

import io
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from realign.data.prepare.amass_files import NEWER, Recordings
from realign.data.prepare.amass_joints import Recording, read_recording
from realign.data.prepare.captions import Caption
from realign.data.prepare.existing import PrepareReport
from realign.data.prepare.humanml3d_cuts import RATE, Cut
from realign.data.prepare.humanml3d_repository import Repository
from realign.data.prepare.indexed import IndexedRecordings
from realign.data.prepare.making import Progress, prepare_source
from realign.data.prepare.source import Item, LeftOut, split_option
from realign.errors import InputError, InputWarning
from realign.files import read_npy
from realign.motion.amass import BODY_JOINTS
from realign.motion.body_files import BodyModels
from realign.motion.body_joints import BETAS
from realign.motion.bvh.retarget import resample
from realign.motion.features import published_yaw
from realign.motion.skeleton import HUMANML3D
from realign.motion.smpl import NAMES


@dataclass(kw_only=True)
class AmassFolder(IndexedRecordings):
    """AMASS recordings, cut, mirrored and captioned by HumanML3D's index and texts.

    Attributes:
        models: Body models.
        resampled: Resample to true 20 frames per second instead of taking every int(fps / 20)-th frame.
    """

    models: BodyModels
    resampled: bool = False
    _recordings: Recordings | None = None
    _last: tuple[str, Recording | LeftOut] | None = None

    @classmethod
    def open(
        cls,
        root: Path,
        bodies: Path,
        humanml3d: Path,
        splits: str | None = None,
        resampled: bool = False,
    ) -> "AmassFolder":
        """Find everything that the index names.

        Args:
            root: Folder of AMASS downloads.
            bodies: Folder of body models.
            humanml3d: The repository of HumanML3D.
            splits: As `splits_option`.
            resampled: As the attribute.

        Raises:
            InputError: One of them is missing or cannot be used.
        """
        if not root.is_dir():
            raise InputError(f"The folder {root} does not exist; give the folder of AMASS downloads.")
        repository, models = Repository.open(humanml3d), BodyModels.open(bodies)
        source = cls(
            root,
            HUMANML3D,
            captions_from=f"{repository.texts.path.name} of HumanML3D",
            statistics_as_published=True,
            models=models,
            repository=repository,
            splits_option=splits,
            resampled=resampled,
        )
        source._find()
        return source

    def _find(self) -> None:
        """Find the file of every clip; missing clips go to `problems`."""
        cuts, self.problems = self.repository.cuts()
        self._recordings = Recordings(self.root)
        self.look_for(cuts)
        self._recordings.check()

    def find(self, cut: Cut) -> Path | tuple[str, str]:
        """The AMASS file, or the HumanAct12 folder or archive, that a clip is cut from, or why there is none."""
        if cut.whole:
            return self._whole(cut)
        self._recordings = self._recordings or Recordings(self.root)
        path = self._recordings.find(cut.source)
        if path is None:
            return self._recordings.missing(cut.source)
        if path.stem.endswith(NEWER) and "smplx" not in self.models.kinds():
            remedy = "give the 'SMPL+H G' download (_poses.npz), or SMPL-X models with --body-models"
            return "file of SMPL-X", f"{path.name}: {remedy}"
        return path

    def _whole(self, cut: Cut) -> Path | tuple[str, str]:
        """The folder or archive that holds a clip of HumanAct12, or why there is none."""
        clips, name = self.repository.humanact12, Path(cut.source).stem
        if clips is None:
            return "HumanAct12 missing: pose_data/humanact12.zip of the repository", cut.source
        return clips.path if name in clips.names else ("no motion file", f"{name} is not in {clips.path}")

    def files(self) -> Iterable[Path]:
        """Recordings, body models, and the files of the repository that are read."""
        yield from {path for path in self.paths.values() if path.suffix.lower() == ".npz"}
        yield from self.models.paths.values()
        yield from super().files()

    def __getstate__(self) -> dict[str, Any]:
        """State that worker processes need."""
        return super().__getstate__() | {"_recordings": None, "_last": None}

    def captions(self, item: Item) -> Sequence[Caption]:
        """Captions of a clip; for a resampled clip their times are scaled to the same frames."""
        found = super().captions(item)
        if not self.resampled or all(caption.whole for caption in found):
            return found
        recording = self._recording(item, self.cuts[item.id])
        factor = RATE * recording.step / recording.fps
        return [replace(caption, start=caption.start * factor, end=caption.end * factor) for caption in found]

    def load(self, item: Item) -> NDArray[np.float32]:
        """Joints (T, 22, 3) of a clip, Y up."""
        cut = self.cuts[item.id]
        recording = self._recording(item, cut)
        joints, step = recording.joints, recording.step if self.resampled else 1
        total = -(-len(joints) // step)
        for remark in (*recording.remarks, *cut.remarks(total)):
            warnings.warn(remark, InputWarning, stacklevel=2)
        frames = cut.frames(total)
        if self.resampled and len(frames):
            part = joints[frames[0] * step : frames[-1] * step + 1]
            return cut.turn(resample(part, recording.fps, RATE)).astype(np.float32)
        return cut.apply(joints).astype(np.float32)

    def _recording(self, item: Item, cut: Cut) -> Recording:
        """A recording; the last one is kept, since several clips come from one."""
        if self._last is None or self._last[0] != cut.source:
            self._last = None
            found: Recording | LeftOut
            try:
                found = self._read_whole(cut) if cut.whole else read_recording(item.path, self.models, self.resampled)
            except LeftOut as why:
                found = why
            except (InputError, OSError, ValueError) as error:
                found = LeftOut("unreadable", str(error))
            self._last = cut.source, found
        found = self._last[1]
        if isinstance(found, LeftOut):
            raise LeftOut(found.reason, found.detail)
        return found

    def _read_whole(self, cut: Cut) -> Recording:
        """A clip of HumanAct12 from the repository."""
        name = Path(cut.source).stem
        if self.repository.humanact12 is None:
            raise LeftOut("no motion file", name)
        joints = read_npy(io.BytesIO(self.repository.humanact12.read(name)))
        if joints.dtype.kind not in "fiu" or joints.ndim != 3 or joints.shape[1] < BODY_JOINTS or joints.shape[2] != 3:
            raise LeftOut("unreadable", f"{name} holds {joints.dtype} {joints.shape}, not joints (frames, 24, 3)")
        return Recording(joints[:, :BODY_JOINTS].astype(np.float64))

    def finish(self, features: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[str]]:
        """Give the yaw velocity its published sign, except in a resampled set."""
        if self.resampled:
            return features, []
        published = published_yaw(torch.from_numpy(features)).numpy()
        changed = (published[:, 0] != features[:, 0]).any()
        remark = "the yaw velocity has the published, wrong sign in frames where the facing passes Z-"
        return published, [remark] if changed else []

    def about(self) -> dict[str, Any]:
        """How all clips were made."""
        frames = "true 20 frames per second" if self.resampled else "every int(fps / 20)-th frame"
        bodies = " and ".join(sorted(NAMES[kind] for kind in self.models.kinds()))
        return {
            "method": f"joints of {bodies} bodies, of SMPL+H with {BETAS} betas and without DMPLs, {frames}, cut and "
            f"mirrored by {self.repository.index.name} as published"
        }

    def about_statistics(self, mean: NDArray[np.float32], std: NDArray[np.float32]) -> str:
        """Their differences from the statistics that the repository publishes."""
        published = self.repository.statistics()
        if published is None or published[0].shape != mean.shape or published[1].shape != std.shape:
            return ""
        far = float(np.abs(mean - published[0]).max())
        ratio = float(np.abs(std / np.maximum(published[1], 1e-12) - 1).max())
        return f"; they differ from those of HumanML3D by at most {far:.2g} (Mean) and {ratio:.2%} (Std)"


def prepare_amass(
    source: str | Path,
    out: str | Path,
    *,
    body_models: str | Path,
    humanml3d: str | Path,
    splits: str | None = None,
    resample: bool = False,
    overwrite: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> PrepareReport:
    """Make HumanML3D, or the part of it that the downloads contain, from recordings of AMASS.

    Args:
        source: Folder of AMASS downloads.
        out: Folder to make.
        body_models: Folder of SMPL+H models.
        humanml3d: The repository of HumanML3D.
        splits: Folder with train.txt, val.txt, test.txt, or percentages; the repository's lists when None.
        resample: Resample to true 20 frames per second instead of taking every int(fps / 20)-th frame.
        overwrite: As in `prepare`.
        workers: As in `prepare`.
        progress: As in `prepare`.

    Raises:
        InputError: As `prepare`.
    """
    folder = AmassFolder.open(Path(source), Path(body_models), Path(humanml3d), splits, resample)
    return prepare_source(folder, out, (split_option(splits), resample), overwrite, workers, progress)
