"""Training losses: functions, and components of tasks."""

from realign.losses.geometric import GeometricLoss
from realign.losses.pairs import InfoNCE, MarginContrast, PairLoss

__all__ = ["GeometricLoss", "InfoNCE", "MarginContrast", "PairLoss"]
