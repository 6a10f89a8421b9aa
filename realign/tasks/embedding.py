"""Results of `predict`: embeddings of motions and of their captions."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from realign.batch import MotionTextBatch
from realign.interfaces import MotionTextModel


@dataclass
class MotionEmbeddings:
    """Embeddings of clean motions and of their captions, on the CPU.

    Attributes:
        ids: Names of the clips.
        captions: One caption each.
        frames: Length of each motion.
        motion: Embeddings of the motions.
        text: Embeddings of the captions.
    """

    ids: list[str]
    captions: list[str]
    frames: Int[Tensor, "B"]
    motion: Float[Tensor, "B E"]
    text: Float[Tensor, "B E"]

    @classmethod
    def of(cls, model: MotionTextModel, batch: MotionTextBatch) -> "MotionEmbeddings":
        """Embeddings of a batch by a model."""
        motion, text = model.embed_motions(batch.motion, batch.lengths), model.embed_captions(batch.captions)
        return cls(batch.ids, batch.captions, batch.lengths.cpu(), motion.float().cpu(), text.float().cpu())
