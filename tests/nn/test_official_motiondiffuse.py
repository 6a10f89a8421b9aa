"""The published network of MotionDiffuse against its formulas in plain loops, head by head and sample by sample."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from realign.batch import TextFeatures
from realign.errors import InputError
from realign.masking import lengths_to_mask
from realign.nn import OfficialMotionDiffuse
from realign.nn.official_motiondiffuse import LinearAttention, Style

SIZE = {
    "width": 5, "text_dim": 6, "hidden": 16, "layers": 2, "heads": 2, "feedforward": 24,
    "text_hidden": 8, "text_layers": 1, "text_heads": 2, "text_feedforward": 12, "embedding": 20, "max_frames": 9,
}  # fmt: skip


@pytest.fixture(scope="module")
def denoiser() -> OfficialMotionDiffuse:
    torch.manual_seed(0)
    made = OfficialMotionDiffuse(**SIZE).eval().requires_grad_(False)
    for weight in made.parameters():
        nn.init.normal_(weight, std=0.4)
    return made


def plain_style(style: Style, h: Tensor, condition: Tensor) -> Tensor:
    scale, shift = style.condition(F.silu(condition)).chunk(2)
    return style.out_proj(F.silu(style.norm(h) * (1 + scale) + shift))


def plain_attention(part: LinearAttention, x: Tensor, memory: Tensor | None, condition: Tensor) -> Tensor:
    """One sample without padding."""
    normed = part.norm(x)
    source = normed if memory is None else part.memory_norm(memory)
    query, key, value = part.query(normed), part.key(source), part.value(source)
    size, heads = query.shape[1] // part.heads, []
    for head in range(part.heads):
        rows = slice(head * size, (head + 1) * size)
        weights = key[:, rows].exp() / key[:, rows].exp().sum(0)  # over the tokens
        chosen = query[:, rows].exp() / query[:, rows].exp().sum(1, keepdim=True)  # over the channels
        heads.append(chosen @ (weights.T @ value[:, rows]))
    return plain_style(part.style, torch.cat(heads, 1), condition)


def plain(net: OfficialMotionDiffuse, x: Tensor, t: int, words: Tensor, end: int) -> Tensor:
    """One sample without padding."""
    read = net.text_norm(net.text_transformer(net.text_in_proj(words)[None])[0])
    rates = [math.exp(-math.log(10000) * i / 8) for i in range(8)]
    angles = torch.tensor([t * rate for rate in rates])
    condition = net.time_embedding(torch.cat([angles.cos(), angles.sin()])) + net.text_out_proj(read[end])
    h = net.in_proj(x) + net.positions[: len(x)]
    for block in net.blocks:
        h = h + plain_attention(block.attention, h, None, condition)
        h = h + plain_attention(block.cross, h, read, condition)
        h = h + plain_style(block.style, block.fc2(F.gelu(block.fc1(h))), condition)
    return net.out_proj(h)


def test_each_sample_equals_the_formulas(denoiser: OfficialMotionDiffuse) -> None:
    torch.manual_seed(1)
    lengths, t, ends = torch.tensor([7, 4]), torch.tensor([3, 90]), [2, 4]
    mask, x, tokens = lengths_to_mask(lengths), torch.randn(2, 7, 5), torch.randn(2, 5, 6)
    text = TextFeatures(tokens, torch.ones(2, 5).bool(), tokens[[0, 1], ends])
    for out in (denoiser(x, t, mask, text), denoiser.bind(text, mask)(x, t)):
        for row, length in enumerate(lengths.tolist()):
            alone = plain(denoiser, x[row, :length], int(t[row]), tokens[row], ends[row])
            torch.testing.assert_close(out[row, :length], alone, atol=1e-4, rtol=1e-4)


def test_padded_words_are_ignored(denoiser: OfficialMotionDiffuse) -> None:
    torch.manual_seed(1)
    x, t, mask, tokens = torch.randn(1, 7, 5), torch.tensor([9]), torch.ones(1, 7).bool(), torch.randn(1, 5, 6)
    few = TextFeatures(tokens[:, :3], torch.ones(1, 3).bool(), tokens[:, 1])
    more = TextFeatures(tokens, lengths_to_mask(torch.tensor([3]), 5), tokens[:, 1])
    torch.testing.assert_close(denoiser(x, t, mask, few), denoiser(x, t, mask, more), atol=1e-5, rtol=1e-5)


def test_gradients_are_finite_with_padding_and_long_motions_are_refused(denoiser: OfficialMotionDiffuse) -> None:
    x = torch.randn(2, 7, 5, requires_grad=True)
    mask, tokens = lengths_to_mask(torch.tensor([7, 2])), torch.randn(2, 3, 6)
    text = TextFeatures(tokens, torch.ones(2, 3).bool(), tokens[:, 1])
    denoiser(x, torch.tensor([3, 90]), mask, text)[mask].square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad[mask].any() and not x.grad[1, 2:].any()
    with pytest.raises(InputError, match="10 frames exceed the 9"):
        denoiser(torch.randn(1, 10, 5), torch.tensor([3]), torch.ones(1, 10).bool(), text[:1])
