"""Reward models that embed a motion or a caption as a Gaussian, and their losses besides contrast."""

from abc import abstractmethod

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor
from torch.nn import functional as F

from realign.batch import TextFeatures
from realign.interfaces import Gaussians, Learned, RewardBatch, RewardModel
from realign.losses.representation import joint_kl
from realign.losses.vae import reconstruction_loss
from realign.seeding import noise_like_mask


class GaussianReward(RewardModel):
    """A reward model of two Gaussians, whose means are the embeddings (TMR, Petrovich et al., ICCV 2023).

    An embedding depends neither on the batch nor on padding; in evaluation mode nothing is random.
    """

    @abstractmethod
    def encode_motion(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"], mean_only: bool = False
    ) -> Gaussians:
        """Gaussians of motions; arguments as in `embed_motion`, without variances where only means are wanted."""

    @abstractmethod
    def encode_text(self, text: TextFeatures, t: Real[Tensor, "B"] | None = None, mean_only: bool = False) -> Gaussians:
        """Gaussians of captions; arguments as in `RewardModel.encode_text`."""

    @abstractmethod
    def decode(self, z: Float[Tensor, "B E"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, "B N W"]:
        """Clean motion tokens from an embedding that is not normalised."""

    def embed_motion(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B E"]:
        """Unit embeddings of motions.

        Args:
            x_t: Tokens of the space, at any timestep.
            t: Timesteps of the path, or `CLEAN_STEP` for motions without noise.
            mask: True where a token exists.
        """
        return F.normalize(self.encode_motion(x_t, t, mask, mean_only=True).mean, dim=-1)

    def embed_text(self, text: TextFeatures) -> Float[Tensor, "B E"]:
        """Unit embeddings of captions."""
        return F.normalize(self.encode_text(text, mean_only=True).mean, dim=-1)

    def learn(self, batch: RewardBatch) -> Learned:
        """The means, and for a model with variances the losses of TMR: ``reconstruction``, ``kl`` and ``latent``.

        The CLEAN motion is reconstructed from a sample of either Gaussian, or from their means where there are no
        seeds.
        """
        motion = self.encode_motion(batch.x_t, batch.t, batch.mask)
        text = self.encode_text(batch.text, batch.t[-len(batch.text) :])  # of the last view, the noisy one of a pair
        if not self.variational:
            return Learned(text.mean, motion.mean, {})
        views = len(motion.mean) // len(text.mean)
        repeated = Gaussians(*(each.repeat(views, 1) for each in text))  # type: ignore[union-attr]
        return Learned(text.mean, motion.mean, self._representation(repeated, motion, batch))

    def _representation(self, text: Gaussians, motion: Gaussians, batch: RewardBatch) -> dict[str, Float[Tensor, ""]]:
        """Losses through the decoder."""
        latents = [text.mean, motion.mean]
        if batch.seeds is not None:
            one = batch.mask.new_ones(len(batch.seeds), 1)
            latents = [
                each.draw(noise_like_mask(batch.seeds, f"latent of {name}", one, self.embedding)[:, 0])
                for name, each in (("text", text), ("motion", motion))
            ]
        decoded = self.decode(torch.cat(latents), batch.mask.repeat(2, 1)).float().chunk(2)
        from_text, from_motion = (reconstruction_loss(each, batch.clean, batch.mask) for each in decoded)
        return {
            "reconstruction": from_text + from_motion,
            "kl": joint_kl(*text, *motion),  # type: ignore[arg-type]
            "latent": F.smooth_l1_loss(latents[0], latents[1]),
        }
