import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from realign.batch import TextFeatures
from realign.diffusion import CLEAN_STEP
from realign.interfaces import RewardBatch, RewardModel
from realign.masking import lengths_to_mask
from realign.nn import SPM, TMR

SIZES = {"width": 7, "text_dim": 5, "hidden": 8, "heads": 2, "feedforward": 12}
MASK = lengths_to_mask(torch.tensor([4, 9, 6]), 9)


def spm(**options: bool) -> SPM:
    torch.manual_seed(0)
    return SPM(layers=3, **SIZES, **options).eval()


def tmr() -> TMR:
    torch.manual_seed(0)
    return TMR(layers=2, **SIZES).eval()


def motions() -> Tensor:
    return torch.randn(3, 9, 7, generator=torch.Generator().manual_seed(1))


def words() -> TextFeatures:
    tokens = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(2))
    return TextFeatures(tokens, lengths_to_mask(torch.tensor([2, 4, 1]), 4), tokens[:, 0])


@pytest.mark.parametrize("model", [spm(), spm(text_time=True), tmr()], ids=["M1T0", "M1T1", "TMR"])
def test_an_embedding_depends_neither_on_padding_nor_on_the_batch(model: RewardModel) -> None:
    t, x, text = torch.tensor([CLEAN_STEP, 5, 700]), motions(), words()
    together = model.encode_motion(x, t, MASK).mean
    captions = model.encode_text(text, t).mean
    for row, length in enumerate(MASK.sum(1).tolist()):
        one = slice(row, row + 1)
        alone = model.encode_motion(x[one, :length], t[one], MASK[one, :length]).mean
        torch.testing.assert_close(together[one], alone, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(captions[one], model.encode_text(text[one], t[one]).mean, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(model.embed_motion(x, t, MASK), F.normalize(together, dim=-1))
    torch.testing.assert_close(model.embed_text(text), F.normalize(model.encode_text(text).mean, dim=-1))


def test_the_timestep_is_a_token_of_the_digits_mode_and_of_no_clean_motion() -> None:
    steps = [torch.full((3,), t) for t in (CLEAN_STEP, 0, 500)]
    for motion_time in (False, True):
        for text_time in (False, True):
            model = spm(motion_time=motion_time, text_time=text_time)
            means = [model.encode_motion(motions(), t, MASK).mean for t in steps]
            captions = [model.encode_text(words(), t).mean for t in steps]
            for seen, (clean, first, later) in ((motion_time, means), (text_time, captions)):
                assert torch.allclose(clean, first, atol=1e-6) != seen and torch.allclose(first, later) != seen
            blind = spm(motion_time=False)
            torch.testing.assert_close(means[0], blind.encode_motion(motions(), steps[0], MASK).mean)


def test_tmr_is_torchs_own_transformer_on_two_tokens_and_interleaved_sinusoids() -> None:
    model, x = tmr(), motions()
    encoder, tokens = model.motion_encoder, []
    layer = nn.TransformerEncoderLayer(8, 2, 12, activation="gelu", batch_first=True)
    reference = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    order = [0, 1, 2, 3, 6, 7, 8, 9, 4, 5, 10, 11]  # torch has the feed-forward network before both norms
    for number, own in enumerate(encoder.transformer.layers):
        ours = list(own.parameters())
        for place, theirs in zip(order, reference.layers[number].parameters(), strict=True):
            theirs.data.copy_(ours[place].data)
    sequence = torch.cat([encoder.tokens.expand(3, -1, -1), encoder.in_proj(x)], 1)
    for place in range(sequence.shape[1]):
        angles = [place / 10000 ** (2 * (channel // 2) / 8) for channel in range(8)]
        tokens.append([math.cos(a) if channel % 2 else math.sin(a) for channel, a in enumerate(angles)])
    out = reference(sequence + torch.tensor(tokens), src_key_padding_mask=~F.pad(MASK, (2, 0), value=True))
    found = model.encode_motion(x, torch.zeros(3), MASK)
    assert found.logvar is not None
    torch.testing.assert_close(found.mean, out[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.logvar, out[:, 1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model", [spm(text_time=True), tmr()], ids=["SPM", "TMR"])
def test_both_train_with_the_losses_of_tmr(model: RewardModel) -> None:
    x, t = motions().masked_fill(~MASK[..., None], 0), torch.tensor([3, CLEAN_STEP, 40])
    views = RewardBatch(x.repeat(2, 1, 1), torch.cat([0 * t - 1, t]), MASK.repeat(2, 1), x.repeat(2, 1, 1), words(),
                        torch.arange(6))  # fmt: skip
    learned = model.learn(views)
    assert learned.text.shape == (3, 8) and learned.motion.shape == (6, 8)
    assert set(learned.losses) == {"reconstruction", "kl", "latent"}
    torch.stack(list(learned.losses.values())).sum().backward()
    unused = {name for name, each in model.named_parameters() if each.grad is None}
    assert not unused
