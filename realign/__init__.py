"""Text-to-motion generation with step-aware reward guidance and retrieval.

    from realign import MotionSearch, TextToMotion

    clip = TextToMotion.from_pretrained().generate(["a person walks forward"])[0]
    clip.save("walk.gif")
    hits = MotionSearch.from_pretrained().by_text(["a person walks forward"])[0]

`TextToMotion` makes motions, `MotionSearch` finds them, and a `MotionClip` is a motion. Everything else is in packages:
`realign.guidance`, `realign.evaluation`, `realign.tasks`, `realign.nn` and so on. The command ``realign --help`` lists
what can be done without Python.
"""

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
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _packages():
        return import_module(f"realign.{name}")
    from realign.spelling import suggestion

    raise AttributeError(
        f"module 'realign' has no attribute {name!r}; {suggestion(name, __dir__(), 'see dir(realign)')}"
    )


def __dir__() -> list[str]:  # for tab completion and help(realign), which do not know what is not loaded yet
    return sorted({*globals(), *__all__, *_packages()} - {"TYPE_CHECKING", "Any"})


def _packages() -> list[str]:
    """Names of the packages inside."""
    from pkgutil import iter_modules

    return [each.name for each in iter_modules(__path__) if each.ispkg]
