"""Text-to-motion generation with step-aware reward guidance and retrieval."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from realign.inference import MotionSearch, TextToMotion
    from realign.motion.clip import MotionClip
    from realign.motion.features import features_to_joints, joints_to_features

__version__ = "0.1.0"
__all__ = ["MotionClip", "MotionSearch", "TextToMotion", "features_to_joints", "joints_to_features"]

_HOMES = {
    "MotionClip": "realign.motion.clip",
    "MotionSearch": "realign.inference",
    "TextToMotion": "realign.inference",
    "features_to_joints": "realign.motion.features",
    "joints_to_features": "realign.motion.features",
}


def __getattr__(name: str) -> Any:  # heavy modules load at first use, so that the command line starts at once
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'realign' has no attribute {name!r}")
