"""The denoiser of MLD and MotionLCM as published, for their weights."""

import math

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor, nn
from torch.nn import functional as F

from realign.batch import TextFeatures
from realign.diffusion.sampler import Predict
from realign.errors import InputError
from realign.masking import apply_mask
from realign.nn.denoisers import Denoiser
from realign.nn.layers import PositionalEncoding, timestep_sinusoid
from realign.nn.transformer import SkipTransformer
from realign.transfer import upload

_ROUNDED_OTHERWISE = {128: ((45, 1.0), (52, 0.0))}
"""By number of frequencies: those within 0.004 of a rounding tie, and where float32 exp of MKL (AVX-512) rounds them.

Processors differ there by one unit in the last place, which moves an angle of 12500 by up to a thousandth.
"""


class OfficialMldDenoiser(Denoiser):
    """Skip-connection transformer over [latents, timestep, text] (MLD, Chen et al. 2023; MotionLCM, Dai et al. 2024).

    Use `MldDenoiser` to train from scratch. This class computes the same as the published programs: positions are
    learned for all tokens, text features are not normalised, and timestep 0 is the first noisy one.

    Args:
        width: Width W of the latent tokens.
        text_dim: Width D of the text features, of which the pooled vector is read.
        hidden: Width of the transformer.
        layers: Number of layers; odd.
        heads: Attention heads.
        feedforward: Hidden width of the feed-forward networks.
        dropout: Dropout probability.
        positions: Rows of the table of learned positions.
        time_dim: Width of the sinusoid of a timestep; even.
        text_relu: Apply a ReLU to the text feature first (MLD and the first version of MotionLCM).
        project_latents: Use linear maps between latents and transformer, also if their widths are equal.
        scale_dim: Width of the sinusoid of the guidance scale, for a model that was distilled with guidance; even. None
            for a model that is guided by two passes.

    Raises:
        InputError: The latents have another width than the transformer and no map to it.
    """

    def __init__(
        self,
        width: int = 256,
        text_dim: int = 768,
        hidden: int = 256,
        layers: int = 9,
        heads: int = 4,
        feedforward: int = 1024,
        dropout: float = 0.1,
        positions: int = 500,
        time_dim: int = 768,
        text_relu: bool = True,
        project_latents: bool = False,
        scale_dim: int | None = None,
    ) -> None:
        super().__init__()
        if width != hidden and not project_latents:
            raise InputError(
                f"Latents of width {width} do not fit a transformer of width {hidden}; set project_latents: true."
            )
        self.width, self.text_dim, self.time_dim, self.text_relu = width, text_dim, time_dim, text_relu
        self.scale_dim = scale_dim
        self.in_proj = nn.Linear(width, hidden) if project_latents else nn.Identity()
        self.out_proj = nn.Linear(hidden, width) if project_latents else nn.Identity()
        self.time_embedding = nn.Sequential(nn.Linear(time_dim, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.scale_proj = None if scale_dim is None else nn.Linear(scale_dim, time_dim, bias=False)
        self.text_proj = nn.Linear(text_dim, hidden)
        self.positions = PositionalEncoding(hidden, learned=True, max_length=positions)
        self.transformer = SkipTransformer(hidden, layers, heads, feedforward, dropout)

    def forward(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"], text: TextFeatures
    ) -> Float[Tensor, "B N W"]:
        """Prediction for noisy latents; arguments as in `Denoiser`. A self-guided one gets no scale."""
        return self._denoise(x_t, t, mask, self._read(text))

    def bind(self, text: TextFeatures, mask: Bool[Tensor, "B N"]) -> Predict:
        """Predictions for the same captions, which are read once; arguments as in `Denoiser`."""
        words = self._read(text)
        return lambda x_t, t: self._denoise(x_t, t, mask, words)

    def self_guided(self, text: TextFeatures, mask: Bool[Tensor, "B N"], guidance_scale: float) -> Predict | None:
        """Predictions at a guidance scale in one pass, if the scale is an input of the network."""
        if self.scale_proj is None or self.scale_dim is None:
            return None
        weight = self.scale_proj.weight
        sinusoid = upload(scale_sinusoid(guidance_scale, self.scale_dim), weight.device)
        words, embedded = self._read(text), self.scale_proj(sinusoid.to(weight.dtype))
        return lambda x_t, t: self._denoise(x_t, t, mask, words, embedded)

    def _read(self, text: TextFeatures) -> Float[Tensor, "B 1 H"]:
        """The token of the captions."""
        feature = text.pooled.to(self.text_proj.weight.dtype)
        return self.text_proj(F.relu(feature) if self.text_relu else feature)[:, None]

    def _denoise(
        self,
        x_t: Float[Tensor, "B N W"],
        t: Real[Tensor, "B"],
        mask: Bool[Tensor, "B N"],
        words: Float[Tensor, "B 1 H"],
        scale: Float[Tensor, "S"] | None = None,
    ) -> Float[Tensor, "B N W"]:
        dtype = self.text_proj.weight.dtype
        time = timestep_sinusoid(t, self.time_dim).to(dtype)
        step = self.time_embedding(time if scale is None else time + scale)
        tokens = torch.cat([self.in_proj(apply_mask(x_t, mask).to(dtype)), step[:, None], words], 1)
        count = x_t.shape[1]
        out = self.transformer(self.positions(tokens), F.pad(mask, (0, 2), value=True), leading=count)
        return apply_mask(self.out_proj(out), mask)


def scale_sinusoid(scale: float, width: int) -> Float[Tensor, "W"]:
    """Sines, then cosines, of 1000 (scale - 1), on the CPU (Meng et al. 2023; Luo et al. 2023, section 4.2).

    The angles reach tens of thousands, where float32 rounds them by a thousandth. They are computed in float32 as by
    the published programs, but from frequencies that are the same on every machine.
    """
    angles = torch.tensor(scale - 1, dtype=torch.float32) * 1000.0 * _frequencies(width // 2)
    return torch.cat([angles.sin(), angles.cos()])


def _frequencies(count: int) -> Float[Tensor, "W"]:
    """Geometric frequencies from 1 to 1e-4, as exp of float32 exponents gives them."""
    exponents = torch.arange(count, dtype=torch.float32) * -(math.log(10000.0) / max(count - 1, 1))
    exact = exponents.double().exp().float()
    for index, towards in _ROUNDED_OTHERWISE.get(count, ()):
        exact[index] = torch.nextafter(exact[index], torch.tensor(towards))
    return exact
