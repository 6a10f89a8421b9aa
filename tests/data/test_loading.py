"""Batches: they cover all samples, on any number of processes, with similar lengths."""

import numpy as np
import pytest
import torch

from realign.data.loading import SeededBatchSampler
from realign.errors import InputError

CASES = [(12000, 64, 64), (20000, 64, 64), (8192, 64, 64), (3400, 16, 64), (2000, 64, 64), (500, 1, 64), (70, 1, 64),
         (64, 1, 64), (37, 3, 4), (12, 5, 4), (7, 7, 3), (5, 2, 1)]  # fmt: skip


def lengths_of(count: int) -> np.ndarray:
    return np.random.default_rng(0).gamma(4, 30, count).clip(40, 196).astype(int) // 4 * 4


def ranks(size: int, world: int, batch: int, epoch: int, **options: object) -> list[list[list[int]]]:
    """The indices of every batch of every rank."""
    found = []
    for rank in range(world):
        sampler = SeededBatchSampler(
            size, batch, **{"shuffle": True, "drop_last": True, "rank": rank, "world_size": world, **options}
        )  # type: ignore[arg-type]
        sampler.set_epoch(epoch)
        found.append([[index for index, _ in keys] for keys in sampler])
        assert len(found[-1]) == len(sampler)
    return found


def merged(parts: list[list[list[int]]]) -> list[frozenset[int]]:
    """The global batches."""
    return [frozenset(index for own in batch for index in own) for batch in zip(*parts, strict=True)]


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize(("size", "world", "batch"), CASES)
def test_every_sample_comes_within_two_epochs_and_at_most_once_in_each(
    size: int, world: int, batch: int, grouped: bool
) -> None:
    lengths = lengths_of(size) if grouped else None
    epochs = [ranks(size, world, batch, epoch, lengths=lengths) for epoch in (5, 6)]
    seen: set[int] = set()
    for parts in epochs:
        indices = [index for part in parts for own in part for index in own]
        assert (
            len(set(indices)) == len(indices) == max(size // (batch * world) * batch * world, min(size, batch * world))
        )
        assert {len(part) for part in parts} == {max(1, size // (batch * world))}
        seen |= set(indices)
    assert seen == set(range(size))
    first, second = ({frozenset(own) for part in parts for own in part} for parts in epochs)
    if size > batch * world or 1 < world < size:
        assert not first & second or batch == 1
        assert len(merged(epochs[0])) == 1 or batch == 1 or not set(merged(epochs[0])) & set(merged(epochs[1]))


def test_an_epoch_of_64_processes_is_that_of_one_with_the_same_global_batch() -> None:
    size, world, whole = 23384, 64, 512  # HumanML3D's training clips on eight nodes of eight
    lengths = lengths_of(size)
    one = ranks(size, 1, whole, 0, lengths=lengths)[0]
    parts = ranks(size, world, whole // world, 0, lengths=lengths)
    assert {len(own) for part in parts for own in part} == {8} and {len(part) for part in parts} == {size // whole}
    assert merged(parts) == [frozenset(batch) for batch in one]
    left = set(range(size)) - set().union(*merged(parts))
    assert len(left) == size % whole
    assert left <= set().union(*merged(ranks(size, world, whole // world, 1, lengths=lengths)))
    everything = ranks(size, world, whole // world, 0, drop_last=False)
    assert sorted(index for part in everything for own in part for index in own) == list(range(size))


def test_samples_left_out_do_not_depend_on_length() -> None:
    lengths = lengths_of(12000)
    for epoch in range(4):
        taken = sorted(set().union(*merged(ranks(12000, 64, 64, epoch, lengths=lengths))))
        assert abs(lengths[taken].mean() - lengths.mean()) < 3 * lengths.std() / 3808**0.5


def test_the_samples_without_drop_last_all_come_in_every_epoch() -> None:
    for size, world, batch in ((37, 3, 4), (25, 3, 4), (500, 4, 16)):
        parts = ranks(size, world, batch, 2, drop_last=False, lengths=lengths_of(size))
        assert sorted(index for part in parts for own in part for index in own) == list(range(size))
        assert len({len(part) for part in parts}) == 1


@pytest.mark.parametrize(
    ("size", "world", "batch", "most"), [(6000, 1, 64, 0.1), (6000, 8, 32, 0.13), (700, 1, 64, 0.15)]
)
def test_batches_hold_similar_lengths(size: int, world: int, batch: int, most: float) -> None:
    def padding(lengths: np.ndarray | None) -> float:
        rows = [own for part in ranks(size, world, batch, 0, lengths=lengths) for own in part]
        padded = sum(known[own].max() * len(own) for own in rows)
        return 1 - sum(known[own].sum() for own in rows) / padded

    known = lengths_of(size)
    assert padding(known) < most < 0.35 < padding(None)


def test_several_processes_see_what_one_sees_and_a_start_skips_batches() -> None:
    lengths = lengths_of(300)
    one = ranks(300, 1, 24, 3, lengths=lengths)[0]
    assert [batch[rank::4] for batch in one for rank in range(4)] == [
        own for batch in zip(*ranks(300, 4, 6, 3, lengths=lengths), strict=True) for own in batch
    ]
    sampler = SeededBatchSampler(300, 24, shuffle=True, drop_last=True, lengths=lengths)
    sampler.set_epoch(3)
    sampler.start = 5
    assert [[index for index, _ in keys] for keys in sampler] == one[5:]


def test_the_global_generator_and_the_lengths_stay_as_they_are() -> None:
    lengths, before = lengths_of(100), torch.get_rng_state()
    kept = lengths.copy()
    ranks(100, 1, 8, 0, lengths=lengths)
    assert torch.equal(before, torch.get_rng_state()) and (lengths == kept).all()


def test_fewer_samples_than_processes_are_refused() -> None:
    with pytest.raises(InputError, match="3 samples cannot be shared by 4 processes; use fewer devices"):
        SeededBatchSampler(3, 1, rank=0, world_size=4)
