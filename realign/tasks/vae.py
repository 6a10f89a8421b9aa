"""Training of motion autoencoders."""

import torch
from jaxtyping import Bool, Float
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from realign.batch import MotionTextBatch
from realign.losses.geometric import GeometricLoss
from realign.losses.vae import joint_error, joint_loss, kl_loss, reconstruction_loss, velocity_loss
from realign.masking import apply_mask
from realign.motion.clip import MotionClip
from realign.nn.vae import MotionVAE
from realign.seeding import noise_like_mask
from realign.tasks.base import Task


class VAETask(Task):
    """Trains a motion autoencoder and keeps the statistics of its latents.

    Args:
        vae: The autoencoder.
        kl_weight: Weight of the KL divergence.
        velocity_weight: Weight of the loss on differences between frames.
        joint_weight: Weight of the loss on joint positions.
        geometric: Losses on joints, bone lengths and foot velocities, added with the weights that it holds.
        optimizer: Makes the optimiser from the trainable parameters; AdamW at 1e-4 when None.
        lr_scheduler: Makes a learning-rate schedule counted in steps; a constant rate when None.
        skeleton: Name of the skeleton; taken from the data when None.
    """

    latent_mean: Tensor
    latent_square: Tensor
    latent_batches: Tensor

    def __init__(
        self,
        vae: MotionVAE,
        kl_weight: float = 1e-4,
        velocity_weight: float = 0.5,
        joint_weight: float = 0.0,
        geometric: GeometricLoss | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        skeleton: str | None = None,
    ) -> None:
        super().__init__(vae.features, optimizer, lr_scheduler, skeleton)
        self.remember_options()
        self.vae, self.geometric = vae, geometric
        self.kl_weight, self.velocity_weight, self.joint_weight = kl_weight, velocity_weight, joint_weight
        self.register_buffer("latent_mean", torch.zeros(vae.width))
        self.register_buffer("latent_square", torch.ones(vae.width))
        self.register_buffer("latent_batches", torch.zeros(()))

    @property
    def latent_std(self) -> Float[Tensor, "W"]:
        """Standard deviation of each latent channel over recent training batches."""
        return (self.latent_square - self.latent_mean.square()).clamp(min=0).sqrt()

    def losses(self, batch: MotionTextBatch, purpose: str) -> dict[str, Float[Tensor, ""]]:
        """Reconstruction from a sampled latent, KL divergence, velocity and joint losses."""
        motion, mask = self.normalize(batch)
        mean, logvar, tokens = self.vae.encode(motion, mask)
        mean, logvar = mean.float(), logvar.float()
        latent = mean
        if purpose == "train":
            noise = noise_like_mask(batch.seeds, "vae", tokens, self.vae.width)
            latent = apply_mask(mean + (0.5 * logvar).exp() * noise, tokens)
        decoded = self.vae.decode(latent, mask).float()
        losses = {
            "reconstruction": reconstruction_loss(decoded, motion, mask),
            "kl": kl_loss(mean, logvar, tokens),
            "velocity": velocity_loss(decoded, motion, mask),
        }
        losses["loss"] = (
            losses["reconstruction"] + self.kl_weight * losses["kl"] + self.velocity_weight * losses["velocity"]
        )
        if purpose == "train":
            self._observe(mean.detach(), tokens)
        if self.joint_weight or self.geometric is not None or purpose != "train":
            made, real = self.joints(decoded, mask), self.joints(motion, mask)
            losses["loss"] = losses["loss"] + self.joint_weight * joint_loss(made, real, mask)
            losses["mpjpe_mm"] = 1000 * joint_error(made.detach(), real, mask)
            if self.geometric is not None:
                losses |= self.geometric_losses(self.geometric, made, real, mask)
                losses["loss"] = losses["loss"] + losses["geometric"]
        return losses

    def reconstruct(self, batch: MotionTextBatch) -> Float[Tensor, "B F C"]:
        """Motion features, encoded to the posterior mean and decoded; not normalised."""
        motion, mask = self.normalize(batch)
        return self.normalizer.denormalize(self.vae.decode(self.vae.encode(motion, mask)[0], mask).float(), mask)

    def preview(self, batch: MotionTextBatch) -> list[MotionClip]:
        """Recorded motions, then their reconstructions."""
        return super().preview(batch) + self.clips(self.reconstruct(batch), batch, "reconstructed")

    def predict_step(self, batch: MotionTextBatch, batch_idx: int) -> Float[Tensor, "B F C"]:
        """Reconstructed motion features."""
        return self.reconstruct(batch)

    @torch.no_grad()
    def _observe(self, mean: Float[Tensor, "B N W"], tokens: Bool[Tensor, "B N"]) -> None:
        """Update the moving averages of the latents' first two moments, over all processes."""
        rows, count = apply_mask(mean, tokens).flatten(0, 1), tokens.sum()[None].to(mean.dtype)
        sums = torch.cat([rows.sum(0), rows.square().sum(0), count])
        sums = self.trainer.strategy.reduce(sums, reduce_op="sum")  # type: ignore[assignment]
        first, square = (sums[:-1] / sums[-1].clamp(min=1)).chunk(2)
        self.latent_batches += 1
        weight = (1 / self.latent_batches).clamp(min=0.01)
        self.latent_mean.lerp_(first, weight)
        self.latent_square.lerp_(square, weight)
