"""Embeddings of motions and sentences by a reward model: what training, retrieval and guidance have in common."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from realign.batch import MotionTextBatch
from realign.diffusion import NoisePath
from realign.nn.embedder import JointEmbedding
from realign.nn.reward import RewardModel
from realign.nn.spaces import MotionSpace
from realign.tasks.space import SpaceTask
from realign.text.base import TextEncoder


@dataclass
class MotionEmbeddings:
    """What `predict` gives for a batch: unit embeddings of clean motions and of their captions, on the CPU.

    Attributes:
        ids: Names of the clips.
        captions: One sentence each.
        frames: Length of each motion.
        motion: Embeddings of the motions.
        text: Embeddings of the captions.
    """

    ids: list[str]
    captions: list[str]
    frames: Int[Tensor, "B"]
    motion: Float[Tensor, "B E"]
    text: Float[Tensor, "B E"]


class EmbeddingTask(SpaceTask, JointEmbedding):
    """A task around a reward model, which it can embed motions and sentences with.

    Args:
        model: The reward model.
        space: Where the motions live.
        text_encoder: Frozen features of captions.
        path: The noise of the generator to guide.
        optimizer: Makes the optimiser from the trainable parameters; AdamW at 1e-4 when None.
        lr_scheduler: Makes a learning-rate schedule counted in steps; a constant rate when None.
        skeleton: Name of the skeleton; taken from the data when None.

    Raises:
        InputError: When the model fits neither space nor text encoder.
    """

    def __init__(
        self,
        model: RewardModel,
        space: MotionSpace,
        text_encoder: TextEncoder,
        path: NoisePath,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        skeleton: str | None = None,
    ) -> None:
        super().__init__(space, text_encoder, path, optimizer, lr_scheduler, skeleton)
        self.check_widths("reward model", model.width, model.text_dim)
        self.model = model

    def predict_step(self, batch: MotionTextBatch, batch_idx: int) -> MotionEmbeddings:
        """Embeddings of clean motions and their captions, for an index."""
        motion, text = self.embed_motions(batch.motion, batch.lengths), self.embed_captions(batch.captions)
        return MotionEmbeddings(
            batch.ids, batch.captions, batch.lengths.cpu(), motion.float().cpu(), text.float().cpu()
        )
