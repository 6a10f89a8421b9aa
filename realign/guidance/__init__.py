"""Everything that steers a frozen generator while it samples."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from realign.guidance.adapter import guided_output
    from realign.guidance.config import GuidanceConfig
    from realign.guidance.gradient import Guidance, RewardGradient
    from realign.guidance.objective import RewardObjective
    from realign.guidance.reward import RewardGuidance, ThroughDecoder
    from realign.guidance.steering import BestOfN, RewardSteering, Steering, load_steering
    from realign.guidance.trace import RewardTrace

__all__ = [
    "BestOfN",
    "Guidance",
    "GuidanceConfig",
    "RewardGradient",
    "RewardGuidance",
    "RewardObjective",
    "RewardSteering",
    "RewardTrace",
    "Steering",
    "ThroughDecoder",
    "guided_output",
    "load_steering",
]

_HOMES = {
    "BestOfN": "steering",
    "Guidance": "gradient",
    "GuidanceConfig": "config",
    "RewardGradient": "gradient",
    "RewardGuidance": "reward",
    "RewardObjective": "objective",
    "RewardSteering": "steering",
    "RewardTrace": "trace",
    "Steering": "steering",
    "ThroughDecoder": "reward",
    "guided_output": "adapter",
    "load_steering": "steering",
}


def __getattr__(name: str) -> Any:  # the command line reads the options' declaration without what steers by them
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
