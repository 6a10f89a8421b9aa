"""Everything that steers a frozen generator while it samples."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from realign.guidance.adapter import guided_output
    from realign.guidance.config import GuidanceConfig
    from realign.guidance.constrained import ConstraintConfig, ConstraintGuidance
    from realign.guidance.constraints import Constraint, Positions
    from realign.guidance.gradient import Guidance, RewardGradient
    from realign.guidance.objective import RewardObjective
    from realign.guidance.paths import RootPath
    from realign.guidance.reward import RewardGuidance, ThroughDecoder
    from realign.guidance.several import SeveralRewards
    from realign.guidance.steering import BestOfN, RewardSteering, Steering, load_steering
    from realign.guidance.trace import RewardTrace

__all__ = [
    "BestOfN",
    "Constraint",
    "ConstraintConfig",
    "ConstraintGuidance",
    "Guidance",
    "GuidanceConfig",
    "Positions",
    "RewardGradient",
    "RewardGuidance",
    "RewardObjective",
    "RewardSteering",
    "RewardTrace",
    "RootPath",
    "SeveralRewards",
    "Steering",
    "ThroughDecoder",
    "guided_output",
    "load_steering",
]

_HOMES = {
    "BestOfN": "steering",
    "Constraint": "constraints",
    "ConstraintConfig": "constrained",
    "ConstraintGuidance": "constrained",
    "Guidance": "gradient",
    "GuidanceConfig": "config",
    "Positions": "constraints",
    "RewardGradient": "gradient",
    "RewardGuidance": "reward",
    "RewardObjective": "objective",
    "RewardSteering": "steering",
    "RewardTrace": "trace",
    "RootPath": "paths",
    "SeveralRewards": "several",
    "Steering": "steering",
    "ThroughDecoder": "reward",
    "guided_output": "adapter",
    "load_steering": "steering",
}


def __getattr__(name: str) -> Any:  # the command line reads the options' declaration without what steers by them
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
