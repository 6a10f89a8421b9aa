"""The published networks of MDM against torch's own transformer layers, built as its program builds them."""

import math

import pytest
import torch
from torch import Tensor, nn

from realign.batch import TextFeatures
from realign.masking import lengths_to_mask
from realign.nn import OfficialMdmDecoder, OfficialMdmEncoder

SIZE = {"width": 5, "text_dim": 6, "hidden": 16, "layers": 2, "heads": 2, "feedforward": 32}


class Plain(nn.Module):
    """MDM in torch's layers, sequence first."""

    def __init__(self, arch: str, time_token: bool = False) -> None:
        super().__init__()
        decoder = arch == "decoder"
        kind = nn.TransformerDecoderLayer if decoder else nn.TransformerEncoderLayer
        stack = nn.TransformerDecoder if decoder else nn.TransformerEncoder
        self.stack = stack(kind(16, 2, 32, 0.1, "gelu"), 2, **({} if decoder else {"enable_nested_tensor": False}))
        self.in_proj, self.out_proj, self.text_proj = nn.Linear(5, 16), nn.Linear(16, 5), nn.Linear(6, 16)
        self.time_embedding = nn.Sequential(nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 16))
        rate = torch.exp(torch.arange(0, 16, 2) * (-math.log(10000.0) / 16))
        self.table = torch.zeros(60, 1, 16)
        self.table[:, 0, 0::2] = (torch.arange(60)[:, None] * rate).sin()
        self.table[:, 0, 1::2] = (torch.arange(60)[:, None] * rate).cos()
        self.decoder, self.time_token = decoder, time_token

    def forward(self, x: Tensor, t: Tensor, padded: Tensor, words: Tensor, empty: Tensor | None) -> Tensor:
        time = self.time_embedding(self.table[t]).transpose(0, 1)
        frames, text = self.in_proj(x).transpose(0, 1), self.text_proj(words).transpose(0, 1)
        if not self.decoder or self.time_token:
            padded = torch.cat([torch.zeros_like(padded[:, :1]), padded], 1)
        if self.decoder:
            frames = torch.cat([time, frames]) if self.time_token else frames
            frames = frames + self.table[: len(frames)]
            out = self.stack(frames, text + time, tgt_key_padding_mask=padded, memory_key_padding_mask=empty)
            out = out[1:] if self.time_token else out
        else:
            frames = torch.cat([text + time, frames])
            out = self.stack(frames + self.table[: len(frames)], src_key_padding_mask=padded)[1:]
        return self.out_proj(out).transpose(0, 1)


def take(ours: nn.Module, plain: Plain) -> None:
    state = {}
    for name, value in plain.state_dict().items():
        for old, new in (
            ("stack.", "transformer."),
            ("self_attn.in_proj_", "attention.in_proj."), ("self_attn.out_proj", "attention.out_proj"),
            ("multihead_attn.in_proj_", "cross.in_proj."), ("multihead_attn.out_proj", "cross.out_proj"),
            ("linear1", "fc1"), ("linear2", "fc2"), ("norm1", "attention_norm"),
            ("norm2", "cross_norm" if plain.decoder else "feedforward_norm"), ("norm3", "feedforward_norm"),
        ):  # fmt: skip
            name = name.replace(old, new)
        state[name] = value
    ours.load_state_dict(state)


KINDS = {
    "encoder": (OfficialMdmEncoder, {}, {"arch": "encoder"}),
    "decoder of words": (OfficialMdmDecoder, {"conditioning": "tokens"}, {"arch": "decoder"}),
    "decoder of a vector": (OfficialMdmDecoder, {"conditioning": "pooled"}, {"arch": "decoder"}),
    "decoder with a token of time": (
        OfficialMdmDecoder, {"conditioning": "pooled", "time_token": True}, {"arch": "decoder", "time_token": True},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_outputs_and_gradients_equal_the_plain_layers(name: str) -> None:
    kind, options, arch = KINDS[name]
    torch.manual_seed(0)
    ours, plain = kind(**SIZE, **options).eval(), Plain(**arch).eval()
    for weight in plain.parameters():
        nn.init.normal_(weight, std=0.3)
    take(ours, plain)
    mask, words = lengths_to_mask(torch.tensor([7, 4])), lengths_to_mask(torch.tensor([2, 3]))
    text = TextFeatures(torch.randn(2, 3, 6) * words[..., None], words, torch.randn(2, 6))
    pooled = options.get("conditioning") != "tokens"
    x, t = torch.randn(2, 7, 5, requires_grad=True), torch.tensor([3, 49])
    found = ours(x, t, mask, text)
    wanted = plain(x, t, ~mask, text.pooled[:, None] if pooled else text.tokens, None if pooled else ~words)
    torch.testing.assert_close(found[mask], wanted[mask], atol=2e-5, rtol=2e-5)
    gradients = [torch.autograd.grad(out[mask].square().sum(), x)[0] for out in (found, wanted)]
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-4)
    assert not torch.allclose(found[mask], ours(x, t + 1, mask, text)[mask], atol=1e-3)
