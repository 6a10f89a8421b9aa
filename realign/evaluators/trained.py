"""Trained evaluators with the statistics that normalise motions for them."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from realign.digest import weights_digest
from realign.evaluators.base import Evaluator
from realign.interfaces import MotionTextModel
from realign.masking import lengths_to_mask
from realign.motion.normalizer import Normalizer
from realign.precision import exact_float32


class Evaluating(MotionTextModel):
    """An evaluator together with the statistics that it was trained with.

    They may differ from those of the generator that it measures.

    Attributes:
        evaluator: The networks.
    """

    evaluator: Evaluator

    def take_tokens(self, tokens: Mapping[str, str]) -> None:
        """Hand words and parts of speech to an evaluator that reads them; of no effect on others."""
        self.evaluator.take_tokens(tokens)

    @torch.no_grad()
    def embed_captions(self, captions: Sequence[str]) -> Float[Tensor, "B E"]:
        """Embeddings of captions in float32, in the order given; each different one is embedded once."""
        unique = list(dict.fromkeys(captions))
        rows = {caption: row for row, caption in enumerate(unique)}
        with exact_float32(self.device):
            embedded = self.evaluator.embed_text(unique).float()
        return embedded[[rows[caption] for caption in captions]]

    @torch.no_grad()
    def embed_motions(self, motion: Float[Tensor, "B F C"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B E"]:
        """Embeddings of motions in float32, in the order given.

        Args:
            motion: Motion features, not normalised.
            lengths: Frames of each.
        """
        motion, lengths = motion.to(self.device), lengths.to(self.device)
        with exact_float32(self.device):
            normalized = self.normalizer.normalize(motion, lengths_to_mask(lengths, motion.shape[1]))
            return self.evaluator.embed_motion(normalized, lengths).float()

    @property
    def fingerprint(self) -> str:
        """Identifies everything that embeddings depend on."""
        parts = {"evaluator": self.evaluator, "normalizer": self.normalizer}
        return weights_digest("evaluator", self.evaluator.signature, parts)


class TrainedEvaluator(Evaluating):
    """A trained evaluator, without losses and Lightning.

    Args:
        evaluator: The networks.
        skeleton: Name of the skeleton of the motions.
    """

    def __init__(self, evaluator: Evaluator, skeleton: str) -> None:
        super().__init__()
        self.evaluator, self._skeleton = evaluator, skeleton
        self.normalizer = Normalizer(evaluator.features)

    @property
    def skeleton(self) -> str:
        """Name of the skeleton of the motions."""
        return self._skeleton
