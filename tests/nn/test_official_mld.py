import math

import pytest
import torch

from realign.batch import TextFeatures
from realign.errors import InputError
from realign.masking import lengths_to_mask
from realign.nn import OfficialMldDenoiser
from realign.nn.layers import timestep_sinusoid
from realign.nn.official_mld import scale_sinusoid

SIZE = {"text_dim": 6, "hidden": 16, "layers": 3, "heads": 2, "feedforward": 32, "positions": 12, "time_dim": 8}
PUBLISHED = {
    "MLD": {"width": 16},
    "MLD++": {"width": 5, "project_latents": True, "text_relu": False},
    "MotionLCM": {"width": 5, "project_latents": True, "text_relu": False, "scale_dim": 10},
}


def build(name: str) -> OfficialMldDenoiser:
    torch.manual_seed(0)
    return OfficialMldDenoiser(**SIZE, **PUBLISHED[name]).eval()


def text(seed: int = 0) -> TextFeatures:
    pooled = torch.randn(2, 6, generator=torch.Generator().manual_seed(seed))
    return TextFeatures(pooled[:, None], torch.ones(2, 1, dtype=torch.bool), pooled)


@pytest.mark.parametrize("name", PUBLISHED)
def test_padding_does_not_leak_and_all_input_matters(name: str) -> None:
    denoiser, mask, t = build(name), lengths_to_mask(torch.tensor([7, 4])), torch.tensor([3, 90])
    x = torch.randn(2, 7, denoiser.width)
    out = denoiser(x, t, mask, text())
    assert out.shape == x.shape and not out[~mask].any()
    assert not torch.allclose(out, denoiser(x, t + 1, mask, text()))
    assert not torch.allclose(out, denoiser(x, t, mask, text(1)))
    assert not torch.allclose(out[0], denoiser(x.flip(1), t, mask, text())[0].flip(0))  # positions are learned
    out.square().sum().backward()
    idle = [name for name, each in denoiser.named_parameters() if each.grad is None or not each.grad.any()]
    assert [each for each in idle if each.endswith("weight")] == ["scale_proj.weight"] * (name == "MotionLCM")


def test_a_distilled_denoiser_takes_its_scale_in_one_pass() -> None:
    denoiser, mask, x, t = build("MotionLCM"), torch.ones(2, 3, dtype=torch.bool), torch.randn(2, 3, 5), torch.ones(2)
    with torch.no_grad():
        low, high = (denoiser.self_guided(text(), mask, scale)(x, t) for scale in (2.0, 7.5))
        assert not torch.allclose(low, high)
        half = torch.exp(-torch.arange(5.0) / 4 * math.log(10000))  # Meng et al. 2023, with the scale from 0 on
        embedded = torch.cat([(6500 * half).sin(), (6500 * half).cos()])
        torch.testing.assert_close(scale_sinusoid(7.5, 10), embedded, atol=2e-3, rtol=0)
        denoiser.scale_proj.weight.zero_()
        torch.testing.assert_close(denoiser.self_guided(text(), mask, 7.5)(x, t), denoiser(x, t, mask, text()))
    assert build("MLD").self_guided(text(), mask, 7.5) is None


def test_sinusoids_equal_diffusers() -> None:
    from diffusers.models.embeddings import get_timestep_embedding

    t = torch.tensor([0, 1, 500, 999])
    published = get_timestep_embedding(t, 768, flip_sin_to_cos=True, downscale_freq_shift=0)
    assert torch.equal(timestep_sinusoid(t, 768), published)


def test_latents_of_another_width_need_a_projection() -> None:
    with pytest.raises(InputError, match="width 5 do not fit a transformer of width 16; set project_latents: true"):
        OfficialMldDenoiser(**SIZE, width=5)
