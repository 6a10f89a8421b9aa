"""Transformers of the autoencoder, the denoisers and the reward model."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from realign.errors import InputError


class Attention(nn.Module):
    """Multi-head scaled dot-product attention, onto itself or a memory, with padding masks.

    Args:
        width: Width of the tokens.
        heads: Number of heads; divides the width.
        dropout: Probability of dropping an attention weight while training.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise InputError(f"The width {width} does not divide into {heads} heads; choose a multiple.")
        self.heads, self.dropout = heads, dropout
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj.weight)
        nn.init.zeros_(self.in_proj.bias)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, x: Float[Tensor, "B L W"], mask: Bool[Tensor, "B M"] | None, memory: Float[Tensor, "B M W"] | None = None
    ) -> Float[Tensor, "B L W"]:
        """Attend from x to the valid positions of `memory` (of x itself when None)."""
        width = x.shape[-1]
        if memory is None:
            parts = self.in_proj(x).chunk(3, -1)
        else:
            weight, bias = self.in_proj.weight, self.in_proj.bias
            keys = F.linear(memory, weight[width:], bias[width:])
            parts = (F.linear(x, weight[:width], bias[:width]), *keys.chunk(2, -1))
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        kept = None if mask is None else mask[:, None, None]
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=kept, dropout_p=self.dropout if self.training else 0.0
        )
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class TransformerLayer(nn.Module):
    """Self-attention, cross-attention if asked for, and a GELU feed-forward network, each with a residual.

    Args:
        width: Width of the tokens.
        heads: Attention heads.
        feedforward: Hidden width of the feed-forward network.
        dropout: Dropout probability.
        norm_first: Normalise before each part (True) or after each residual sum (False).
        cross: Attend to a memory as well.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        feedforward: int,
        dropout: float = 0.1,
        norm_first: bool = False,
        cross: bool = False,
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention = Attention(width, heads, dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.cross = Attention(width, heads, dropout) if cross else None
        self.cross_norm = nn.LayerNorm(width) if cross else None
        self.fc1, self.fc2 = nn.Linear(width, feedforward), nn.Linear(feedforward, width)
        self.feedforward_norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "B L W"],
        mask: Bool[Tensor, "B L"] | None = None,
        memory: Float[Tensor, "B M W"] | None = None,
        memory_mask: Bool[Tensor, "B M"] | None = None,
        leading: int | None = None,
    ) -> Float[Tensor, "B K W"]:
        """Transform tokens, or only the `leading` ones, which still attend to all; masks are True where one exists."""
        if self.norm_first:
            x = x[:, :leading] + self.drop(self._attend(self.attention_norm(x), mask, leading))
            if self.cross is not None and self.cross_norm is not None:
                x = x + self.drop(self.cross(self.cross_norm(x), memory_mask, memory))
            return x + self._feed(self.feedforward_norm(x))
        x = self.attention_norm(x[:, :leading] + self.drop(self._attend(x, mask, leading)))
        if self.cross is not None and self.cross_norm is not None:
            x = self.cross_norm(x + self.drop(self.cross(x, memory_mask, memory)))
        return self.feedforward_norm(x + self._feed(x))

    def _attend(self, x: Tensor, mask: Tensor | None, leading: int | None) -> Tensor:
        return self.attention(x, mask) if leading is None else self.attention(x[:, :leading], mask, x)

    def _feed(self, x: Float[Tensor, "B L W"]) -> Float[Tensor, "B L W"]:
        return self.drop(self.fc2(self.drop(F.gelu(self.fc1(x)))))


class Transformer(nn.Module):
    """A stack of layers.

    Arguments that are not listed are as in `TransformerLayer`.

    Args:
        layers: Number of layers.
        cross: Attend to a memory in every layer.
    """

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float = 0.1,
        norm_first: bool = False,
        cross: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TransformerLayer(width, heads, feedforward, dropout, norm_first, cross) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width) if norm_first else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "B L W"],
        mask: Bool[Tensor, "B L"] | None = None,
        memory: Float[Tensor, "B M W"] | None = None,
        memory_mask: Bool[Tensor, "B M"] | None = None,
        leading: int | None = None,
    ) -> Float[Tensor, "B K W"]:
        """Transform tokens; masks are True where a token exists.

        Args:
            x: Tokens.
            mask: Which of them exist.
            memory: Tokens for cross-attention.
            memory_mask: Which tokens of the memory exist.
            leading: Number of first tokens that are wanted; all when None. The last layer computes only these, which
                saves up to five sixths of its work.
        """
        mask, last = _needed(mask), len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            x = layer(x, mask, memory, memory_mask, leading if number == last else None)
        return self.norm(x)


class SkipTransformer(Transformer):
    """A stack whose second half also sees the outputs of the first, as a U (MLD, Chen et al. 2023, section 3.1).

    The output of layer i is concatenated to the input of layer n-1-i, and a linear map reduces both to the width.

    The number of layers is odd; arguments as in `Transformer`.
    """

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float = 0.1,
        norm_first: bool = False,
        cross: bool = False,
    ) -> None:
        if layers % 2 == 0:
            raise InputError(f"A skip transformer needs an odd number of layers, but got {layers}; use {layers + 1}.")
        super().__init__(width, layers, heads, feedforward, dropout, norm_first, cross)
        self.skip_proj = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(layers // 2))
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        x: Float[Tensor, "B L W"],
        mask: Bool[Tensor, "B L"] | None = None,
        memory: Float[Tensor, "B M W"] | None = None,
        memory_mask: Bool[Tensor, "B M"] | None = None,
        leading: int | None = None,
    ) -> Float[Tensor, "B K W"]:
        """Transform tokens; arguments as in `Transformer`."""
        mask = _needed(mask)
        half = len(self.skip_proj)
        kept: list[Tensor] = []
        for number, layer in enumerate(self.layers):
            if number > half:
                x = self.skip_proj[number - half - 1](torch.cat([x, kept.pop()], -1))
            last = number == len(self.layers) - 1
            x = layer(x, mask, memory, memory_mask, leading if last else None)
            if number < half:
                kept.append(x)
        return self.norm(x)


def _needed(mask: Bool[Tensor, "B L"] | None) -> Bool[Tensor, "B L"] | None:
    """None if a mask hides nothing, since attention is faster without; only a CPU checks that without waiting."""
    if mask is None or mask.device.type != "cpu" or torch.compiler.is_compiling():  # which would break its graph here
        return mask
    return None if bool(mask.all()) else mask
