import numpy as np
import pytest
import torch

from realign.errors import InputError
from realign.motion import HUMANML3D, KIT, Normalizer, feature_groups, grouped_std


def fitted():
    mean, std = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 0.0, 0.5])
    return Normalizer(3).fit(mean, std)


def test_denormalize_inverts_normalize():
    x = torch.randn(2, 4, 3)
    x[..., 1] = 2.0  # a constant feature is its mean
    z = fitted().normalize(x)
    assert torch.equal(z[..., 0], (x[..., 0] - 1) / 2) and torch.equal(z[..., 1], torch.zeros(2, 4))
    assert torch.allclose(fitted().denormalize(z), x, atol=1e-6)


def test_padding_is_zero():
    mask = torch.tensor([[True, True, False]])
    x = torch.full((1, 3, 3), float("nan")).masked_fill(mask[..., None], 0.0)
    z = fitted().normalize(x, mask)
    assert torch.isfinite(z).all() and not z[:, 2].any()
    assert not fitted().denormalize(z, mask)[:, 2].any()


def test_statistics_are_in_the_state_dict():
    loaded = Normalizer(3)
    with pytest.raises(InputError, match="no statistics"):
        loaded.normalize(torch.zeros(1, 3))
    loaded.load_state_dict(fitted().state_dict())
    x = torch.randn(5, 3)
    assert torch.equal(loaded.normalize(x), fitted().normalize(x))


def test_refuses_what_does_not_fit():
    with pytest.raises(InputError, match="width 4.*of 3"):
        fitted().denormalize(torch.zeros(2, 4))
    with pytest.raises(InputError, match=r"mean has shape \(4,\)"):
        Normalizer(3).fit(torch.zeros(4), torch.ones(4))
    with pytest.raises(InputError, match="std holds NaN"):
        Normalizer(3).fit(torch.zeros(3), torch.tensor([1.0, float("inf"), 1.0]))
    with pytest.raises(InputError, match="negative value -1"):
        Normalizer(3).fit(torch.zeros(3), -torch.ones(3))
    with pytest.raises(InputError, match="at least one"):
        Normalizer(0)
    with pytest.raises(InputError, match="eps"):
        Normalizer(3, eps=0.0)


@pytest.mark.parametrize("skeleton", [HUMANML3D, KIT], ids=lambda s: s.name)
def test_std_is_averaged_in_groups(skeleton):
    std = torch.rand(skeleton.num_features, dtype=torch.float64)
    grouped = grouped_std(std, skeleton)
    groups = feature_groups(skeleton)
    sizes = [1, 2, 1, 3 * skeleton.num_joints - 3, 6 * skeleton.num_joints - 6, 3 * skeleton.num_joints, 4]
    assert [group.stop - group.start for group in groups.values()] == sizes
    assert sum(sizes) == skeleton.num_features
    for group in groups.values():
        assert torch.equal(grouped[group], std[group].mean().expand(group.stop - group.start))
    with pytest.raises(InputError, match="does not fit"):
        grouped_std(std[1:], skeleton)


def test_published_std_has_these_groups(reference_dir):
    std = torch.from_numpy(np.load(reference_dir / "Std.npy")).double()
    assert torch.allclose(grouped_std(std), std, rtol=1e-5)
