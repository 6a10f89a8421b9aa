"""Raw motions and sentences in the embedding space of a reward model."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from realign.checkpoint.rebuild import rebuild
from realign.checkpoint.saved import fill, read_saved
from realign.diffusion import CLEAN_STEP
from realign.errors import InputError
from realign.masking import lengths_to_mask
from realign.motion.normalizer import Normalizer
from realign.nn.digest import weights_digest
from realign.nn.reward import RewardModel
from realign.nn.spaces import MotionSpace
from realign.precision import exact_float32
from realign.text.base import TextEncoder, encode_captions


class JointEmbedding(nn.Module, ABC):
    """Whatever holds a reward model together with all that stands between it and motions and sentences as they come.

    Attributes:
        model: The reward model.
        space: Where its motions live.
        text_encoder: Frozen features of its sentences.
        normalizer: Statistics of its motions.
    """

    model: RewardModel
    space: MotionSpace
    text_encoder: TextEncoder
    normalizer: Normalizer

    @property
    @abstractmethod
    def skeleton(self) -> str:
        """Name of the skeleton of the motions."""

    def embed_captions(self, captions: Sequence[str]) -> Float[Tensor, "B E"]:
        """Unit embeddings of sentences, computed in float32 whatever surrounds the call."""
        device = self.normalizer.mean.device
        with exact_float32(device):
            return self.model.embed_text(encode_captions(self.text_encoder, captions).to(device))

    def embed_motions(self, motion: Float[Tensor, "B F C"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B E"]:
        """Unit embeddings of clean motions, computed in float32 whatever surrounds the call.

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
        """Names the model by what its embeddings of clean motions and sentences depend on: equal names, equal ones."""
        parts = {"model": self.model, "space": self.space, "normalizer": self.normalizer}
        signature = f"{self.model.signature} {type(self.space).__name__} {self.text_encoder.fingerprint}"
        return weights_digest("reward", signature, parts)


class Embedder(JointEmbedding):
    """A trained reward model to embed with and nothing else: no noise, no losses, no Lightning, which takes seconds.

    Args:
        model: The reward model.
        space: Where the motions live.
        text_encoder: Frozen features of sentences.
        skeleton: Name of the skeleton of the motions.
    """

    def __init__(self, model: RewardModel, space: MotionSpace, text_encoder: TextEncoder, skeleton: str) -> None:
        super().__init__()
        self.model, self.space, self.text_encoder = model, space, text_encoder
        self.normalizer = Normalizer(space.features)
        self._skeleton = skeleton

    @property
    def skeleton(self) -> str:
        """Name of the skeleton of the motions."""
        return self._skeleton

    @classmethod
    def load(cls, path: str | Path, *, trust_code: bool = False) -> "Embedder":
        """Take the embedder out of a trained reward model or retriever, in evaluation mode on the CPU.

        Args:
            path: A Lightning checkpoint written by `realign fit`, or a folder written by `save_pretrained`.
            trust_code: Let its configuration name classes outside realign, whose code then runs.

        Raises:
            InputError: When the file is missing, damaged, foreign, names such a class, or holds another kind of task.
        """
        saved = read_saved(path, trust_code)
        options = saved.config.get("init_args", {})
        parts = {name: options.get(name) for name in ("model", "space", "text_encoder", "skeleton")}
        if lacking := [name for name, part in parts.items() if part is None]:
            raise InputError(
                f"{path} holds a {str(saved.config['class_path']).rpartition('.')[2]} without {lacking[0]}, which "
                "embeds no motions and sentences; give a trained reward model or retriever."
            )
        own = {name: value for name, value in saved.state.items() if name.partition(".")[0] in (*parts, "normalizer")}
        saved = saved._replace(config={"class_path": f"{__name__}.{cls.__name__}", "init_args": parts}, state=own)
        embedder = rebuild(saved, cls, cls)
        fill(embedder, saved)
        return embedder.eval()
