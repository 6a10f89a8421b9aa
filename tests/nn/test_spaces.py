import pytest
import torch

from realign.errors import InputError
from realign.masking import lengths_to_mask
from realign.nn import ConvVAE, FeatureSpace, LatentSpace, SkipTransformerVAE

MASK = lengths_to_mask(torch.tensor([16, 8]))


def vae(seed: int = 0) -> ConvVAE:
    torch.manual_seed(seed)
    return ConvVAE(features=7, width=3, hidden=8, dilations=(1,))


def test_feature_space_is_the_motion_itself() -> None:
    space, motion = FeatureSpace(7), torch.randn(2, 16, 7)
    x, tokens = space.encode(motion, MASK)
    assert space.width == space.features == 7 and space.ready
    assert torch.equal(tokens, MASK) and torch.equal(x[MASK], motion[MASK]) and not x[~MASK].any()
    assert torch.equal(space.decode(x, MASK), x)
    with pytest.raises(InputError, match="FeatureSpace has no autoencoder"):
        space.load_vae(vae(), torch.zeros(3), torch.ones(3))


def test_latent_space_standardises_invertibly() -> None:
    trained, motion = vae(1), torch.randn(2, 16, 7)
    space = LatentSpace(vae())
    assert not space.ready
    mean, std = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 2.0, 0.0])
    space.load_vae(trained, mean, std)
    assert space.ready
    x, tokens = space.encode(motion, MASK)
    raw = trained.encode(motion, MASK)[0]
    torch.testing.assert_close(x[tokens][:, :2], ((raw - mean) / std)[tokens][:, :2])
    assert x.isfinite().all() and not x[~tokens].any()
    torch.testing.assert_close(space.decode(x, MASK), trained.decode(raw, MASK), atol=1e-5, rtol=1e-4)


def test_latent_space_is_frozen_and_carries_its_weights() -> None:
    space = LatentSpace(SkipTransformerVAE(7, 8, 1, 1, 2, 16)).train()
    assert not any(module.training for module in space.modules())
    assert not any(parameter.requires_grad for parameter in space.parameters())
    assert {"mean", "std", "fitted", "vae.out_proj.weight"} <= space.state_dict().keys()


def test_gradient_passes_through_decode() -> None:
    space = LatentSpace(vae())
    x = torch.randn(2, 4, 3, requires_grad=True)
    space.decode(x, MASK).square().sum().backward()
    assert x.grad[space.token_mask(MASK)].any()


def test_another_configuration_is_refused() -> None:
    with pytest.raises(InputError, match="does not fit the configured ConvVAE"):
        LatentSpace(vae()).load_vae(ConvVAE(7, 3, hidden=16, dilations=(1,)), torch.zeros(3), torch.ones(3))
