"""Draws of samples: their dependencies and their randomness."""

from collections import Counter

import pytest
import torch
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode

from realign.masking import lengths_to_mask
from realign.seeding import derive, mix_seed, noise_like_mask, randn, uniform

MASK = 2**64 - 1


def splitmix(z: int) -> int:
    """The published finaliser of SplitMix64 in Python integers."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def test_the_hash_is_splitmix64_for_any_sign() -> None:
    seeds = [0, 1, -1, 2**62 + 12345, -(2**63), 2**63 - 1]
    expected = [
        splitmix(splitmix((seed + 0x9E3779B97F4A7C15) & MASK) + mix_seed("walk") & MASK) for seed in seeds
    ]  # fmt: skip
    assert [each & MASK for each in derive(torch.tensor(seeds), "walk").tolist()] == expected
    found = uniform(torch.tensor(seeds), "walk")
    assert found.tolist() == [(each >> 40) / 2**24 for each in expected]


def test_mixed_seeds_depend_on_all_parts() -> None:
    assert mix_seed(1, "23") != mix_seed("12", 3) and mix_seed(1, 2) == mix_seed(1, 2)


def test_a_draw_depends_only_on_seed_purpose_and_position() -> None:
    seeds, lengths = torch.arange(512) - 200, torch.arange(512) % 23 + 1
    together = randn(seeds, "noise", lengths, 7, size=40)
    assert not together[~lengths_to_mask(lengths, 40)].any() and together[lengths_to_mask(lengths, 40)].all()
    for row in (0, 3, 200, 511):
        alone = randn(seeds[row : row + 1], "noise", lengths[row : row + 1], 7)
        torch.testing.assert_close(alone[0], together[row, : lengths[row]], rtol=0, atol=1e-6)
    wide = randn(seeds, "noise", lengths, 10, size=40)
    torch.testing.assert_close(wide[..., :7], together, rtol=0, atol=1e-6)  # channels do not depend on the width
    big = randn(torch.arange(40), "noise", torch.full((40,), 196), 263)  # several chunks
    torch.testing.assert_close(
        big[39:], randn(torch.tensor([39]), "noise", torch.tensor([196]), 263), rtol=0, atol=1e-6
    )
    assert not torch.equal(together, randn(seeds, "other", lengths, 7, size=40))
    order = torch.randperm(512)
    assert torch.equal(uniform(seeds, "t")[order], uniform(seeds[order], "t"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_devices_agree() -> None:
    seeds, lengths = torch.arange(64), torch.full((64,), 196)
    here, there = (randn(seeds, "noise", lengths, 263, device) for device in ("cpu", "cuda"))
    assert there.is_cuda and (here - there.cpu()).abs().max() < 1e-6
    assert torch.equal(uniform(seeds, "t"), uniform(seeds, "t", "cuda").cpu())


@pytest.fixture(scope="module")
def noise() -> torch.Tensor:
    return randn(torch.arange(500), "noise", torch.full((500,), 50), 81).double()  # two million, adjacent seeds


def test_noise_is_normal(noise: torch.Tensor) -> None:
    flat = noise.flatten()
    assert stats.kstest(flat.numpy(), "norm").pvalue > 1e-3
    for channel in (0, 1, 80):  # cosines, sines, the one without a partner
        assert stats.kstest(noise[..., channel].flatten().numpy(), "norm").pvalue > 1e-3
    error = len(flat) ** -0.5
    moments = {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96), 6: (15, 10170)}  # E[x^k] and Var[x^k]
    for power, (mean, variance) in moments.items():
        assert abs(flat.pow(power).mean() - mean) < 4 * variance**0.5 * error
    for far in (3.0, 4.0, 4.5):
        expected = 2 * len(flat) * stats.norm.sf(far)
        assert abs((flat.abs() > far).sum() - expected) < 4 * expected**0.5 + 1


def test_extremes_are_in_the_expected_range() -> None:
    lengths = torch.full((256,), 196)
    most = max(float(randn(torch.arange(256) + 256 * k, "tails", lengths, 256).abs().max()) for k in range(3))
    assert 5.2 < most < 6.8  # 38 million draws: the largest lies between 5.2 and 6.3 in 99 of 100 cases


def test_numbers_are_uniform() -> None:
    numbers = uniform(torch.arange(1_000_000), "t")
    assert numbers.min() >= 0 and numbers.max() < 1
    assert stats.kstest(numbers.double().numpy(), "uniform").pvalue > 1e-3
    counts = torch.bincount((1000 * numbers).long(), minlength=1000)
    assert len(counts) == 1000 and stats.chisquare(counts.numpy()).pvalue > 1e-3


def correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    """In standard errors."""
    one, other = one.flatten().double(), other.flatten().double()
    return float(torch.corrcoef(torch.stack([one, other]))[0, 1].abs() * len(one) ** 0.5)


def test_seeds_purposes_and_positions_are_independent(noise: torch.Tensor) -> None:
    other = randn(torch.arange(500), "noise.", torch.full((500,), 50), 81).double()
    for transform in (torch.clone, torch.square):
        x = transform(noise)
        pairs = {
            "adjacent seeds": (x[1:], x[:-1]),
            "distant seeds": (x[256:], x[:-256]),
            "adjacent tokens": (x[:, 1:], x[:, :-1]),
            "both halves of a hash": (x[..., 0:80:2], x[..., 1:80:2]),
            "adjacent hashes": (x[..., 2:], x[..., :-2]),
            "a seed's next token and the next seed's": (x[1:, :-1], x[:-1, 1:]),
            "purposes": (x, transform(other)),
        }
        for name, pair in pairs.items():
            assert correlation(*pair) < 4, name
    seeds = torch.arange(200_000)
    drawn = [uniform(seeds, "a"), uniform(seeds, "b"), uniform(derive(seeds, "a"), "b"), uniform(seeds + 1, "a")]
    for k, one in enumerate(drawn):
        for two in drawn[:k]:
            assert correlation(one, two) < 4
    assert len(derive(seeds, "a").unique()) == len(seeds)


def test_drawing_never_waits_for_the_device() -> None:
    seen: Counter[str] = Counter()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            seen[str(function)] += 1
            return function(*args, **(kwargs or {}))

    seeds, mask = torch.arange(512), lengths_to_mask(torch.full((512,), 20), 24)
    with Watch():
        noise_like_mask(seeds, "noise", mask, 263)
        randn(seeds, "noise", torch.full((512,), 20), 263, "cpu", 24)
        uniform(seeds, "t")
    waits = [name for name in seen if any(part in name for part in ("local_scalar_dense", "nonzero", "is_nonzero"))]
    assert seen and not waits
    assert sum(seen.values()) < 1200  # of chunks, not of rows or tokens
