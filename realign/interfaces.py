"""Interfaces of models: sampling, and embedding of motions and captions."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor, nn

from realign.batch import TextFeatures
from realign.digest import weights_digest
from realign.errors import InputError
from realign.motion.normalizer import Normalizer

ModelType = TypeVar("ModelType")


class TextToMotionModel(ABC):
    """A generator of motions from captions: a diffusion of this package, or your own model of any kind.

    Evaluation, best-of-N and `TextToMotion` need only this interface. Guidance by a reward's gradient needs a
    diffusion, `realign.nn.Diffusion`. One that is an ``nn.Module`` is loaded from a folder of weights. If it reads
    captions by a `TextEncoder`, name it `text_encoder`: then notes on captions and the time of encoding include it.

    Attributes:
        wanted: Its description in errors about other files.
    """

    wanted: ClassVar = "a generator"

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
            options: Of the model, such as steps, scheduler and guidance_scale of a diffusion; the model's
                own values hold for those left out.

        Returns:
            Motion features, not normalised; zero beyond each length.
        """

    def check_options(self, **options: Any) -> None:
        """Refuse options before anything is sampled; by default, names that `sample` does not take.

        Args:
            options: As for `sample`.

        Raises:
            InputError: An unknown option, or a value that does not fit.
        """
        taken = inspect.signature(self.sample).parameters
        for name, value in options.items():
            if name not in taken and not any(each.kind is each.VAR_KEYWORD for each in taken.values()):
                raise InputError(f"A {type(self).__name__} takes no {name}, but got {value!r}; leave it out.")

    @property
    def fingerprint(self) -> str:
        """Identifies everything that samples depend on; by default the class and weights."""
        parts = {"model": self} if isinstance(self, nn.Module) else {}
        return weights_digest("generator", f"{type(self).__module__}.{type(self).__qualname__}", parts)


class MotionTextModel(nn.Module, ABC):
    """Embeds raw motions and captions: an evaluator, a reward or a retriever.

    Attributes:
        normalizer: Statistics of its motions.
        wanted: Its description in errors about other files.
    """

    wanted: ClassVar = "an evaluator, reward or retriever"
    normalizer: Normalizer

    @property
    @abstractmethod
    def skeleton(self) -> str:
        """Name of the skeleton of the motions."""

    @property
    def device(self) -> torch.device:
        """Where it embeds."""
        return self.normalizer.mean.device

    @abstractmethod
    def embed_captions(self, captions: Sequence[str]) -> Float[Tensor, "B E"]:
        """Embeddings of captions, in the order given."""

    @abstractmethod
    def embed_motions(self, motion: Float[Tensor, "B F C"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B E"]:
        """Embeddings of clean motions, in the order given.

        Args:
            motion: Motion features, not normalised.
            lengths: Frames of each.
        """

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies everything that embeddings depend on."""

    def take_tokens(self, tokens: Mapping[str, str]) -> None:
        """Hand words and parts of speech to a model that reads them; of no effect on others.

        Args:
            tokens: "word/POS word/POS ..." by caption, as `MotionDataModule.caption_tokens` gives them.
        """
        return None


class RewardBatch(NamedTuple):
    """What a reward model learns from: B captions, and L motions: the captions' own in one or several views.

    Attributes:
        x_t: The motions as tokens, noisy or clean, zero at padding.
        t: Their timesteps, `CLEAN_STEP` for clean ones.
        mask: True where a token exists.
        clean: The same motions without noise.
        text: Features of the captions.
        seeds: One a motion, for random draws of the model; None outside of training.
    """

    x_t: Float[Tensor, "L N W"]
    t: Real[Tensor, "L"]
    mask: Bool[Tensor, "L N"]
    clean: Float[Tensor, "L N W"]
    text: TextFeatures
    seeds: Int[Tensor, "L"] | None


class Gaussians(NamedTuple):
    """B diagonal Gaussians; the mean is the embedding.

    Attributes:
        mean: Their means.
        logvar: Logarithms of their variances; None from a model that has none.
    """

    mean: Float[Tensor, "B E"]
    logvar: Float[Tensor, "B E"] | None

    def draw(self, noise: Float[Tensor, "B E"]) -> Float[Tensor, "B E"]:
        """One sample of each, from standard normal noise; the mean if there is no variance."""
        return self.mean if self.logvar is None else self.mean + (0.5 * self.logvar).exp() * noise


class Learned(NamedTuple):
    """Output of a reward model in training.

    Attributes:
        text: Embeddings of the captions for the contrastive loss, of any norm.
        motion: Embeddings of the motions.
        losses: Further losses by name.
    """

    text: Float[Tensor, "B E"]
    motion: Float[Tensor, "L E"]
    losses: dict[str, Float[Tensor, ""]]


class RewardModel(nn.Module, ABC):
    """One embedding space for captions and motions at any timestep of a noise path.

    `embed_motion` and `embed_text` suffice for contrastive training, guidance, search and best-of-N. A model with its
    own losses overrides `learn`.

    Attributes:
        width: Width W of the motions' tokens.
        text_dim: Width D of the text features.
        embedding: Width E of the embeddings.
        signature: The architecture and its sizes, which the weights do not tell.
        variational: Whether its Gaussians have variances.
        timed_captions: Whether the embedding of a caption depends on the timestep of the motion it is compared with.
        reads_words: Whether it reads the words of a caption, and not the pooled vector alone.
    """

    width: int
    text_dim: int
    embedding: int
    signature: str
    variational = False
    timed_captions = False
    reads_words: bool = True

    @abstractmethod
    def embed_motion(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B E"]:
        """Unit embeddings of motions, deterministic in evaluation mode and differentiable in `x_t`.

        Args:
            x_t: Motions as tokens, noisy or clean, zero at padding.
            t: Timesteps, `CLEAN_STEP` for clean motions.
            mask: True where a token exists.
        """

    @abstractmethod
    def embed_text(self, text: TextFeatures) -> Float[Tensor, "B E"]:
        """Unit embeddings of captions."""

    def encode_motion(self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"]) -> Gaussians:
        """Gaussians whose means, at unit norm, are the embeddings of motions; arguments as in `embed_motion`."""
        return Gaussians(self.embed_motion(x_t, t, mask), None)

    def encode_text(self, text: TextFeatures, t: Real[Tensor, "B"] | None = None) -> Gaussians:
        """Gaussians of captions.

        Args:
            text: Features of the captions.
            t: Timesteps of the motions that they are compared with, for a model with `timed_captions`; None where they
                are clean.
        """
        return Gaussians(self.embed_text(text), None)

    def learn(self, batch: RewardBatch) -> Learned:
        """Embeddings for the contrastive loss, and further losses by the names of their weights; by default none.

        A loss without a weight in the task has weight 1.
        """
        return Learned(self.embed_text(batch.text), self.embed_motion(batch.x_t, batch.t, batch.mask), {})

    def forward(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"], text: TextFeatures
    ) -> Float[Tensor, "B"]:
        """Cosine of each motion and its caption: the reward, in [-1, 1]; arguments as in `embed_motion`."""
        return (self.embed_motion(x_t, t, mask) * self.embed_text(text)).sum(-1)


def frozen(model: ModelType) -> ModelType:
    """The model in evaluation mode and without gradients of its weights, if it is an ``nn.Module``."""
    if isinstance(model, nn.Module):
        model.eval().requires_grad_(False)
    return model
