"""Clean motion: bones of constant length and feet that stand still, made from what a network says."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from realign.motion.bone_lengths import hold_lengths, mean_lengths, reference_lengths
from realign.motion.canonical import check_joints
from realign.motion.clip import MotionClip
from realign.motion.features import features_to_joints, joints_to_features
from realign.motion.foot_lock import lock_feet
from realign.motion.layout import check_features, feature_groups
from realign.motion.rotation_solver import solve_rotations
from realign.motion.skeleton import HUMANML3D, Skeleton, check_fps, get_skeleton


def clean_joints(
    joints: Float[Tensor, "F J 3"],
    skeleton: Skeleton = HUMANML3D,
    *,
    fps: float | None = None,
    contacts: Float[Tensor, "F 4"] | None = None,
    own_lengths: bool = False,
) -> Float[Tensor, "F J 3"]:
    """The nearest motion of a rigid skeleton whose feet do not slide where they stand.

    First, joints move as little as the skeleton's bone lengths allow, and rotations of rigid bones are read from them.
    Then the feet that stand are held in place, see `lock_feet`. The result is a function of this motion alone; a
    recording of these bone lengths whose feet do not slide hardly changes. It is computed in float64 on the CPU.

    Args:
        joints: Global positions in the skeleton's unit, Y up, the floor at 0; joints that are not finite are returned
            as they are.
        skeleton: Their skeleton.
        fps: Frames per second, None for the skeleton's.
        contacts: The contact channels of the motion's features, about 1 in frames from which a foot stands still; None
            decides by speed and height alone.
        own_lengths: Keep the mean bone lengths of this motion, as of a recording of another body, in the place of the
            skeleton's.

    Raises:
        InputError: Joints of another skeleton, or a rate that is none.
    """
    check_joints(joints, skeleton)
    rate = float(skeleton.fps if fps is None else fps)
    check_fps(rate, f"fps {rate:g}")
    found = joints.detach().double().cpu()
    if not bool(torch.isfinite(found).all()):
        return joints
    lengths = mean_lengths(found, skeleton) if own_lengths else reference_lengths(found, skeleton)
    rigid = solve_rotations(hold_lengths(found, lengths, skeleton.parents), skeleton, rate, refine=False).joints()
    said = None if contacts is None else contacts.detach().double().cpu()
    return (lock_feet(rigid * skeleton.metres, skeleton, rate, said) / skeleton.metres).to(joints)


def clean_clip(clip: MotionClip) -> MotionClip:
    """A clip of the clean motion, with the body that it shows: bones keep their mean lengths.

    Args:
        clip: A motion of any rate.
    """
    joints = torch.from_numpy(clip.joints)
    clean = clean_joints(joints, get_skeleton(clip.skeleton), fps=clip.fps, own_lengths=True)
    return replace(clip, joints=clean.numpy())


def clean_motion(features: Float[Tensor, "F C"], skeleton: Skeleton = HUMANML3D) -> Float[Tensor, "F J 3"]:
    """Clean joints of a motion's features, see `clean_joints`; the features' own contacts say which feet stand.

    Args:
        features: Unnormalised features of one motion.
        skeleton: Their skeleton.

    Raises:
        InputError: Features of another width.
    """
    joints = features_to_joints(features.float().cpu(), skeleton)
    return clean_joints(joints, skeleton, contacts=features[:, feature_groups(skeleton)["contacts"]])


def clean_batch(
    features: Float[Tensor, "B F C"], lengths: Int[Tensor, "B"], skeleton: Skeleton = HUMANML3D
) -> Float[Tensor, "B F C"]:
    """Features of the clean motions of a batch, each computed on the CPU; what is beyond their lengths stays.

    Args:
        features: Unnormalised features.
        lengths: Frames of each motion.
        skeleton: Their skeleton.

    Raises:
        InputError: Features of another width.
    """
    found = features.to("cpu", torch.float32, copy=True)
    for row, frames in enumerate(lengths.tolist()):
        found[row, :frames] = clean_features(found[row, :frames], skeleton)
    return found.to(features)


def clean_features(features: Float[Tensor, "F C"], skeleton: Skeleton = HUMANML3D) -> Float[Tensor, "F C"]:
    """Features of the clean motion, as many frames as before: what evaluators see of it.

    Features of a frame need the next one, so the last velocity goes on for one frame more.

    Args:
        features: Unnormalised features of one motion; those that are not finite are returned as they are.
        skeleton: Their skeleton.

    Raises:
        InputError: Features of another width.
    """
    check_features(features, skeleton)
    if len(features) < 2 or not bool(torch.isfinite(features).all()):
        return features
    joints = clean_motion(features, skeleton)
    longer = torch.cat([joints, 2 * joints[-1:] - joints[-2:-1]])
    return joints_to_features(longer, skeleton).to(features)
