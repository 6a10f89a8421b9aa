import functools
from collections.abc import Callable

import pytest
import torch

from realign.batch import TextFeatures
from realign.errors import InputError
from realign.masking import lengths_to_mask
from realign.nn import Denoiser, MdmDenoiser, MldDenoiser

SIZE = {"width": 5, "text_dim": 6, "hidden": 16, "layers": 3, "heads": 2, "feedforward": 32}
PATCHED = functools.partial(MdmDenoiser, patch=3)
REFINED = functools.partial(MdmDenoiser, patch=3, refine=5)
KINDS = [(kind, words) for kind in (MldDenoiser, MdmDenoiser, PATCHED, REFINED) for words in ("pooled", "tokens")]


def text(words: int, seed: int = 0) -> TextFeatures:
    generator = torch.Generator().manual_seed(seed)
    mask = lengths_to_mask(torch.tensor([words, 2]), words)
    tokens = torch.randn(2, words, 6, generator=generator) * mask[..., None]
    return TextFeatures(tokens, mask, torch.randn(2, 6, generator=generator))


def build(kind: Callable[..., Denoiser], conditioning: str) -> Denoiser:
    torch.manual_seed(0)
    denoiser = kind(**SIZE, conditioning=conditioning).eval()
    if getattr(denoiser, "refiner", None) is not None:  # new ones pass a prediction unchanged
        torch.nn.init.normal_(denoiser.refiner.second.weight)
    return denoiser


@pytest.mark.parametrize(("kind", "conditioning"), KINDS)
def test_padding_of_tokens_and_words_does_not_leak(kind, conditioning) -> None:
    denoiser = build(kind, conditioning)
    x, t, mask = torch.randn(2, 7, 5), torch.tensor([3, 90]), lengths_to_mask(torch.tensor([7, 4]))
    out = denoiser(x, t, mask, text(5))
    alone = text(5)[[1]]
    alone = TextFeatures(alone.tokens[:, :2], alone.mask[:, :2], alone.pooled)
    single = denoiser(x[1:, :4], t[1:], mask[1:, :4], alone)
    assert out.shape == x.shape and not out[~mask].any()
    torch.testing.assert_close(out[1:, :4], single, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "conditioning"), KINDS)
def test_step_and_text_matter(kind, conditioning) -> None:
    denoiser = build(kind, conditioning)
    x, t, mask = torch.randn(2, 7, 5), torch.tensor([3, 90]), lengths_to_mask(torch.tensor([7, 4]))
    out = denoiser(x, t, mask, text(5))
    assert not torch.allclose(out, denoiser(x, t + 1, mask, text(5)))
    assert not torch.allclose(out, denoiser(x, t, mask, text(5, seed=1)))
    longer = text(5)
    longer.tokens[0, 3] *= -1  # a shift would be normalised away
    assert torch.allclose(out, denoiser(x, t, mask, longer)) == (conditioning == "pooled")


@pytest.mark.parametrize(("kind", "conditioning"), KINDS)
def test_gradients_reach_every_weight(kind, conditioning) -> None:
    denoiser = build(kind, conditioning)
    x, t, mask = torch.randn(2, 7, 5), torch.tensor([3, 90]), lengths_to_mask(torch.tensor([7, 4]))
    denoiser(x, t, mask, text(5)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in denoiser.parameters())
    assert all(p.grad.any() for name, p in denoiser.named_parameters() if name.endswith("weight"))


def test_a_new_refiner_changes_nothing_and_a_trained_one_reaches_across_patches() -> None:
    denoiser = MdmDenoiser(**SIZE, patch=3, refine=5).eval()
    refiner, x, mask = denoiser.refiner, torch.randn(1, 12, 5), lengths_to_mask(torch.tensor([12]))
    torch.testing.assert_close(refiner(x, mask), x, rtol=0, atol=0)
    torch.nn.init.normal_(refiner.second.weight)
    x.requires_grad_()
    refiner(x, mask)[0, 6].sum().backward()  # the first frame of a patch
    reached = x.grad[0].abs().sum(-1) > 0
    assert reached.tolist() == [2 <= frame <= 10 for frame in range(12)]


def test_refuses_an_even_number_of_frames() -> None:
    with pytest.raises(InputError, match="refine is an odd number of frames, or 0 for none, but is 4"):
        MdmDenoiser(**SIZE, refine=4)
