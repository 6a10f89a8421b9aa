"""Prepare a set from a folder of motions of any known kind."""

from pathlib import Path

from realign.data.prepare.archives import archive_paths
from realign.data.prepare.existing import PrepareReport
from realign.data.prepare.humanml3d import LayoutFolder, is_layout
from realign.data.prepare.making import Progress, prepare_source
from realign.data.prepare.motion_folder import MotionFolder, motion_paths
from realign.data.prepare.source import Source, split_option
from realign.errors import InputError
from realign.motion.arrays import parse_units
from realign.motion.motion_files import MotionFiles
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
    units: str | None = None,
    body_models: str | Path | None = None,
) -> Source:
    """Recognise the kind of a source folder; arguments are those of `prepare`.

    Raises:
        InputError: It is missing, or has neither HumanML3D or KIT-ML layout nor files of motions.
    """
    if not source.is_dir():
        raise InputError(f"The folder {source} does not exist; give a folder of motions.")
    if captions is not None and not captions.exists():
        raise InputError(f"The captions file {captions} does not exist; check the path given with --captions.")
    if is_layout(source):
        for name, value in (("rig", rig), ("fps", fps), ("body-models", body_models)):
            if value is not None:
                raise InputError(f"--{name} is for other files, but {source} has HumanML3D layout; drop the option.")
        return LayoutFolder.open(source, captions, skeleton, splits, up, units)
    if motion_paths(source) or archive_paths(source):
        if rig is not None and not rig.is_file():
            raise InputError(f"The rig map {rig} does not exist; check the path given with --rig.")
        reader = MotionFiles.open(fps, rig, up, units, body_models)
        return MotionFolder.open(source, reader, captions, skeleton, splits)
    raise InputError(
        f"{source} holds no new_joints, new_joint_vecs, .bvh, .glb, .npy, .npz, .parquet or .tar files; give a folder "
        "that has some."
    )


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
    units: str | None = None,
    body_models: str | Path | None = None,
    overwrite: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> PrepareReport:
    """Make a prepared set completely or not at all.

    Args:
        source: Folder of HumanML3D or KIT-ML layout, or of files that `MotionClip.load_all` reads.
        out: Folder to make.
        captions: CSV, JSONL, Parquet or tar file of captions, or a folder of the last two; needed for files of
            motions without texts/ID.txt or own texts.
        skeleton: "humanml3d" or "kit"; when None, detected from the files, HumanML3D if in doubt.
        rig: YAML map of joint names for BVH rigs that are not recognised.
        splits: Folder with train.txt, val.txt, test.txt, or per cent such as "80/5/15".
        fps: True frames per second of files of motions, if those in them or the skeleton's are wrong.
        up: Up axis, one of `upright.UP_AXES`; when None, as in `MotionClip.load_all`.
        units: Unit of joints in arrays, one of `arrays.UNITS`; when None, found by the length of the legs.
        body_models: Folder of body models, for AMASS files.
        overwrite: Replace a set that exists.
        workers: Processes that read motions and compute features; the set does not depend on their number.
        progress: Called with the number of clips done and their total.

    Raises:
        InputError: The source cannot be used, no clip is left, or `out` holds something else.
    """
    up = None if up is None else parse_up(up)
    units = None if units is None else parse_units(units)
    if fps is not None:
        check_fps(fps, "--fps")
    folder = open_source(Path(source), _path(captions), skeleton, _path(rig), splits, fps, up, units, body_models)
    options = (skeleton, split_option(splits), fps, up, *([] if units is None else [units]))
    return prepare_source(folder, out, options, overwrite, workers, progress)


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)
