"""Evaluators: networks that embed motions and captions, to measure generators by distances."""

from realign.evaluators.base import Evaluator
from realign.evaluators.contrastive import ContrastiveEvaluator
from realign.evaluators.guo import GuoEvaluator
from realign.evaluators.trained import Evaluating, TrainedEvaluator

__all__ = ["ContrastiveEvaluator", "Evaluating", "Evaluator", "GuoEvaluator", "TrainedEvaluator"]
