"""Guidance by a trained reward, in the generator's own space or through the decoder of its autoencoder."""

import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor, nn
from torch.nn.functional import normalize

from realign.batch import TextFeatures
from realign.errors import InputError
from realign.guidance.config import USUAL, GuidanceConfig
from realign.guidance.gradient import RewardGradient
from realign.guidance.objective import RewardObjective
from realign.index.motion_index import MotionIndex
from realign.interfaces import RewardModel
from realign.masking import lengths_to_mask
from realign.nn.diffusion import Diffusion
from realign.nn.embedder import JointEmbedding
from realign.seeding import derive, noise_like_mask
from realign.transfer import upload

ModuleType = TypeVar("ModuleType", bound=nn.Module)


class RewardGuidance(RewardGradient):
    """Guidance by R = mu R_text + eta R_motion, captions and anchors bound: one for each sample, in order.

    It steers any sampler that works in the reward's space; `realign.guidance.adapter` puts it into other loops.

    Args:
        model: The reward model, in evaluation mode.
        target: From `RewardObjective.target`; a motion's embedding is multiplied with it.
        config: When and how strongly to steer.
    """

    def __init__(self, model: RewardModel, target: Float[Tensor, "B E"], config: GuidanceConfig = USUAL) -> None:
        self.model, self.target, self.config = differentiable(model), target, config

    @classmethod
    def bind(
        cls,
        reward: JointEmbedding,
        captions: Sequence[str],
        index: MotionIndex | None = None,
        config: GuidanceConfig = USUAL,
        exclude: Sequence[str] | None = None,
        seeds: Int[Tensor, "B"] | None = None,
    ) -> "RewardGuidance":
        """Guidance for a batch of captions; each is encoded once, here.

        Args:
            reward: A trained reward, in evaluation mode.
            captions: One a sample.
            index: Clean embeddings of real motions by this reward; needed where eta is not 0.
            config: Towards what, when and how strongly to steer.
            exclude: Id of each sample's own motion, which is not used as its anchor.
            seeds: One a sample, for embeddings that are drawn.

        Raises:
            InputError: As `RewardObjective`, or the reward has no Gaussians to draw from.
        """
        return bind_guidance(RewardObjective(reward, index, config), captions, exclude, seeds)

    def reward(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B"]:
        """R of each sample; arguments as in `Guidance.gradient`."""
        return (self.model.embed_motion(x_t, t, mask) * self.target.to(x_t)).sum(-1)


class RenewedRewardGuidance(RewardGuidance):
    """Guidance by embeddings that differ from step to step: drawn from their Gaussians, or of captions at a timestep.

    Args:
        model: The reward model, in evaluation mode.
        text: Features of the captions, one a sample.
        anchor: eta times the anchors.
        config: When and how strongly to steer, and by which embeddings.
        seeds: One a sample, for what is drawn; torch's global generator chooses them when None.
    """

    def __init__(
        self,
        model: RewardModel,
        text: TextFeatures,
        anchor: Float[Tensor, "B E"],
        config: GuidanceConfig = USUAL,
        seeds: Int[Tensor, "B"] | None = None,
    ) -> None:
        super().__init__(model, anchor, config)
        self.text, self.seeds = text, torch.randint(2**62, (len(text),)) if seeds is None else seeds

    def reward(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B"]:
        """R of each sample; arguments as in `Guidance.gradient`."""
        sampled = self.config.embeddings == "sampled"
        text = self.model.encode_text(self.text, None if sampled else t)
        motion = self.model.encode_motion(x_t, t, mask)
        caption, made = text.mean, motion.mean
        if sampled:
            caption = text.draw(latent_noise(self.seeds, "caption", t, caption.shape[1]).to(caption))
            made = motion.draw(latent_noise(self.seeds, "motion", t, made.shape[1]).to(made))
        target = self.config.mu * normalize(caption, dim=-1) + self.target.to(caption)
        return (normalize(made, dim=-1) * target).sum(-1)


def latent_noise(seeds: Int[Tensor, "B"], what: str, t: Real[Tensor, "B"], width: int) -> Float[Tensor, "B E"]:
    """Standard normal noise to draw an embedding with at a timestep; it depends on the sample's seed alone.

    Args:
        seeds: One a sample.
        what: The embedding of a caption or of a motion.
        t: Timestep of each.
        width: Width E of the embedding.
    """
    drawn = derive(upload(seeds, t.device), f"guidance by a {what}", t)
    return noise_like_mask(drawn, "embedding", t.new_ones(len(t), 1, dtype=torch.bool), width)[:, 0]


class ThroughDecoder(RewardGradient):
    """Steers a generator of latents, or of features normalised otherwise, by a reward on motion features.

    Noisy latents (with ``point="x0"``, predicted clean ones) are decoded, normalised for the reward and evaluated at
    their timestep; the gradient flows through the decoder. This is the published method for MLD (arXiv 2511.19217). A
    reward in the generator's own space needs no decoder and costs far less.

    Args:
        guidance: Guidance by a reward on motion features, for the same samples in the same order.
        generator: The latent generator: its space decodes, its statistics turn what comes out into features.
        reward: The reward: its statistics normalise the features for it.
        lengths: Frames of each motion.
    """

    def __init__(
        self, guidance: RewardGradient, generator: Diffusion, reward: JointEmbedding, lengths: Int[Tensor, "B"]
    ) -> None:
        self.guidance, self.config = guidance, guidance.config
        self.space = differentiable(generator.space)
        self.denormalize = differentiable(generator.normalizer).denormalize
        self.normalize = differentiable(reward.normalizer).normalize
        with torch.inference_mode(False):
            self.frames = lengths_to_mask(lengths.to(generator.device).clone())

    def reward(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B"]:
        """Reward of the decoded samples; arguments as in `Guidance.gradient`."""
        motion = self.denormalize(self.space.decode(x_t, self.frames), self.frames)
        return self.guidance.reward(self.normalize(motion, self.frames), t, self.frames)


def bind_guidance(
    objective: RewardObjective,
    captions: Sequence[str],
    exclude: Sequence[str] | None = None,
    seeds: Int[Tensor, "B"] | None = None,
) -> RewardGuidance:
    """Guidance towards an objective for a batch of captions; arguments as in `RewardGuidance.bind`."""
    model, config = objective.reward.model, objective.config
    check_embeddings(model, config)
    if config.embeddings == "sampled" or model.timed_captions:
        return RenewedRewardGuidance(model, *objective.anchored(captions, exclude), config, seeds)
    return RewardGuidance(model, objective.target(captions, exclude), config)


def check_embeddings(model: RewardModel, config: GuidanceConfig) -> None:
    """Refuse to draw embeddings from a reward that has no variances.

    Raises:
        InputError: As said.
    """
    if config.embeddings == "sampled" and not model.variational:
        raise InputError(
            "Guidance embeddings='sampled' draws from the Gaussians of a reward, but this one learned by contrast "
            "alone and has none; take embeddings mean."
        )


def differentiable(module: ModuleType) -> ModuleType:
    """The module itself, or a copy where it was made under ``inference_mode``, which autograd does not accept."""
    if not any(each.is_inference() for each in (*module.parameters(), *module.buffers())):
        return module
    with torch.inference_mode(False):
        return copy.deepcopy(module)
