"""Motions that visitors send: read by the project's readers, which execute nothing, after a look at their size."""

from pathlib import Path

import numpy as np

from realign.demo.limits import Limits
from realign.errors import InputError
from realign.motion.bvh.reader import read_bvh
from realign.motion.clip import MotionClip
from realign.motion.gltf_file import GltfFile

_DENSEST = 30.0  # frames per second between the key frames of a .glb


def read_upload(path: Path, title: str, limits: Limits) -> list[MotionClip]:
    """The first motions of a file.

    Args:
        path: The file, whose suffix is one of `UPLOADS`; no other file may be in its folder.
        title: What messages call it.
        limits: How long they may be.

    Raises:
        InputError: It is damaged, of another kind, or holds no motion of a usual length.
    """
    try:
        with np.errstate(all="ignore"):
            _check_size(path, title, limits)
            clips = MotionClip.load_all(path)[: limits.samples]
    except InputError as error:
        raise InputError(str(error).replace(str(path), title)) from None
    for clip in clips:
        _check_seconds(clip.seconds, title, limits)
        clip.caption = title
    return clips


def _check_size(path: Path, title: str, limits: Limits) -> None:
    """Refuse a small file that would become a large motion, before it does."""
    if path.suffix == ".bvh":
        bvh = read_bvh(path)
        _check_seconds(bvh.num_frames * bvh.frame_time, title, limits)
    if path.suffix == ".glb":
        try:
            file = GltfFile(path)
            samplers = [each for animation in file.items("animations") for each in animation["samplers"]]
            inputs = {int(sampler["input"]) for sampler in samplers}
            keys = np.unique(np.concatenate([np.zeros(1), *(file.array(each).ravel() for each in inputs)]))
            nodes = len(file.items("nodes"))
        except InputError:
            raise
        except Exception:  # whatever a damaged file raises
            raise InputError(f"{title} is damaged or not a .glb file; export it again") from None
        _check_seconds(float(keys[-1] - keys[0]), title, limits)
        if nodes * (len(keys) + _DENSEST * limits.seconds) > limits.nodes:
            raise InputError(f"{title} has {len(keys)} key frames of {nodes} nodes, which are too many; shorten it.")


def _check_seconds(seconds: float, title: str, limits: Limits) -> None:
    if not seconds <= limits.seconds:  # NaN is refused, too
        raise InputError(f"{title} lasts {seconds:g} s; drop a motion of at most {limits.seconds:g} s.")
