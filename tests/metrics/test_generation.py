"""Measures of generated motions against plain loops, SciPy's matrix square root and closed forms."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from metric_parts import run_two
from torch.nn.functional import normalize

from realign.errors import InputError
from realign.metrics.generation import (
    Gaussian,
    diversity,
    euclidean_distances,
    frechet_distance,
    matching_batches,
    mm_dist,
    multimodality,
    r_precision,
)
from realign.metrics.generation_metric import GenerationMetrics, MultiModality


def pairs(count: int, width: int = 16, noise: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    text = torch.randn(count, width, generator=generator)
    return text, text + noise * torch.randn(count, width, generator=generator)


def loop_precision(text: np.ndarray, motion: np.ndarray, right: np.ndarray) -> list[float]:
    """Sorts one caption after the other, as the field's programs do."""
    hits = np.zeros(3)
    for row in range(len(text)):
        distances = [math.dist(text[row], motion[column]) for column in range(len(motion))]
        order = np.argsort(distances)
        hits += [bool(right[row, order[:k]].any()) for k in (1, 2, 3)]
    return list(hits / len(text))


def scipy_fid(x: np.ndarray, y: np.ndarray) -> float:
    one, other = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(one @ other)
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(one + other - 2 * root.real))


@pytest.mark.parametrize("identical", [False, True])
def test_precision_agrees_with_sorting_in_loops(identical: bool) -> None:
    text, motion = pairs(96, noise=2.0)
    labels = torch.arange(96) % 60
    batches = matching_batches(96, 32, seed=3)
    same = labels[batches][:, :, None] == labels[batches][:, None, :]
    found = r_precision(euclidean_distances(text[batches], motion[batches]), same if identical else None)
    expected = [
        loop_precision(text[rows].numpy(), motion[rows].numpy(), right.numpy() if identical else np.eye(32, dtype=bool))
        for rows, right in zip(batches, same, strict=True)
    ]
    assert found.tolist() == pytest.approx(np.mean(expected, 0).tolist())
    assert 0 < found[0] < found[2] < 1


@pytest.mark.parametrize("identical", [False, True])
def test_ties_count_as_the_mean_over_all_orders(identical: bool) -> None:
    distances = torch.tensor([[1.0, 1.0, 0.5, 1.0], [2.0, 2.0, 2.0, 2.0], [3.0, 1.0, 1.0, 4.0], [0.0, 1.0, 2.0, 9.0]])
    right = torch.eye(4, dtype=torch.bool)
    if identical:
        right[1, 3] = right[3, 1] = right[0, 1] = right[1, 0] = True
    expected = np.zeros(3)
    for row in range(4):
        orders = [p for p in itertools.permutations(range(4)) if (np.diff(distances[row, list(p)].numpy()) >= 0).all()]
        expected += np.mean([[right[row, list(p[:k])].any().item() for k in (1, 2, 3)] for p in orders], 0)
    assert r_precision(distances, right).tolist() == pytest.approx((expected / 4).tolist())


def test_distances_of_equal_rows_are_zero_and_never_nan() -> None:
    x = 100 * normalize(torch.randn(300, 512, generator=torch.Generator().manual_seed(0)), dim=1)
    near = x + 1e-6 * torch.randn(300, 512, generator=torch.Generator().manual_seed(1))
    single = (x.square().sum(1)[:, None] + near.square().sum(1) - 2 * x @ near.T).sqrt()
    assert single.isnan().any(), "the usual form is expected to fail here"
    assert not euclidean_distances(x, near).isnan().any()
    assert (euclidean_distances(x, x).diagonal() == 0).all()
    exact = torch.cdist(x.double(), near.double(), compute_mode="donot_use_mm_for_euclid_dist").float()
    torch.testing.assert_close(euclidean_distances(x, near), exact, rtol=1e-6, atol=1e-4)


