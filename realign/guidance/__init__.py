"""Everything that steers a frozen generator while it samples."""

from realign.guidance.objective import RewardObjective
from realign.guidance.reward import RewardGuidance, ThroughDecoder
from realign.guidance.steering import BestOfN, RewardSteering, Steering, load_steering

__all__ = [
    "BestOfN",
    "RewardGuidance",
    "RewardObjective",
    "RewardSteering",
    "Steering",
    "ThroughDecoder",
    "load_steering",
]
