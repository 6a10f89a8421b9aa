"""Networks that embed motions and captions, and by whose distances generators are measured."""

from realign.evaluators.base import Evaluator
from realign.evaluators.contrastive import ContrastiveEvaluator
from realign.evaluators.guo import GuoEvaluator

__all__ = ["ContrastiveEvaluator", "Evaluator", "GuoEvaluator"]
