"""Everything that steers a frozen generator while it samples."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from realign.guidance.config import GuidanceConfig
    from realign.guidance.objective import RewardObjective
    from realign.guidance.reward import RewardGuidance, ThroughDecoder
    from realign.guidance.steering import BestOfN, RewardSteering, Steering, load_steering

__all__ = [
    "BestOfN",
    "GuidanceConfig",
    "RewardGuidance",
    "RewardObjective",
    "RewardSteering",
    "Steering",
    "ThroughDecoder",
    "load_steering",
]

_HOMES = {
    "BestOfN": "steering",
    "GuidanceConfig": "config",
    "RewardGuidance": "reward",
    "RewardObjective": "objective",
    "RewardSteering": "steering",
    "Steering": "steering",
    "ThroughDecoder": "reward",
    "load_steering": "steering",
}


def __getattr__(name: str) -> Any:  # the command line reads the options' declaration without what steers by them
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
