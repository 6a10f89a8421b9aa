"""Prepare a set from a folder of motions of any known kind."""

from pathlib import Path

from realign.data.prepare.bvh_folder import BvhFolder, bvh_files
from realign.data.prepare.existing import PrepareReport
from realign.data.prepare.humanml3d import LayoutFolder, is_layout
from realign.data.prepare.making import Progress, prepare_source
from realign.data.prepare.source import Source, split_option
from realign.errors import InputError
from realign.motion.skeleton import check_fps
from realign.motion.upright import parse_up


def open_source(
    source: Path,
    captions: Path | None = None,
    skeleton: str | None = None,
    rig: Path | None = None,
    splits: str | None = None,
    fps: float | None = None,
    up: str | None = None,
) -> Source:
    """Recognise the kind of a source folder; arguments are those of `prepare`.

    Raises:
        InputError: It is missing, or has neither HumanML3D or KIT-ML layout nor BVH files.
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
    """Make a prepared set completely or not at all.

    Args:
        source: Folder of HumanML3D or KIT-ML layout, or of BVH files.
        out: Folder to make.
        captions: CSV or JSONL file of captions; needed for BVH files.
        skeleton: "humanml3d" or "kit"; when None, detected from the files, or HumanML3D for BVH.
        rig: YAML map of joint names for BVH rigs that are not recognised.
        splits: Folder with train.txt, val.txt, test.txt, or per cent such as "80/5/15".
        fps: True frames per second of BVH files whose headers are wrong.
        up: Up axis of joints or BVH files, one of `upright.UP_AXES`; when None, Y, or detected for BVH.
        overwrite: Replace a set that exists.
        workers: Processes that read motions and compute features; the set does not depend on their number.
        progress: Called with the number of clips done and their total.

    Raises:
        InputError: The source cannot be used, no clip is left, or `out` holds something else.
    """
    up = None if up is None else parse_up(up)
    if fps is not None:
        check_fps(fps, "--fps")
    folder = open_source(Path(source), _path(captions), skeleton, _path(rig), splits, fps, up)
    options = (skeleton, split_option(splits), fps, up)
    return prepare_source(folder, out, options, overwrite, workers, progress)


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)
