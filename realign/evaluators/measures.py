"""Physical measures of motion features, for every skeleton in metres."""

from jaxtyping import Float, Int
from torch import Tensor

from realign.masking import lengths_to_mask
from realign.metrics.physics import physical_measures
from realign.motion.features import features_to_joints
from realign.motion.skeleton import Skeleton


def measure_motions(
    motion: Float[Tensor, "B F C"], lengths: Int[Tensor, "B"], skeleton: Skeleton
) -> dict[str, Float[Tensor, "B"]]:
    """Foot skating and sliding, penetration, floating, jerk and stretch of bones by name, as `physical_measures` has
    them.

    Args:
        motion: Motion features, not normalised.
        lengths: Frames of each.
        skeleton: Their skeleton.
    """
    joints = features_to_joints(motion.float(), skeleton) * skeleton.metres
    mask = lengths_to_mask(lengths.to(motion.device), motion.shape[1])
    toes = (skeleton.feet_left[1], skeleton.feet_right[1])
    return physical_measures(joints, mask, feet=toes, parents=skeleton.parents, fps=skeleton.fps)
