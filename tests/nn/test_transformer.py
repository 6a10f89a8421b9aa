import pytest
import torch
from torch import nn

from realign.diffusion import CLEAN_STEP
from realign.errors import InputError
from realign.masking import lengths_to_mask
from realign.nn.layers import PositionalEncoding, TimestepEmbedding, sinusoid
from realign.nn.transformer import SkipTransformer, Transformer, TransformerLayer

MASK = lengths_to_mask(torch.tensor([6, 4]))


def plain_copy(ours: TransformerLayer, norm_first: bool, cross: bool) -> nn.Module:
    """A PyTorch layer with the weights of ours."""
    kind = nn.TransformerDecoderLayer if cross else nn.TransformerEncoderLayer
    plain = kind(16, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=norm_first)
    pairs = {"self_attn": ours.attention, "multihead_attn": ours.cross}
    state = {"linear1": ours.fc1, "linear2": ours.fc2, "norm1": ours.attention_norm}
    state |= {"norm2": ours.cross_norm, "norm3": ours.feedforward_norm} if cross else {"norm2": ours.feedforward_norm}
    for name, module in state.items():
        getattr(plain, name).load_state_dict(module.state_dict())
    for name, module in pairs.items():
        if module is not None:
            attention = getattr(plain, name)
            attention.in_proj_weight.data.copy_(module.in_proj.weight)
            attention.in_proj_bias.data.copy_(module.in_proj.bias)
            attention.out_proj.load_state_dict(module.out_proj.state_dict())
    return plain


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("cross", [False, True])
def test_layer_equals_pytorch(norm_first: bool, cross: bool) -> None:
    torch.manual_seed(0)
    ours = TransformerLayer(16, 2, 32, dropout=0.0, norm_first=norm_first, cross=cross)
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, memory = torch.randn(2, 6, 16), torch.randn(2, 3, 16)
    plain = plain_copy(ours, norm_first, cross)
    if cross:
        expected = plain(x, memory, tgt_key_padding_mask=~MASK)
    else:
        expected = plain(x, src_key_padding_mask=~MASK)
    torch.testing.assert_close(ours(x, MASK, memory if cross else None)[MASK], expected[MASK], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [Transformer, SkipTransformer])
@pytest.mark.parametrize("norm_first", [False, True])
def test_padding_does_not_leak(kind: type[Transformer], norm_first: bool) -> None:
    torch.manual_seed(0)
    stack = kind(16, 3, 2, 32, norm_first=norm_first).eval()
    x = torch.randn(2, 6, 16)
    torch.testing.assert_close(stack(x, MASK)[1:, :4], stack(x[1:, :4]), atol=1e-5, rtol=1e-5)


def test_a_full_mask_changes_nothing() -> None:
    stack = Transformer(16, 2, 2, 32).eval()
    x = torch.randn(2, 6, 16)
    assert torch.equal(stack(x, torch.ones(2, 6, dtype=torch.bool)), stack(x))


def test_skip_joins_the_first_half_to_the_second() -> None:
    stack = SkipTransformer(8, 5, 2, 16, dropout=0.0)
    x = torch.randn(1, 3, 8)
    first = stack.layers[0](x)
    second = stack.layers[1](first)
    middle = stack.layers[2](second)
    fourth = stack.layers[3](stack.skip_proj[0](torch.cat([middle, second], -1)))
    fifth = stack.layers[4](stack.skip_proj[1](torch.cat([fourth, first], -1)))
    torch.testing.assert_close(stack(x), stack.norm(fifth))


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("layers", [1, 5])
def test_leading_tokens_equal_the_full_output(layers: int, norm_first: bool) -> None:
    torch.manual_seed(0)
    stack = SkipTransformer(16, layers, 2, 32, norm_first=norm_first).eval()
    x = torch.randn(2, 6, 16)
    for mask in (MASK, None):
        torch.testing.assert_close(stack(x, mask, leading=2), stack(x, mask)[:, :2], atol=1e-6, rtol=1e-5)


def test_even_number_of_skip_layers_is_refused() -> None:
    with pytest.raises(InputError, match="odd number of layers, but got 4; use 5"):
        SkipTransformer(8, 4, 2, 16)


def test_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(InputError, match="width 10 does not divide into 4 heads"):
        Transformer(10, 1, 4, 16)


def test_clean_input_is_the_step_before_the_first() -> None:
    embedding = TimestepEmbedding(8)
    assert torch.equal(embedding(torch.tensor([CLEAN_STEP])), embedding.mlp(sinusoid(torch.tensor([0]), 8)))
    assert torch.equal(embedding(torch.tensor([0])), embedding.mlp(sinusoid(torch.tensor([1]), 8)))


def test_positions_beyond_the_table() -> None:
    short, long = PositionalEncoding(8, max_length=4), PositionalEncoding(8, max_length=16)
    torch.testing.assert_close(short.rows(10), long.rows(10))
    with pytest.raises(InputError, match="10 tokens exceed the 4 learned positions"):
        PositionalEncoding(8, learned=True, max_length=4).rows(10)
