"""Training losses: pure functions, and those that a task is given as a part."""

from realign.losses.geometric import GeometricLoss
from realign.losses.pairs import InfoNCE, MarginContrast, PairLoss

__all__ = ["GeometricLoss", "InfoNCE", "MarginContrast", "PairLoss"]
