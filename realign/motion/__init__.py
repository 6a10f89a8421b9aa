"""Motion representation: skeletons, rotations, features, normalisation and files."""

from realign.motion.array_files import load_array
from realign.motion.canonical import (
    canonicalize_joints,
    clip_fault,
    face_forward,
    mirror_joints,
    put_at_origin,
    put_on_floor,
    uniform_skeleton,
)
from realign.motion.clip import MotionClip
from realign.motion.features import clips_to_features, features_to_joints, joints_to_features
from realign.motion.layout import feature_groups, mirror_features
from realign.motion.normalizer import Normalizer, grouped_std
from realign.motion.skeleton import HUMANML3D, KIT, Skeleton, get_skeleton

__all__ = [
    "HUMANML3D",
    "KIT",
    "MotionClip",
    "Normalizer",
    "Skeleton",
    "canonicalize_joints",
    "clip_fault",
    "clips_to_features",
    "face_forward",
    "feature_groups",
    "features_to_joints",
    "get_skeleton",
    "grouped_std",
    "joints_to_features",
    "load_array",
    "mirror_features",
    "mirror_joints",
    "put_at_origin",
    "put_on_floor",
    "uniform_skeleton",
]
