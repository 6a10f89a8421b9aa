"""Joints of AMASS recordings with the frame rate and the bodies that HumanML3D's program uses."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from realign.data.prepare.humanml3d_cuts import RATE, stride_of
from realign.data.prepare.source import LeftOut
from realign.errors import InputError
from realign.motion.amass import BodyMotion
from realign.motion.body_files import BodyModels
from realign.motion.body_joints import body_of, motion_joints


@dataclass(frozen=True, eq=False)
class Recording:
    """Joints of a recording.

    Attributes:
        joints: (T, 22, 3) metres; Z up, except for recordings taken unchanged.
        step: Number of its frames per frame of the index.
        fps: Frames per second.
        remarks: Its peculiarities, and how the published program treats them.
    """

    joints: NDArray[np.float64]
    step: int = 1
    fps: float = RATE
    remarks: tuple[str, ...] = ()


def read_recording(path: Path, models: BodyModels, resampled: bool = False) -> Recording:
    """Joints of a file of AMASS.

    Args:
        path: The file.
        models: Body models.
        resampled: Take every frame, for resampling, instead of every int(fps / 20)-th.

    Raises:
        LeftOut: Its frame rate is below 20, or there is no model for it.
        InputError: It is damaged, or not a file of AMASS.
        OSError: It cannot be read.
    """
    motion = BodyMotion.read(path)
    step = stride_of(motion.fps)
    if step == 0 and not resampled:
        raise LeftOut(
            "frame rate below 20",
            f"{path.name}: int({motion.fps:g} / {RATE}) is not a step; use --resample",
        )
    try:
        model, remarks = body_of(motion, models)
    except InputError as error:
        raise LeftOut("no body model", f"{path.name}: {error}") from None
    if motion.kind == "smplx":
        remarks.append("SMPL-X: not the published body, so features are close to the published ones, not equal")
        if len(motion.betas) > model.num_betas:
            remarks.append(f"{model.num_betas} of {len(motion.betas)} betas are used, as many as the body model has")
    step = max(step, 1)
    rate = motion.fps / step
    if abs(rate - RATE) > 1e-6 and not resampled:
        remarks.append(
            f"{motion.fps:g} frames per second: one frame in {step} is taken, {rate:.4g} per second, and treated as "
            f"{RATE} per second, as published (--resample gives true {RATE})"
        )
    joints = motion_joints(motion, models, 1 if resampled else step)
    return Recording(joints, step, motion.fps, tuple(remarks))
