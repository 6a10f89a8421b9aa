"""Embeddings of motions and sentences by a reward model: what training, retrieval and guidance have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from jaxtyping import Float, Int
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from realign.batch import MotionTextBatch
from realign.diffusion.schedule import CLEAN_STEP
from realign.masking import lengths_to_mask
from realign.nn.reward import RewardModel
from realign.nn.spaces import MotionSpace
from realign.tasks.digest import weights_digest
from realign.tasks.match import check_match
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


class EmbeddingTask(SpaceTask):
    """A task around a reward model, which it can embed motions and sentences with.

    Args:
        model: The reward model.
        space: Where the motions live.
        text_encoder: Frozen features of captions.
        scheduler: The noise of the generator to guide.
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
        scheduler: SchedulerMixin,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        skeleton: str | None = None,
    ) -> None:
        super().__init__(space, text_encoder, scheduler, optimizer, lr_scheduler, skeleton)
        self.check_widths("reward model", model.width, model.text_dim)
        self.model = model

    def embed_captions(self, captions: Sequence[str]) -> Float[Tensor, "B E"]:
        """Unit embeddings of sentences."""
        return self.model.embed_text(self.encode_text(captions))

    def embed_motions(self, motion: Float[Tensor, "B F C"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B E"]:
        """Unit embeddings of clean motions.

        Args:
            motion: Motion features, not normalised.
            lengths: Frames of each.
        """
        mask = lengths_to_mask(lengths.to(self.device), motion.shape[1])
        x, tokens = self.space.encode(self.normalizer.normalize(motion.to(self.device), mask), mask)
        return self.model.embed_motion(x, torch.full_like(lengths, CLEAN_STEP).to(x.device), tokens)

    def predict_step(self, batch: MotionTextBatch, batch_idx: int) -> MotionEmbeddings:
        """Embeddings of clean motions and their captions, for an index."""
        motion, text = self.embed_motions(batch.motion, batch.lengths), self.embed_captions(batch.captions)
        return MotionEmbeddings(
            batch.ids, batch.captions, batch.lengths.cpu(), motion.float().cpu(), text.float().cpu()
        )

    @property
    def fingerprint(self) -> str:
        """Names the model by what its embeddings of clean motions and sentences depend on: equal names, equal ones."""
        parts = {"model": self.model, "space": self.space, "normalizer": self.normalizer}
        signature = f"{self.model.signature} {type(self.space).__name__} {self.text_encoder.fingerprint}"
        return weights_digest("reward", signature, parts)

    def check_generator(self, generator: SpaceTask, through_decoder: bool = False) -> None:
        """Refuse a generator that this reward was not trained for.

        Args:
            generator: The generator to guide.
            through_decoder: The generator's samples are decoded to motion features before they are judged.

        Raises:
            InputError: Space, width, noise schedule, text encoder, skeleton or statistics differ.
        """
        check_match(self, generator, through_decoder)
