"""Joints of AMASS motions on the bodies that HumanML3D's program uses."""

import numpy as np
from numpy.typing import NDArray

from realign.errors import InputError
from realign.motion.amass import BODY_JOINTS, BodyMotion
from realign.motion.body_files import BodyModels
from realign.motion.smpl import NAMES, BodyModel

BETAS = 10
"""Shape coefficients of SMPL and SMPL+H that the published program uses of the files' 16."""


def body_of(motion: BodyMotion, models: BodyModels) -> tuple[BodyModel, list[str]]:
    """The body model for a motion, with remarks.

    For SMPL+H the published program uses the male model if the gender is the text "male", otherwise the female one. The
    other kinds use the model of their gender.

    Raises:
        InputError: There is no such model.
    """
    if motion.kind != "smplh":
        model = models.get(motion.kind, motion.gender)
        remark = f"{motion.body} poses on a body of {NAMES[model.kind]}"
        return model, [remark] if model.kind != motion.kind else []
    gender = "male" if motion.gender == "male" and not motion.gender_is_bytes else "female"
    model = models.get("smplh", gender)
    remarks = [] if model.kind == "smplh" else ["SMPL+H poses on a body of SMPL: features are not the published ones"]
    if gender != motion.gender:
        stored = f"the bytes {motion.gender!r}" if motion.gender_is_bytes else repr(motion.gender)
        remarks.append(f"gender {stored} uses the female body, as published")
    return model, remarks


def motion_joints(
    motion: BodyMotion, models: BodyModels, step: int = 1, count: int = BODY_JOINTS
) -> NDArray[np.float64]:
    """Positions (T, count, 3) of the first joints of every step-th frame, Z up.

    Args:
        motion: The recorded motion.
        models: Body models.
        step: Step between frames.
        count: Number of joints.

    Raises:
        InputError: There is no model for it, or its shape has too few coefficients.
    """
    model, _ = body_of(motion, models)
    betas = motion.betas[: model.num_betas if motion.kind == "smplx" else BETAS]
    if motion.kind != "smplx" and len(betas) < BETAS:
        raise InputError(f"its shape has {len(betas)} betas, but the body model takes {BETAS}; download it again")
    # SMPL has hands where SMPL+H has fingers
    own = count if model.kind == motion.kind else min(count, BODY_JOINTS)
    return model.joints(motion.poses[::step, :own], betas, motion.trans[::step], count)
