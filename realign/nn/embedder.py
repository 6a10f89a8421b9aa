"""Reward models with the text encoder, space and statistics that turn captions and motions into their input."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from realign.batch import TextFeatures
from realign.checkpoint.load import load_model
from realign.diffusion import CLEAN_STEP, NoisePath
from realign.diffusion.path import Clean
from realign.diffusion.schedule import DiffusersScheduler
from realign.diffusion.vp import choose_path
from realign.digest import weights_digest
from realign.interfaces import MotionTextModel, RewardModel
from realign.masking import lengths_to_mask
from realign.motion.normalizer import Normalizer
from realign.nn.spaces import MotionSpace, check_widths
from realign.precision import exact_float32
from realign.text.base import TextEncoder, encode_captions


class JointEmbedding(MotionTextModel):
    """A reward model together with its space, text encoder and statistics, so that it embeds raw motions and captions.

    Attributes:
        model: The reward model.
        space: The space of its motions.
        text_encoder: Frozen features of its captions.
        path: The noise that it was trained with.
    """

    wanted = "a reward or retriever"
    model: RewardModel
    space: MotionSpace
    text_encoder: TextEncoder
    path: NoisePath

    def encode_text(self, captions: Sequence[str]) -> TextFeatures:
        """Features of captions on the model's device; each different caption is encoded once."""
        return encode_captions(self.text_encoder, captions).to(self.device)

    def embed_captions(self, captions: Sequence[str]) -> Float[Tensor, "B E"]:
        """Unit embeddings of captions, in float32 also under autocast."""
        with exact_float32(self.device):
            return self.model.embed_text(self.encode_text(captions))

    def embed_motions(self, motion: Float[Tensor, "B F C"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B E"]:
        """Unit embeddings of clean motions, in float32 also under autocast.

        Args:
            motion: Motion features, not normalised.
            lengths: Frames of each.
        """
        device = self.normalizer.mean.device
        mask = lengths_to_mask(lengths.to(device), motion.shape[1])
        with exact_float32(device):
            x, tokens = self.space.encode(self.normalizer.normalize(motion.to(device), mask), mask)
            return self.model.embed_motion(x, torch.full_like(lengths, CLEAN_STEP).to(x.device), tokens)

    @property
    def fingerprint(self) -> str:
        """Identifies everything that embeddings of clean motions and captions depend on."""
        parts = {"model": self.model, "space": self.space, "normalizer": self.normalizer}
        signature = f"{self.model.signature} {type(self.space).__name__} {self.text_encoder.fingerprint}"
        return weights_digest("reward", signature, parts)


class Embedder(JointEmbedding):
    """A trained reward model or retriever for embedding, search and guidance, without losses and Lightning.

    Arguments that are not listed are as in `JointEmbedding`.

    Args:
        skeleton: Name of the skeleton of the motions.
        scheduler: A variance-preserving diffusers scheduler: the noise trained with.
        path: The noise trained with, instead of a scheduler; without both, there is none.

    Raises:
        InputError: When the parts do not fit each other.
    """

    def __init__(
        self,
        model: RewardModel,
        space: MotionSpace,
        text_encoder: TextEncoder,
        skeleton: str,
        scheduler: DiffusersScheduler | None = None,
        path: NoisePath | None = None,
    ) -> None:
        super().__init__()
        check_widths("reward model", model, space, text_encoder)
        self.model, self.space, self.text_encoder = model, space, text_encoder
        self.path = Clean() if scheduler is None and path is None else choose_path(scheduler, path)
        self.normalizer = Normalizer(space.features)
        self._skeleton = skeleton

    @property
    def skeleton(self) -> str:
        """Name of the skeleton of the motions."""
        return self._skeleton

    @classmethod
    def load(cls, path: str | Path, *, trust_code: bool = False) -> JointEmbedding:
        """A trained reward model or retriever, in evaluation mode on the CPU; see `load_model`."""
        return load_model(path, JointEmbedding, trust_code=trust_code)  # type: ignore[type-abstract]
