"""Training losses: pure functions, and those that a task is given as a part."""

from realign.losses.pairs import InfoNCE, MarginContrast, PairLoss

__all__ = ["InfoNCE", "MarginContrast", "PairLoss"]
