"""Training of diffusion generators."""

import torch
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from jaxtyping import Float
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from realign.batch import MotionTextBatch, TextFeatures
from realign.diffusion import NoisePath
from realign.diffusion.prediction import truncated_snr
from realign.diffusion.vp import choose_path
from realign.errors import InputError
from realign.losses.geometric import GeometricLoss
from realign.masking import masked_loss
from realign.motion.clip import MotionClip
from realign.nn.denoisers import Denoiser
from realign.nn.diffusion import Diffusion
from realign.nn.spaces import MotionSpace, check_widths
from realign.seeding import noise_like_mask, uniform
from realign.tasks.space import SpaceTask
from realign.text.base import TextEncoder
from realign.text.table import TextReader


class GeneratorTask(SpaceTask, Diffusion):
    """Trains a denoiser in a motion space, and samples motions from captions.

    Args:
        denoiser: The network.
        space: The space of its tokens.
        text_encoder: Frozen features of captions.
        scheduler: Any variance-preserving diffusers scheduler: the noise trained with.
        path: The noise trained with, instead of a scheduler, such as `realign.diffusion.FlowMatching`.
        guidance_scale: Scale of classifier-free guidance; 1 turns it off.
        text_dropout: Fraction of samples trained without their caption, for classifier-free guidance.
        steps: Denoising steps.
        sampling_scheduler: Scheduler of sampling: ddim, ddpm, ancestral, dpm or unipc for a diffusion (its own when
            None); lcm for one that was distilled to few steps; euler (when None) or heun for a flow.
        velocity_weight: Weight of the loss on differences between neighbouring tokens of the predicted clean sample
            (MDM, Tevet et al. 2023, eq. 5): smooth motions where a token is a frame.
        geometric: Losses on joints, bone lengths and foot velocities of the predicted clean sample, decoded, added
            with the weights that it holds and that of its timestep.
        snr_limit: Largest weight of a nearly clean sample, whose error matters to small motions; 1 weighs all samples
            equally. Above 1 only for the prediction type sample: noise and velocity weigh by themselves.
        optimizer: Makes the optimiser from the trainable parameters; AdamW at 1e-4 when None.
        lr_scheduler: Makes a learning-rate schedule counted in steps; a constant rate when None.
        skeleton: Name of the skeleton; taken from the data when None.

    Raises:
        InputError: When the parts do not fit each other.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        space: MotionSpace,
        text_encoder: TextEncoder,
        scheduler: SchedulerMixin | None = None,
        path: NoisePath | None = None,
        guidance_scale: float = 7.5,
        text_dropout: float = 0.1,
        steps: int = 50,
        sampling_scheduler: str | None = None,
        velocity_weight: float = 0.0,
        geometric: GeometricLoss | None = None,
        snr_limit: float = 1.0,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        skeleton: str | None = None,
    ) -> None:
        super().__init__(space, text_encoder, choose_path(scheduler, path), optimizer, lr_scheduler, skeleton)
        self.remember_options()
        check_widths("denoiser", denoiser, space, text_encoder)
        if not 0 <= text_dropout <= 1:
            raise InputError(f"text_dropout is a fraction between 0 and 1, but is {text_dropout}.")
        if snr_limit < 1 or (snr_limit > 1 and self.path.prediction != "sample"):
            raise InputError(
                f"snr_limit is at least 1, and 1 unless the prediction type is sample, but is {snr_limit} "
                f"with {self.path.prediction}."
            )
        if velocity_weight < 0 or ((velocity_weight or geometric) and self.path.prediction == "epsilon"):
            raise InputError(
                f"velocity_weight is at least 0, and 0 with geometric None for the prediction type epsilon, whose "
                f"clean sample is without bounds near pure noise, but is {velocity_weight} with {self.path.prediction}."
            )
        self.denoiser, self.velocity_weight, self.snr_limit = denoiser, velocity_weight, snr_limit
        self.guidance_scale, self.text_dropout, self.steps = guidance_scale, text_dropout, steps
        self.sampling_scheduler, self.geometric = sampling_scheduler, geometric
        self.sampler()  # raises errors before training

    def losses(self, batch: MotionTextBatch, purpose: str) -> dict[str, Float[Tensor, ""]]:
        """Mean squared error at a random timestep of each sample, and further losses that have a weight."""
        x, tokens = self.clean_tokens(batch)
        t = self.path.draw(batch.seeds, f"generator {purpose} timestep", x.device)
        noise = noise_like_mask(batch.seeds, f"generator {purpose} noise", tokens, self.space.width)
        text = self._encode(batch, self.text_dropout if purpose == "train" else 0.0)
        x_t = self.path.interpolate(x, noise, t)
        predicted = self.denoiser(x_t, t, tokens, text).float()
        weight = truncated_snr(self.path.level(t), self.snr_limit)
        loss = masked_loss(weight * (predicted - self.path.target(x, noise, t)).square(), tokens)
        if not self.velocity_weight and self.geometric is None:
            return {"loss": loss}
        losses = {"loss": loss, "prediction": loss}
        clean = self.path.to_sample(predicted, x_t, t)
        if self.velocity_weight:
            losses["velocity"] = masked_loss(weight * (clean - x).diff(dim=1).square(), tokens[:, 1:])
            losses["loss"] = losses["loss"] + self.velocity_weight * losses["velocity"]
        if self.geometric is not None:
            motion, frames = self.normalize(batch)
            made, real = self.joints(self.space.decode(clean, frames), frames), self.joints(motion, frames)
            losses |= self.geometric_losses(self.geometric, made, real, frames, weight)
            losses["loss"] = losses["loss"] + losses["geometric"]
        return losses

    def _encode(self, batch: MotionTextBatch, dropout: float) -> TextFeatures:
        """Features of the captions, with this probability of the empty caption instead."""
        if not dropout:
            return self.read_text(batch)
        dropped = uniform(batch.seeds, "generator caption dropout", self.device) < dropout
        rows = torch.arange(len(batch), device=self.device).masked_fill(dropped, len(batch))
        return self.read_text(batch, empty=True)[rows]

    def text_readers(self) -> list[TextReader]:
        """The denoiser's."""
        return [TextReader(self.text_encoder, self.denoiser.reads_words)]

    def preview(self, batch: MotionTextBatch) -> list[MotionClip]:
        """Recorded motions, then motions generated for the same captions and lengths."""
        return super().preview(batch) + self.clips(self.predict_step(batch, 0), batch, "generated")

    def predict_step(self, batch: MotionTextBatch, batch_idx: int) -> Float[Tensor, "B F C"]:
        """Motion features for the captions of a batch, at its lengths, seeded by its seeds."""
        return self.sample(batch.captions, batch.lengths, batch.seeds)
