import pytest
import torch

from realign.errors import InputError
from realign.text import HashingEncoder


def test_vectors_never_change():
    expected = torch.tensor([1.0099399, -1.4537115, 1.5285799, -0.1454092, -0.3571639])
    torch.testing.assert_close(HashingEncoder(dim=5)(["WALK"]).tokens[0, 0], expected)


def test_words_are_distinct_and_standardised():
    encoder = HashingEncoder(dim=1000)
    features = encoder(["walk run, jump"])
    assert features.mask.sum() == 4
    similarity = features.tokens[0] @ features.tokens[0].T / 1000
    torch.testing.assert_close(similarity, torch.eye(4), rtol=0, atol=0.15)
    torch.testing.assert_close(features.pooled.norm(dim=-1), torch.ones(1))


def test_width_must_be_positive():
    with pytest.raises(InputError, match="at least 1"):
        HashingEncoder(dim=0)
