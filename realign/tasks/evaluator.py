"""Training of evaluators."""

from typing import Any

from jaxtyping import Float
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from realign.batch import MotionTextBatch
from realign.evaluators import Evaluating, Evaluator
from realign.losses.contrastive import near_duplicates
from realign.losses.pairs import PairLoss
from realign.metrics.generation import TOP
from realign.metrics.generation_metric import GenerationMetrics
from realign.precision import exact_float32
from realign.tasks.base import Task
from realign.tasks.embedding import MotionEmbeddings
from realign.tasks.gather import gather_rows


class EvaluatorTask(Task, Evaluating):
    """Trains an evaluator by contrast.

    It keeps the statistics it was trained with, which may differ from those of the generator that it measures. Two
    clips are not negatives of each other if their captions are identical or, with the data module's option
    `exclude_same_first_caption`, their first captions. Similar captions remain negatives, since an evaluator must
    distinguish a left turn from a right turn.

    Args:
        evaluator: The networks.
        contrast: The loss over matched pairs.
        optimizer: Makes the optimiser from the trainable parameters; AdamW at 1e-4 when None.
        lr_scheduler: Makes a learning-rate schedule counted in steps; a constant rate when None.
        skeleton: Name of the skeleton; taken from the data when None.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        contrast: PairLoss,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        skeleton: str | None = None,
    ) -> None:
        super().__init__(evaluator.features, optimizer, lr_scheduler, skeleton)
        self.remember_options()
        self.evaluator, self.contrast = evaluator, contrast
        self.precision = GenerationMetrics(identical=True, few=True)

    def prepare(self, stage: str) -> None:
        """Take words and parts of speech from the data, and build the vocabulary from the train split."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if hasattr(data, "caption_tokens"):
            self.take_tokens(data.caption_tokens())
            if stage == "fit":
                self.evaluator.learn_words(data.caption_tokens("train"))

    def losses(self, batch: MotionTextBatch, purpose: str) -> dict[str, Float[Tensor, ""]]:
        """The contrast over the batches of all processes."""
        text = self.evaluator.embed_text(batch.captions)
        motion = self.evaluator.embed_motion(self.normalize(batch)[0], batch.lengths)
        text, motion, labels = gather_rows(text.float(), motion.float(), self.caption_labels(batch.captions))
        return {"loss": self.contrast(text, motion, near_duplicates(labels))}

    def predict_step(self, batch: MotionTextBatch, batch_idx: int) -> MotionEmbeddings:
        """Embeddings of motions and their captions."""
        return MotionEmbeddings.of(self, batch)

    def validation_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Log the loss, computed in float32, and gather embeddings."""
        with exact_float32(self.device):
            super().validation_step(batch, batch_idx)
        self._observe(batch)

    def test_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Log the loss, computed in float32, and gather embeddings."""
        with exact_float32(self.device):
            super().test_step(batch, batch_idx)
        self._observe(batch)

    def on_validation_epoch_end(self) -> None:
        """Log the precision of recorded motions: ``val/r1``, ``val/r2``, ``val/r3``."""
        self._log_precision("val")

    def on_test_epoch_end(self) -> None:
        """Log the precision of recorded motions: ``test/r1``, ``test/r2``, ``test/r3``."""
        self._log_precision("test")

    def _observe(self, batch: MotionTextBatch) -> None:
        text, motion = self.embed_captions(batch.captions), self.embed_motions(batch.motion, batch.lengths)
        self.precision.update(text, motion, batch.ids, batch.captions)

    def _log_precision(self, stage: str) -> None:
        found = self.precision.compute()
        for k in TOP:
            self.log(f"{stage}/r{k}", found[f"R@{k}"].to(self.device).float(), sync_dist=True, prog_bar=k == 1)
        self.precision.reset()
