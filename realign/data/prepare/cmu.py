"""HumanML3D's clips of the CMU library, from conversions of it that anyone may download."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realign.data.prepare.cmu_files import SLOW, Trials, trial_in_index
from realign.data.prepare.existing import PrepareReport
from realign.data.prepare.humanml3d_cuts import RATE, Cut, mirrored
from realign.data.prepare.humanml3d_repository import Repository
from realign.data.prepare.indexed import IndexedRecordings
from realign.data.prepare.making import Progress, prepare_source
from realign.data.prepare.source import Item, LeftOut, split_option
from realign.errors import InputError, InputWarning
from realign.motion.asf import ASF_RIG, read_amc, read_asf
from realign.motion.bvh.reader import Bvh, read_bvh
from realign.motion.bvh.retarget import retarget, upright_positions
from realign.motion.bvh.rigs import recognise_rig
from realign.motion.skeleton import HUMANML3D

_THORAX = ("Spine1", ("Neck", "LeftShoulder", "RightShoulder"))


@dataclass(kw_only=True)
class CmuFolder(IndexedRecordings):
    """Recordings of the CMU library, cut, mirrored and captioned by HumanML3D's index and texts.

    Attributes:
        trials: Files of the recordings.
        rows: Clips of the index that are of the CMU library.
    """

    trials: Trials = field(default_factory=Trials)
    rows: int = 0
    _last: tuple[str, NDArray[np.float32] | LeftOut] | None = None

    @classmethod
    def open(cls, root: Path, humanml3d: Path, splits: str | None = None) -> "CmuFolder":
        """Look for every recording of the CMU library that the index names.

        Args:
            root: Folder with BVH files, or with AMC and ASF files.
            humanml3d: The repository of HumanML3D.
            splits: As `splits_option`.

        Raises:
            InputError: One of them is missing or is not what it should be.
        """
        if not root.is_dir():
            raise InputError(f"The folder {root} does not exist; give the folder of a release of the CMU library.")
        repository, trials = Repository.open(humanml3d), Trials.find(root)
        if not trials.paths:
            raise InputError(f"{root} holds no recording named as CMU names them, such as 13_18.bvh or 13_18.amc.")
        cuts, problems = repository.cuts()
        cuts = {name: cut for name, cut in cuts.items() if trial_in_index(cut.source)}
        if not cuts:
            raise InputError(f"{repository.index} names no recording of the CMU library; take the one of HumanML3D.")
        trials.decide(cuts)
        source = cls(
            root,
            HUMANML3D,
            captions_from=f"{repository.texts.path.name} of HumanML3D",
            problems=problems,
            repository=repository,
            splits_option=splits,
            trials=trials,
            rows=len(cuts),
        )
        source.look_for(cuts)
        return source

    def find(self, cut: Cut) -> Path | tuple[str, str]:
        """The recording that a clip is cut from, else why there is none."""
        trial = trial_in_index(cut.source)
        path = self.trials.paths.get(trial) if trial else None
        if trial is None or path is None:
            subject, number = trial or (0, 0)
            return "no motion file", f"neither {subject:02}_{number:02}.bvh nor .amc is in the folder"
        if path.suffix.lower() == ".amc" and trial[0] not in self.trials.skeletons:
            return "no skeleton", f"{path.name} needs {trial[0]:02}.asf"
        return path

    def files(self) -> Iterable[Path]:
        """Recordings, their skeletons, and what is read of the repository."""
        yield from set(self.paths.values())
        yield from self.trials.skeletons.values()
        yield from super().files()

    def __getstate__(self) -> dict[str, Any]:
        """State that worker processes need."""
        return super().__getstate__() | {"_last": None}

    def load(self, item: Item) -> NDArray[np.float32]:
        """Joints (T, 22, 3) of a clip, Y up."""
        cut = self.cuts[item.id]
        joints = self._recording(item, cut)
        frames = cut.frames(len(joints))
        if cut.end > len(joints) + 1:  # a release may lack the last frame
            told = "the index ends past the recording, which shortens the clip"
            warnings.warn(told, InputWarning, stacklevel=2)
        clip = joints[frames.start : frames.start + len(frames)]
        return mirrored(clip).astype(np.float32) if cut.mirrored else clip

    def _recording(self, item: Item, cut: Cut) -> NDArray[np.float32]:
        """A recording at 20 frames per second; that of the clip before is kept, since a recording has several."""
        if self._last is None or self._last[0] != cut.source:
            self._last = None
            found: NDArray[np.float32] | LeftOut
            try:
                found = self._read(item.path, cut)
            except (InputError, OSError, ValueError) as error:
                found = LeftOut("unreadable", str(error))
            self._last = cut.source, found
        recording = self._last[1]
        if isinstance(recording, LeftOut):
            raise LeftOut(recording.reason, recording.detail)
        return recording

    def _read(self, path: Path, cut: Cut) -> NDArray[np.float32]:
        trial = trial_in_index(cut.source) or (0, 0)
        stride = self.trials.strides[trial]
        if path.suffix.lower() == ".amc":
            bones = read_asf(self.trials.skeletons[trial[0]])
            rig = ASF_RIG.resolve([bone.name for bone in bones])
            positions = read_amc(path, bones)
        else:
            read = read_bvh(path, fps=RATE * stride)
            bvh, known = with_thorax(read), recognise_rig(read.names)
            if bvh is not read:  # its neck then stands at the end of the thorax, as in the other releases
                known = replace(known, joints={**known.joints, "neck": ("Neck",)})
            rig = known.resolve(bvh.names)
            positions = upright_positions(bvh, known, rig, path)
        return retarget(positions[::stride], rig, HUMANML3D).astype(np.float32)

    def about(self) -> dict[str, Any]:
        """What holds for all clips."""
        slow = sum(stride == SLOW for stride in self.trials.strides.values())
        found = sum(not name.startswith("M") for name in self.cuts)
        text = f"{found} of the {self.rows} CMU clips in {self.repository.index.name} found; every sixth frame, every "
        text += f"third of {slow} recordings at 60 frames per second, as the index tells"
        if self.trials.guessed:
            text += f" ({len(self.trials.guessed)} recordings taken for what most of their subject are)"
        if self.trials.others:
            text += f"; {self.trials.others} further files of the same recordings not used"
        return {"method": text}


def with_thorax(bvh: Bvh) -> Bvh:
    """A file of the MotionBuilder release with the length of its thorax, which the release leaves out.

    Neck and shoulders begin there at the beginning of that bone. It gets the length and direction of the bone below,
    the upper back, which is as long to a few per cent.

    Args:
        bvh: Any file; those of other releases are given back as they are.
    """
    below, above = _THORAX
    if below not in bvh.names or not {*above} <= {*bvh.names}:
        return bvh
    thorax, joints = bvh.names.index(below), [bvh.names.index(name) for name in above]
    if any(bvh.parents[joint] != thorax or bvh.offsets[joint].any() for joint in joints):
        return bvh
    offsets = bvh.offsets.copy()
    offsets[joints] = offsets[thorax]
    return replace(bvh, offsets=offsets)


def prepare_cmu(
    source: str | Path,
    out: str | Path,
    *,
    humanml3d: str | Path,
    splits: str | None = None,
    overwrite: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> PrepareReport:
    """Make the CMU part of HumanML3D, or what can be made of it, from a release of the CMU library.

    Args:
        source: Folder with BVH files, or with AMC and ASF files.
        out: Folder to make.
        humanml3d: The repository of HumanML3D.
        splits: Folder with train.txt, val.txt, test.txt, or percentages; the repository's lists when None.
        overwrite: As in `prepare`.
        workers: As in `prepare`.
        progress: As in `prepare`.

    Raises:
        InputError: As `prepare`.
    """
    folder = CmuFolder.open(Path(source), Path(humanml3d), splits)
    return prepare_source(folder, out, ("cmu", split_option(splits)), overwrite, workers, progress)
