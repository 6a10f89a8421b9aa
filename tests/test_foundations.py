"""Masks, seeds, batches and files."""

from pathlib import Path

import pytest
import torch

from realign.batch import MotionTextBatch, TextFeatures
from realign.errors import InputError
from realign.files import atomic_path, sha256_file
from realign.masking import apply_mask, lengths_to_mask, masked_loss, masked_mean


def test_masked_reductions_equal_plain_loops() -> None:
    x = torch.randn(3, 5, 2)
    lengths = [5, 2, 3]
    mask = lengths_to_mask(torch.tensor(lengths))
    x[~mask] = float("nan")  # values after the end of a clip must not matter
    plain = torch.stack([row[:length].mean(0) for row, length in zip(x, lengths, strict=True)])
    torch.testing.assert_close(masked_mean(x, mask), plain)
    torch.testing.assert_close(masked_loss(x, mask), plain.mean())
    assert apply_mask(x, mask)[1, 2:].eq(0).all()


def test_equal_parts_of_a_batch_average_to_the_whole() -> None:
    error, mask = torch.rand(4, 6, 3), lengths_to_mask(torch.tensor([6, 1, 3, 5]))
    parts = [masked_loss(error[rows], mask[rows]) for rows in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close(torch.stack(parts).mean(), masked_loss(error, mask))


def test_text_features_of_different_lengths_join() -> None:
    short = TextFeatures(torch.ones(1, 2, 4), torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 4))
    long = TextFeatures(torch.ones(2, 5, 4), torch.ones(2, 5, dtype=torch.bool), torch.ones(2, 4))
    both = TextFeatures.cat([short, long])
    assert both.tokens.shape == (3, 5, 4) and both.mask.sum(1).tolist() == [2, 5, 5]
    assert both.tokens[0, 2:].eq(0).all() and len(both[[0, 0]]) == 2
    assert both.to(torch.float16).mask.dtype == torch.bool


def test_a_batch_with_missing_entries_is_refused() -> None:
    with pytest.raises(InputError, match="captions.: 1"):
        MotionTextBatch(torch.zeros(2, 4, 3), torch.tensor([4, 4]), ["walk"], ["a", "b"], torch.arange(2))


def test_files_are_written_completely_or_not_at_all(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "deep" / "x.txt") as path:
        path.write_text("whole")
    assert (tmp_path / "deep" / "x.txt").read_text() == "whole"
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "deep" / "x.txt") as path:
        path.write_text("half")
        raise RuntimeError
    with atomic_path(tmp_path / "folder") as path:
        path.mkdir()
        (path / "one").write_text("1")
    with atomic_path(tmp_path / "folder") as path:
        path.mkdir()
        (path / "two").write_text("2")
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["two"]
    with pytest.raises(IsADirectoryError, match="choose another"), atomic_path(tmp_path / "folder") as path:
        path.write_text("a file")
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "folder"):
        pass  # nothing was made: the old file stays
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["two"]
    assert (tmp_path / "deep" / "x.txt").read_text() == "whole"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["deep", "folder"]
    assert sha256_file(tmp_path / "folder" / "two") == (
        "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35"
    )
