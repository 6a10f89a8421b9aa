import pytest
import torch
from torch import Tensor

from realign.batch import TextFeatures
from realign.diffusion import CLEAN_STEP
from realign.errors import InputError
from realign.guidance.gradient import RewardGradient
from realign.masking import lengths_to_mask
from realign.nn.reward import TransformerReward
from realign.text.hashing import HashingEncoder

WIDTH, DIM = 6, 8
SENTENCES = ["a person walks", "someone jumps over a fence and falls", "kick"]


def model(**options: object) -> TransformerReward:
    torch.manual_seed(0)
    sizes = {"embedding": 12, "hidden": 16, "layers": 3, "heads": 2, "feedforward": 32, "decoder_layers": 1}
    return TransformerReward(WIDTH, DIM, **{**sizes, **options}).eval()  # type: ignore[arg-type]


def motions(frames: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    mask = lengths_to_mask(torch.tensor([7, 10, 5]), frames)
    x = torch.randn(3, 10, WIDTH, generator=torch.Generator().manual_seed(1))
    x = torch.cat([x, torch.zeros(3, frames - 10, WIDTH)], 1) * mask[..., None]
    return x, torch.tensor([CLEAN_STEP, 3, 90]), mask


def text() -> TextFeatures:
    return HashingEncoder(DIM)(SENTENCES)


@pytest.mark.parametrize("patch", [1, 4])
def test_reward_is_the_cosine_of_unit_embeddings(patch: int):
    reward, batch, words = model(patch=patch), motions(), text()
    motion, sentence = reward.embed_motion(*batch), reward.embed_text(words)
    assert motion.shape == sentence.shape == (3, 12)
    assert torch.allclose(motion.norm(dim=-1), torch.ones(3)) and torch.allclose(sentence.norm(dim=-1), torch.ones(3))
    assert torch.allclose(reward(*batch, words), torch.cosine_similarity(motion, sentence), atol=1e-6)


@pytest.mark.parametrize("patch", [1, 4])
def test_neither_padding_nor_the_rest_of_the_batch_matters(patch: int):
    reward = model(patch=patch)
    x, t, mask = motions()
    together = reward.embed_motion(*motions(17))
    assert torch.allclose(reward.embed_motion(x, t, mask), together, atol=1e-6)
    for row, length in enumerate(mask.sum(1).tolist()):
        alone = reward.embed_motion(x[row : row + 1, :length], t[row : row + 1], mask[row : row + 1, :length])
        assert torch.allclose(alone[0], together[row], atol=1e-6)
        sentence = reward.embed_text(HashingEncoder(DIM)([SENTENCES[row]]))
        assert torch.allclose(sentence[0], reward.embed_text(text())[row], atol=1e-6)
    z = torch.randn(3, 12)
    assert torch.allclose(reward.decode(z, mask), reward.decode(z, motions(17)[2])[:, :10], atol=1e-6)


def test_padding_is_ignored():
    reward = model(patch=4)
    x, t, mask = motions()
    spoilt = x.masked_fill(~mask[..., None], torch.nan)
    assert torch.equal(reward.embed_motion(spoilt, t, mask), reward.embed_motion(x, t, mask))


def test_timesteps_matter_only_if_step_aware():
    x, _, mask = motions()

    def at(reward: TransformerReward, step: int) -> Tensor:
        return reward.embed_motion(x, torch.full((3,), step), mask)

    aware, blind = model(), model(step_aware=False)
    steps = (CLEAN_STEP, 0, 1, 500)
    for one in steps:
        for other in steps:
            assert torch.allclose(at(aware, one), at(aware, other), atol=1e-5) == (one == other)
            assert torch.equal(at(blind, one), at(blind, other))
    assert not any("step" in name for name in blind.state_dict())


def test_embeddings_are_deterministic_in_evaluation_and_dropped_out_in_training():
    reward, batch = model(dropout=0.5), motions()
    assert torch.equal(reward.embed_motion(*batch), reward.embed_motion(*batch))
    reward.train()
    assert not torch.allclose(reward.embed_motion(*batch), reward.embed_motion(*batch), atol=1e-3)


def test_gradient_agrees_with_finite_differences_in_float64():
    reward = model(patch=4).double()
    x, t, mask = motions()
    words = text().to(torch.float64)

    class Text(RewardGradient):
        def reward(self, x_t: Tensor, t: Tensor, mask: Tensor) -> Tensor:
            return reward(x_t, t, mask, words)

    x, step = x.double(), 1e-6
    gradient = Text().gradient(x, t, mask)
    assert gradient.dtype == torch.float64
    assert (gradient[~mask] == 0).all() and (gradient.flatten(1).norm(dim=1) > 1e-4).all()
    generator = torch.Generator().manual_seed(2)
    for _ in range(3):
        direction = torch.randn(x.shape, generator=generator, dtype=torch.float64) * mask[..., None]
        ahead, behind = (reward(x + sign * step * direction, t, mask, words) for sign in (1, -1))
        slope = (ahead - behind) / (2 * step)
        assert torch.allclose((gradient * direction).sum((1, 2)), slope.detach(), rtol=1e-5, atol=1e-8)


def test_embedding_computes_only_the_mean():
    reward, batch, asked = model(decoder_layers=3), motions(), []
    for head in (reward.motion_encoder.logvar, reward.text_encoder.logvar, reward.decoder):
        head.register_forward_hook(lambda *_: asked.append(1))
    motion, words = reward.embed_motion(*batch), reward.embed_text(text())
    assert not asked
    for embedded, gaussians in ((motion, reward.encode_motion(*batch)), (words, reward.encode_text(text()))):
        torch.testing.assert_close(embedded, torch.nn.functional.normalize(gaussians.mean, dim=-1))
    assert len(asked) == 2


def test_contrast_alone_needs_neither_variances_nor_decoder():
    reward, batch = model(decoder_layers=0), motions()
    assert reward.encode_motion(*batch).logvar is None
    assert not any(part in name for name in reward.state_dict() for part in ("logvar", "decoder", "write"))
    with pytest.raises(InputError, match="no decoder"):
        reward.decode(torch.zeros(3, 12), batch[2])


def test_decoded_tokens_are_zero_at_padding():
    reward, (_, _, mask) = model(patch=4), motions()
    made = reward.decode(torch.randn(3, 12), mask)
    assert made.shape == (3, 10, WIDTH)
    assert torch.equal(made.abs().sum(-1) > 0, mask)


def test_a_patch_of_no_tokens_is_refused():
    with pytest.raises(InputError, match="patch=0"):
        model(patch=0)