def test_matched_distance_diversity_and_multimodality_agree_with_loops() -> None:
    text, motion = pairs(50)
    rows = list(zip(text.tolist(), motion.tolist(), strict=True))
    assert float(mm_dist(text, motion)) == pytest.approx(np.mean([math.dist(a, b) for a, b in rows]))
    generator = torch.Generator().manual_seed(5)
    one, other = (torch.randperm(50, generator=generator)[:20].tolist() for _ in range(2))
    expected = np.mean([math.dist(rows[i][1], rows[j][1]) for i, j in zip(one, other, strict=True)])
    assert float(diversity(motion, 20, seed=5)) == pytest.approx(expected)
    assert float(diversity(motion, 300, seed=5)) == pytest.approx(float(diversity(motion, 50, seed=5)))
    many = torch.randn(4, 6, 8, generator=generator)
    drawn = torch.Generator().manual_seed(2)
    one, other = (torch.randperm(6, generator=drawn)[:5].tolist() for _ in range(2))
    distances = [
        math.dist(each[i].tolist(), each[j].tolist()) for each in many for i, j in zip(one, other, strict=True)
    ]
    assert float(multimodality(many, 5, seed=2)) == pytest.approx(np.mean(distances))
    with pytest.raises(InputError, match="10 pairs"):
        multimodality(many)


@pytest.mark.parametrize(("left", "right"), [(300, 200), (300, 30), (30, 300), (100, 64), (65, 64), (40, 20)])
def test_fid_agrees_with_the_matrix_square_root(left: int, right: int) -> None:
    generator = torch.Generator().manual_seed(left)
    mix = torch.randn(64, 64, generator=generator)
    x, y = torch.randn(left, 64, generator=generator) @ mix, 1 + torch.randn(right, 64, generator=generator) @ mix.T
    found = float(frechet_distance(Gaussian.of(x), y))
    if min(left, right) > 64:
        assert found == pytest.approx(scipy_fid(x.double().numpy(), y.double().numpy()), rel=1e-6)
    swapped = float(frechet_distance(Gaussian.of(y), x))
    assert found == pytest.approx(swapped, rel=1e-6)
    # the root of S1 S2 has the trace of the root of S1^(1/2) S2 S1^(1/2), which is symmetric also where S1 is singular
    values, vectors = np.linalg.eigh(np.cov(x.double().numpy(), rowvar=False))
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ np.cov(y.double().numpy(), rowvar=False) @ root).clip(0)
    shift = ((x.double().mean(0) - y.double().mean(0)) ** 2).sum().item()
    traces = np.trace(np.cov(x.double().numpy(), rowvar=False)) + np.trace(np.cov(y.double().numpy(), rowvar=False))
    assert found == pytest.approx(shift + traces - 2 * np.sqrt(inner).sum(), rel=1e-5)


@pytest.mark.parametrize("count", [20, 64, 65, 500])
def test_fid_is_zero_for_equal_sets_and_the_squared_shift_for_shifted_ones(count: int) -> None:
    x = torch.randn(count, 64, generator=torch.Generator().manual_seed(1)).double()
    x[:, 5] = 0.25  # a dimension without any spread
    assert float(frechet_distance(Gaussian.of(x), x)) == pytest.approx(0, abs=1e-5)
    assert float(frechet_distance(Gaussian.of(x), x + 0.5)) == pytest.approx(64 * 0.25, rel=1e-6)
    scaled = x.mean(0) + 3 * (x - x.mean(0))  # tr(S + 9 S - 6 S) = 4 tr S
    assert float(frechet_distance(Gaussian.of(x), scaled)) == pytest.approx(4 * x.var(0).sum().item(), rel=1e-6)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="31 motions do not fill one batch of 32"):
        matching_batches(31)
    with pytest.raises(InputError, match="no covariance"):
        Gaussian.of(torch.ones(1, 4))
    with pytest.raises(InputError, match="same evaluator"):
        frechet_distance(Gaussian.of(torch.ones(3, 4)), torch.ones(3, 5))


