"""What the packages above need of a model: to sample it and to embed with it, whatever it is made of."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from realign.batch import TextFeatures


class TextToMotionModel(ABC):
    """Anything that makes motions from captions: a diffusion of this project, or a model of one's own of any kind.

    Evaluation, best-of-N and `TextToMotion` need no more than this. Guidance by a reward's gradient needs a
    diffusion, `realign.nn.Diffusion`. One that is an ``nn.Module`` is loaded from a folder of weights.
    """

    @property
    @abstractmethod
    def skeleton(self) -> str:
        """Name of the skeleton of the motions: humanml3d or kit."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where it samples."""

    @abstractmethod
    def sample(
        self, captions: Sequence[str], lengths: Int[Tensor, "B"], seeds: Int[Tensor, "B"], **options: Any
    ) -> Float[Tensor, "B F C"]:
        """Motions for captions; none depends on the others of its batch.

        Args:
            captions: One a motion.
            lengths: Frames of each motion.
            seeds: One a motion: all its randomness.
            options: Of the model, such as steps, scheduler and guidance_scale of a diffusion; those that
                are None stand for its own.

        Returns:
            Motion features, not normalised; zero beyond each length.

        Raises:
            InputError: An option that the model does not know, or a value that does not fit.
        """


class RewardModel(nn.Module, ABC):
    """One embedding space for captions and motions at any timestep of a noise path.

    Attributes:
        width: Width W of the motions' tokens.
        text_dim: Width D of the text features.
    """

    width: int
    text_dim: int

    @property
    @abstractmethod
    def signature(self) -> str:
        """Names what the weights do not tell: the architecture and its sizes."""

    @abstractmethod
    def embed_motion(
        self, x_t: Float[Tensor, "B N W"], t: Int[Tensor, "B"], mask: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B E"]:
        """Unit embeddings of motions, deterministic in evaluation mode and differentiable in `x_t`.

        Args:
            x_t: Motions, noisy or clean, zero at padding.
            t: Timesteps, `CLEAN_STEP` for clean motions.
            mask: True where a token exists.
        """

    @abstractmethod
    def embed_text(self, text: TextFeatures) -> Float[Tensor, "B E"]:
        """Unit embeddings of captions."""
