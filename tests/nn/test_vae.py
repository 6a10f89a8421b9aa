import pytest
import torch
from torch import Tensor

from realign.errors import InputError
from realign.losses.vae import joint_error, kl_loss, reconstruction_loss, velocity_loss
from realign.masking import lengths_to_mask
from realign.nn import ConvVAE, MotionVAE, SkipTransformerVAE

LENGTHS = torch.tensor([24, 13, 4, 16, 18])


def conv() -> MotionVAE:
    return ConvVAE(features=11, width=3, hidden=8, dilations=(1, 3))


def transformer(**options: int) -> MotionVAE:
    return SkipTransformerVAE(11, 8, tokens=2, layers=3, heads=2, feedforward=16, **options)


def motions(noise_in_padding: bool = True) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = lengths_to_mask(LENGTHS)
    motion = torch.randn(len(LENGTHS), 24, 11, generator=generator)
    return motion if noise_in_padding else motion * mask[..., None], mask


def projected() -> MotionVAE:
    return transformer(learned_positions=True, hidden=12, positions=30)


@pytest.mark.parametrize(
    "make", [conv, transformer, lambda: transformer(learned_positions=True, norm_first=True), projected]
)
def test_a_clip_alone_equals_the_clip_in_a_padded_batch(make) -> None:
    torch.manual_seed(0)
    vae = make().eval()
    motion, mask = motions()
    mean, logvar, tokens = vae.encode(motion, mask)
    decoded = vae.decode(mean, mask)
    assert torch.equal(tokens, vae.token_mask(mask))
    assert not decoded[~mask].any() and not mean[~tokens].any() and not logvar[~tokens].any()
    for row, length in enumerate(LENGTHS.tolist()):
        alone, own = motion[row : row + 1, :length], mask[row : row + 1, :length]
        single, single_logvar, single_tokens = vae.encode(alone, own)
        count = single.shape[1]
        assert single_tokens.all() and tokens[row].sum() == count
        torch.testing.assert_close(single[0], mean[row, :count], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(single_logvar[0], logvar[row, :count], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(vae.decode(single, own)[0], decoded[row, :length], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("make", [conv, transformer, projected])
def test_gradients_reach_every_parameter_and_no_padding(make) -> None:
    vae = make()
    motion, mask = motions()
    motion.requires_grad_()
    mean, logvar, tokens = vae.encode(motion, mask)
    loss = reconstruction_loss(vae.decode(mean, mask), torch.zeros_like(motion), mask) + kl_loss(mean, logvar, tokens)
    loss.backward()
    idle = [name for name, parameter in vae.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert not [name for name in idle if not name.endswith("bias")]
    assert not motion.grad[~mask].any() and motion.grad[mask].any()


def test_one_latent_token_for_four_frames() -> None:
    tokens = conv().token_mask(lengths_to_mask(torch.tensor([16, 13, 1])))
    assert tokens.sum(1).tolist() == [4, 4, 1]


def test_latents_of_another_length_are_refused() -> None:
    with pytest.raises(InputError, match="16 frames need 4 latent tokens, but got 5"):
        conv().decode(torch.zeros(1, 5, 3), torch.ones(1, 16, dtype=torch.bool))


def test_losses_against_closed_forms() -> None:
    mask = lengths_to_mask(torch.tensor([2, 1]), 3)
    still, moved = torch.zeros(2, 3, 2), torch.full((2, 3, 2), 0.5)
    assert reconstruction_loss(still, moved, mask).item() == pytest.approx(0.125)  # 0.5 * 0.5^2
    assert velocity_loss(still, moved, mask).item() == 0
    ones = torch.ones(2, 3, 2)
    assert kl_loss(still, still, mask).item() == 0
    assert kl_loss(ones, still, mask).item() == pytest.approx(0.5)
    variance = torch.full_like(still, 0.25)
    assert kl_loss(ones, variance.log(), mask).item() == pytest.approx(0.5 * (1 + 0.25 - 1 - torch.tensor(0.25).log()))
    joints = torch.zeros(2, 3, 4, 3)
    shifted = joints + torch.tensor([3.0, 0, 4.0])
    assert joint_error(shifted, joints, mask).item() == pytest.approx(5.0)


def test_losses_ignore_padding() -> None:
    motion, mask = motions()
    other = motion.masked_fill(~mask[..., None], float("nan"))
    target = torch.zeros_like(motion)
    torch.testing.assert_close(reconstruction_loss(other, target, mask), reconstruction_loss(motion, target, mask))
    torch.testing.assert_close(velocity_loss(other, target, mask), velocity_loss(motion, target, mask))
