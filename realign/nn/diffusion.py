"""Diffusion generators, without their training."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor, nn

from realign.batch import TextFeatures
from realign.diffusion import NoisePath
from realign.diffusion.sampler import Predict, Sampler
from realign.diffusion.schedule import DiffusersScheduler, Scheduler
from realign.diffusion.steered import Steers
from realign.diffusion.vp import choose_path
from realign.diffusion.windows import WindowPlan, Windows
from realign.digest import weights_digest
from realign.errors import InputError
from realign.interfaces import TextToMotionModel
from realign.masking import lengths_to_mask
from realign.motion.normalizer import Normalizer
from realign.nn.denoisers import Denoiser
from realign.nn.spaces import MotionSpace, check_widths
from realign.text.base import TextEncoder, encode_captions


class Diffusion(nn.Module, TextToMotionModel):
    """Samples motions by denoising in a motion space, where a gradient can steer it.

    Attributes:
        denoiser: The network.
        space: The space of its tokens.
        text_encoder: Frozen features of captions.
        path: The noise trained with.
        normalizer: Statistics of its motions.
        guidance_scale: Scale of classifier-free guidance; 1 turns it off.
        steps: Denoising steps.
        sampling_scheduler: Scheduler of sampling; the path's own when None.
    """

    denoiser: Denoiser
    space: MotionSpace
    text_encoder: TextEncoder
    path: NoisePath
    normalizer: Normalizer
    guidance_scale: float
    steps: int
    sampling_scheduler: str | None

    @property
    def device(self) -> torch.device:
        """Where it samples."""
        return self.normalizer.mean.device

    def encode_text(self, captions: Sequence[str]) -> TextFeatures:
        """Features of captions on the model's device; each different caption is encoded once."""
        return encode_captions(self.text_encoder, captions).to(self.device)

    def predictor(self, text: TextFeatures, mask: Bool[Tensor, "B N"], guidance_scale: float | None = None) -> Predict:
        """Bind captions for sampling: predict(x_t, t) with classifier-free guidance (Ho and Salimans 2022, eq. 6).

        Both predictions are made in one batch of 2B, captions first; a denoiser that was distilled to guide itself
        makes one.

        Args:
            text: Features of the captions.
            mask: True where a token of the space exists.
            guidance_scale: 1 turns guidance off and halves the work; the model's own when None.
        """
        scale = self.guidance_scale if guidance_scale is None else guidance_scale
        in_one_pass = self.denoiser.self_guided(text, mask, scale)
        if in_one_pass is not None:
            return in_one_pass
        if scale == 1:
            return self.denoiser.bind(text, mask)
        empty = self.encode_text([""])[torch.zeros(len(text), dtype=torch.long, device=self.device)]
        both = self.denoiser.bind(TextFeatures.cat([text, empty]), mask.repeat(2, 1))

        def predict(x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"]) -> Float[Tensor, "B N W"]:
            conditional, free = both(x_t.repeat(2, 1, 1), t.repeat(2)).float().chunk(2)
            return torch.lerp(free, conditional, scale)

        return predict

    def sampler(self, scheduler: Scheduler | str | None = None, steps: int | None = None) -> Sampler:
        """A sampler over the noise that the model was trained with.

        Args:
            scheduler: A name as for `sampling_scheduler`, or a diffusers scheduler; the model's own when None.
            steps: Denoising steps; the model's own when None.

        Raises:
            InputError: When the name does not suit, or the scheduler means other noise or another prediction type.
        """
        chosen = self.sampling_scheduler if scheduler is None else scheduler
        return Sampler(self.path, self.steps if steps is None else steps, chosen)

    @torch.no_grad()
    def sample(  # type: ignore[override]
        self,
        captions: TextFeatures | Sequence[str],
        lengths: Int[Tensor, "B"],
        seeds: Int[Tensor, "B"],
        guidance: Steers | None = None,
        steps: int | None = None,
        scheduler: Scheduler | str | None = None,
        guidance_scale: float | None = None,
        windows: WindowPlan | None = None,
    ) -> Float[Tensor, "B F C"]:
        """Motions for captions; none depends on the others of its batch.

        Args:
            captions: Captions, or their features; one a motion, or one a window.
            lengths: Frames of each motion.
            seeds: One a motion: all its randomness.
            guidance: Guidance by a gradient, in addition to classifier-free guidance.
            steps: Denoising steps; the model's own when None.
            scheduler: As for `sampler`.
            guidance_scale: Scale of classifier-free guidance; when None, the scale that belongs to the steps, if there
                is one, else the model's.
            windows: Overlapping windows that the motions are made of, each with its caption; None makes each in one.

        Returns:
            Motion features, not normalised; zero beyond each length.

        Raises:
            InputError: Windows, but a token of the space stands for the whole motion.
        """
        features = captions.to(self.device) if isinstance(captions, TextFeatures) else self.encode_text(captions)
        frames = lengths_to_mask(lengths.to(self.device))
        over = None if windows is None else self.windows(windows)
        mask = self.space.token_mask(frames) if over is None else over.mask
        if guidance_scale is None:
            chosen = self.sampling_scheduler if scheduler is None else scheduler
            guidance_scale = self.path.guidance_scale(self.steps if steps is None else steps, chosen)
        predict = self.predictor(features, mask if over is None else over.window_mask, guidance_scale)
        if over is not None:
            predict = _blended(predict, over)
        shape = (len(mask), mask.shape[1], self.space.width)
        x = self.sampler(scheduler, steps).sample(predict, shape, mask, guidance, seeds)
        # float32 also under autocast: rounded positions jitter, and root positions are sums over frames
        with torch.autocast(x.device.type, enabled=False):
            motion = self.normalizer.denormalize(self.space.decode(x.float(), frames), frames)
            return motion if guidance is None else guidance.finish(motion)

    def windows(self, plan: WindowPlan) -> Windows:
        """Windows over the tokens of the space.

        Raises:
            InputError: A token of the space stands for the whole motion.
        """
        if self.space.stride is None:
            raise InputError(
                "This generator's latents stand for a whole motion, so that motions cannot be joined or exceed its "
                "longest; take a generator of features, or of latents along time (a ConvVAE)."
            )
        return plan.over(self.space.token_mask(plan.of_frames(self.device)[0].window_mask), self.space.stride)

    def check_options(self, **options: Any) -> None:
        """Refuse steps or a scheduler that the path cannot be sampled with."""
        super().check_options(**options)
        self.sampler(options.get("scheduler"), options.get("steps"))

    @property
    def fingerprint(self) -> str:
        """Identifies the weights and the default options of sampling."""
        parts = {"denoiser": self.denoiser, "space": self.space, "normalizer": self.normalizer}
        usual = f"{self.text_encoder.fingerprint} {self.steps} {self.guidance_scale} {self.sampling_scheduler}"
        return weights_digest("generator", usual, parts)


class Generator(Diffusion):
    """A trained diffusion for sampling, without losses and Lightning. Further arguments are as in `Diffusion`.

    Args:
        skeleton: Name of the skeleton of the motions.
        scheduler: A variance-preserving diffusers scheduler: the noise trained with.
        path: The noise trained with, instead of a scheduler.

    Raises:
        InputError: When the parts do not fit each other.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        space: MotionSpace,
        text_encoder: TextEncoder,
        skeleton: str,
        scheduler: DiffusersScheduler | None = None,
        path: NoisePath | None = None,
        guidance_scale: float = 7.5,
        steps: int = 50,
        sampling_scheduler: str | None = None,
    ) -> None:
        super().__init__()
        check_widths("denoiser", denoiser, space, text_encoder)
        self.denoiser, self.space, self.text_encoder = denoiser, space, text_encoder
        self.path, self.normalizer = choose_path(scheduler, path), Normalizer(space.features)
        self.guidance_scale, self.steps, self.sampling_scheduler = guidance_scale, steps, sampling_scheduler
        self._skeleton = skeleton
        self.sampler()  # raises errors early

    @property
    def skeleton(self) -> str:
        """Name of the skeleton of the motions."""
        return self._skeleton


def _blended(predict: Predict, windows: Windows) -> Predict:
    """Predictions for sequences from those for their windows."""

    def blended(x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"]) -> Float[Tensor, "B N W"]:
        return windows.blend(predict(windows.cut(x_t), windows.of_each(t)).float())

    return blended
