import torch

from realign.text import CachedTextEncoder, HashingEncoder, ZeroWithoutText

TEXTS = ["a person walks", "", "a jump", ""]


def test_the_empty_caption_is_zeros_and_others_are_untouched(tmp_path) -> None:
    inner, encoder = HashingEncoder(8), ZeroWithoutText(HashingEncoder(8))
    features, others = encoder(TEXTS), inner(["a person walks", "a jump"])
    assert torch.equal(features.pooled[[0, 2]], others.pooled) and torch.equal(features.tokens[[0, 2]], others.tokens)
    assert torch.equal(features.mask[[0, 2]], others.mask)
    assert not features.pooled[[1, 3]].any() and not features.tokens[[1, 3]].any()
    assert features.mask[[1, 3]].sum(1).tolist() == [1, 1]  # attention needs one
    alone = encoder([""])
    assert alone.tokens.shape == (1, 1, 8) and not alone.pooled.any() and alone.mask.all()
    assert encoder.fingerprint != inner.fingerprint and encoder.dim == 8 and encoder.token_limit() is None
    cached = CachedTextEncoder(encoder, tmp_path)
    for _ in range(2):
        assert torch.equal(cached(TEXTS).pooled, features.pooled)