def test_metric_excludes_and_counts_values_that_are_not_finite() -> None:
    text, motion = pairs(70)
    ids, captions = [f"{i:03d}" for i in range(70)], [f"caption {i % 50}" for i in range(70)]
    real = Gaussian.of(text)
    dirty, clean = GenerationMetrics(real, pairs=20), GenerationMetrics(real, pairs=20)
    keep = [i for i in range(70) if i not in (3, 44)]
    clean.update(text[keep], motion[keep], [ids[i] for i in keep], [captions[i] for i in keep])
    broken = motion.clone()
    broken[3, 0], broken[44, 2] = torch.nan, torch.inf
    dirty.update(text, broken, ids, captions)
    found, expected = dirty.compute(), clean.compute()
    assert found.pop("excluded") == 2 and expected.pop("excluded") == 0
    assert {name: float(value) for name, value in found.items()} == {n: float(v) for n, v in expected.items()}
    whole = GenerationMetrics(real, whole_batches=True, pairs=20)
    whole.update(text, motion, ids, captions)
    assert float(whole.compute()["MM-Dist"]) != pytest.approx(float(mm_dist(text, motion)), abs=1e-9)


def test_multimodality_metric_groups_by_caption() -> None:
    many = torch.randn(3, 12, 8, generator=torch.Generator().manual_seed(0))
    metric = MultiModality(pairs=10, seed=4)
    for number in torch.randperm(12, generator=torch.Generator().manual_seed(1)).tolist():
        metric.update(many[:, number], ["a", "b", "c"], [number] * 3)
    found = metric.compute()
    assert float(found["MModality"]) == pytest.approx(float(multimodality(many, 10, seed=4))) and not found["excluded"]
    broken = MultiModality(pairs=10, seed=4)
    for number in range(12):
        spoiled = torch.full((1, 8), torch.nan if number in (2, 9) else 1.0)
        broken.update(torch.cat([many[:, number], spoiled]), ["a", "b", "c", "bad"], [number] * 4)
    left = broken.compute()
    assert left["excluded"] == 2 and torch.equal(left["MModality"], found["MModality"])
    metric.update(many[:1, 0], ["d"], [0])
    with pytest.raises(InputError, match="same number"):
        metric.compute()


WORKER = """
import sys, torch, torch.distributed as dist
from realign.metrics.generation import Gaussian
from realign.metrics.generation_metric import GenerationMetrics, MultiModality
from realign.metrics.sample_means import SampleMeans
rank, file = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
generator = torch.Generator().manual_seed(0)
text = torch.randn(101, 24, generator=generator)
motion = text + torch.randn(101, 24, generator=generator)
motion[7] = torch.nan
real = Gaussian.of(torch.randn(300, 24, generator=generator))
ids = [f"{i * 7919 % 997:03d}" for i in range(101)]
def feed(metric, rows):
    metric.update(text[rows], motion[rows], [ids[i] for i in rows], [f"{i % 60}" for i in rows])
options = {"identical": True, "pairs": 40, "seed": 3}
split, alone = GenerationMetrics(real, **options), GenerationMetrics(real, **options, sync_on_compute=False)
feed(split, list(range(rank, 101, 2)) + [0])  # a padded sampler repeats a sample
feed(alone, list(range(101)))
shared, single = split.compute(), alone.compute()
assert shared.keys() == single.keys() and shared["excluded"] == 1
assert all(abs(float(shared[k] - single[k])) < 1e-6 for k in shared), (shared, single)
many = torch.randn(4, 12, 8, generator=generator)
split, alone = MultiModality(), MultiModality(sync_on_compute=False)
for number in range(12):
    alone.update(many[:, number], list("abcd"), [number] * 4)
    if number % 2 == rank:
        split.update(many[:, number], list("abcd"), [number] * 4)
assert abs(float(split.compute()["MModality"] - alone.compute()["MModality"])) < 1e-6
split, alone = (SampleMeans(["a", "b"], sync_on_compute=sync) for sync in (True, False))
for metric, rows in ((split, list(range(rank, 101, 2)) + [0]), (alone, list(range(101)))):
    metric.update([ids[i] for i in rows], {"a": text[rows, 0], "b": text[rows, 1]})
assert all(abs(float(value - alone.compute()[name])) < 1e-6 for name, value in split.compute().items())
assert abs(float(alone.compute()["a"]) - sum(text[:, 0].tolist()) / 101) < 1e-6
dist.destroy_process_group()
"""


def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    run_two(WORKER, tmp_path)
