from collections import Counter

import numpy as np
import pytest
import torch

from realign.data.dataset import MotionTextDataset, collate
from realign.data.loading import SeededBatchSampler
from realign.data.prepare.captions import swap_sides
from realign.data.store import PackedMotions
from realign.errors import InputError
from realign.motion.layout import mirror_features


@pytest.fixture
def packed(prepared):
    return PackedMotions.open(prepared)


def test_evaluation_takes_the_first_caption_and_whole_units_from_the_start(packed):
    data = MotionTextDataset(packed, "all")
    batch = data.__getitems__([3, 5, 27])
    for row, index in enumerate((3, 5, 27)):
        motion = packed.motion(int(data.indices[index]))
        length = min(len(motion) // 4 * 4, 196)
        assert batch.lengths[row] == length
        assert (batch.motion[row, :length].numpy() == motion[:length]).all()
        assert (batch.motion[row, length:] == 0).all()
        assert batch.captions[row] == packed.caption(int(data.indices[index]))
    assert batch.motion.shape[1] == batch.lengths.max()


def test_length_filter_and_padding(packed):
    data = MotionTextDataset(packed, "all", pad_to=196)
    frames = packed.clips["frames"][data.indices]
    assert frames.min() >= 40 and frames.max() <= 199 and len(data) == 28
    assert data.__getitems__([0, 1]).motion.shape == (2, 196, 263)
    assert len(MotionTextDataset(packed, "all", min_frames=100)) < 28
    assert len(MotionTextDataset(packed, "val")) == 3


def test_training_draws_follow_the_conventions(packed):
    data = MotionTextDataset(packed, "all", augment=True, mirror=True)
    index = 20
    row = int(data.indices[index])
    motion, whole = packed.motion(row), int(packed.clips["frames"][row])
    batch = data.__getitems__([(index, seed * 7919) for seed in range(600)])
    lengths = Counter(batch.lengths.tolist())
    longest = whole // 4 * 4
    assert set(lengths) == {longest, longest - 4}
    assert lengths[longest - 4] / 600 == pytest.approx(1 / 3, abs=0.06)
    starts, sides = Counter(), Counter()
    for x, length, caption in zip(batch.motion, batch.lengths.tolist(), batch.captions, strict=True):
        flipped = swap_sides(caption) in packed.captions(row)
        x = mirror_features(x) if flipped else x
        where = [s for s in range(whole - length + 1) if np.array_equal(motion[s : s + length], x[:length].numpy())]
        assert len(where) == 1
        starts[where[0]] += 1
        sides[flipped] += 1
    assert sides[True] / 600 == pytest.approx(0.5, abs=0.07)
    assert set(starts) == set(range(whole - longest + 4 + 1))
    assert len({swap_sides(c) if "right" in c else c for c in batch.captions}) == 2


def test_a_sample_does_not_depend_on_its_batch(packed):
    data = MotionTextDataset(packed, "train", augment=True, mirror=True)
    keys = [(i, 1000 + i) for i in range(12)]
    together, alone = data.__getitems__(keys), collate([data[key] for key in keys])
    assert torch.equal(together.motion, alone.motion) and torch.equal(together.lengths, alone.lengths)
    assert together.captions == alone.captions and together.ids == alone.ids
    assert together.seeds.tolist() == [seed for _, seed in keys]
    again = data.__getitems__(keys[::-1])
    assert again.captions == together.captions[::-1]


def test_limits_that_make_no_sense(packed):
    with pytest.raises(InputError, match="multiple of unit_length"):
        MotionTextDataset(packed, max_frames=198)
    with pytest.raises(InputError, match="pad_to=100"):
        MotionTextDataset(packed, pad_to=100)
    with pytest.raises(InputError, match="no clip of 190 to 199 frames"):
        MotionTextDataset(packed, "train", min_frames=190)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("size", [9, 12, 13, 17, 25])
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_ranks_cover_everything_once_with_equal_counts(size, batch, world):
    samplers = [SeededBatchSampler(size, batch, rank=r, world_size=world) for r in range(world)]
    shares = [list(s) for s in samplers]
    assert len({len(share) for share in shares}) == 1 and len(shares[0]) == len(samplers[0])
    assert all(b for share in shares for b in share)
    seen = [i for share in shares for b in share for i, _ in b]
    assert sorted(seen) == list(range(size))
    assert max(len(b) for share in shares for b in share) <= batch + 1


def test_processes_split_the_batch_of_one_process():
    one = list(SeededBatchSampler(30, 4, shuffle=True, seed=5, drop_last=True))
    two = [list(SeededBatchSampler(30, 2, shuffle=True, seed=5, rank=r, world_size=2, drop_last=True)) for r in (0, 1)]
    assert len(one) == len(two[0]) == 7
    for k, batch in enumerate(one):
        for rank in (0, 1):
            assert two[rank][k] == batch[rank::2]


def test_epochs_differ_and_seeds_belong_to_samples():
    sampler = SeededBatchSampler(16, 4, shuffle=True, seed=1)
    first = dict(key for batch in sampler for key in batch)
    sampler.set_epoch(1)
    second = dict(key for batch in sampler for key in batch)
    assert list(first) != list(second) and first.keys() == second.keys()
    assert all(first[i] != second[i] for i in first)
    sampler.set_epoch(0)
    sampler.start = 2
    assert [key for batch in sampler for key in batch] == list(first.items())[8:]


def test_grouped_lengths_cover_an_epoch_with_little_padding_on_any_number_of_processes() -> None:
    lengths = np.random.default_rng(0).integers(40, 197, size=480)
    one = SeededBatchSampler(480, 8, shuffle=True, lengths=lengths, seed=3)
    batches = [[index for index, _ in batch] for batch in one]
    assert sorted(index for batch in batches for index in batch) == list(range(480))
    spread = np.mean([np.ptp(lengths[batch]) for batch in batches])
    plain = np.mean([np.ptp(lengths[[i for i, _ in b]]) for b in SeededBatchSampler(480, 8, shuffle=True, seed=3)])
    assert spread < plain / 3
    two = [SeededBatchSampler(480, 4, shuffle=True, lengths=lengths, seed=3, rank=r, world_size=2) for r in (0, 1)]
    for whole, *shares in zip(one, *two, strict=True):
        assert whole[0::2] == shares[0] and whole[1::2] == shares[1]
    firsts = [np.mean(lengths[batch]) for batch in batches]
    assert np.abs(np.diff(firsts)).max() > 50  # batches do not come sorted


def test_a_set_smaller_than_a_batch_still_trains():
    assert [len(b) for b in SeededBatchSampler(5, 64, drop_last=True)] == [5]
    with pytest.raises(InputError, match="cannot be shared"):
        SeededBatchSampler(1, 1, world_size=2)
    with pytest.raises(InputError, match="batch_size=0"):
        SeededBatchSampler(5, 0)
