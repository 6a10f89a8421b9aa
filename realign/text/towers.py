"""Text towers of open-clip-torch, with features of words and sentence vector."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from realign.batch import TextFeatures
from realign.errors import InputError
from realign.masking import lengths_to_mask

Tokenizer = Callable[[list[str]], Tensor]


def count_tokens(tokenizer: Any, text: str) -> int:
    """Number of tokens of a caption, marks of beginning and end included, without a limit."""
    if not hasattr(tokenizer, "tokenizer"):  # CLIP's own
        return len(tokenizer.encode(text)) + 2
    cleaned = getattr(tokenizer, "clean_fn", str)(text)
    if getattr(tokenizer, "tokenizer_mode", "") == "clips":  # which adds three marks of its own
        return len(tokenizer.tokenizer(cleaned, add_special_tokens=False, verbose=False).input_ids) + 3
    return len(tokenizer.tokenizer(cleaned, verbose=False).input_ids)


def wrap_tower(tower: Any, tokenizer: Any, max_tokens: int | None = None, hidden: bool = False) -> nn.Module:
    """A module that encodes captions as TextFeatures with a text tower of any kind.

    Args:
        tower: The tower.
        tokenizer: Its tokenizer.
        max_tokens: Tokens at which captions are cut.
        hidden: Give words as the final layer norm leaves them.

    Raises:
        InputError: The tower's pooling is unknown, or it has no such words.
    """
    if max_tokens is not None:
        inner = getattr(tokenizer, "tokenizer", None)
        tokenizer = partial(tokenizer, context_length=max_tokens)
        tokenizer.tokenizer = inner
    if hidden:
        return _HiddenTower(tower, tokenizer)
    if hasattr(tower, "pooler"):
        return _HuggingFaceTower(tower, tokenizer)
    return _Tower(tower, tokenizer) if tower.cls_emb is None else _ClassTokenTower(tower, tokenizer)


class _Tower(nn.Module):
    """A text transformer of open-clip-torch together with its tokenizer."""

    def __init__(self, tower: nn.Module, tokenizer: Tokenizer):
        super().__init__()
        self.tower: Any = tower
        self.tokenizer = tokenizer
        if getattr(tower, "pool_type", "argmax") not in ("argmax", "eos", "first", "last"):
            raise InputError(f"Text towers that pool by {tower.pool_type!r} are not supported; choose another model.")

    def forward(self, texts: list[str]) -> TextFeatures:
        tower = self.tower
        ids = self.tokenizer(texts).to(next(tower.parameters()).device)
        lengths = self.lengths(ids)
        attention = tower.attn_mask
        if attention is not None and tower.pool_type in ("argmax", "eos"):
            # No word sees a later one, so the padding behind the longest sentence can be left away.
            ids = ids[:, : int(lengths.max())]
            attention = attention[: ids.shape[1], : ids.shape[1]]
        x = tower.token_embedding(ids) + tower.positional_embedding[: ids.shape[1]]
        tokens = self.project(tower.ln_final(tower.transformer(x, attn_mask=attention)))
        at = {"first": torch.zeros_like(lengths), "last": torch.full_like(lengths, ids.shape[1] - 1)}
        pooled = tokens[torch.arange(len(ids), device=ids.device), at.get(tower.pool_type, lengths - 1)]
        return TextFeatures(tokens, lengths_to_mask(lengths, ids.shape[1]), pooled)

    def project(self, x: Tensor) -> Tensor:
        """The text projection, in any of the forms it takes."""
        projection = self.tower.text_projection
        if projection is None:
            return x
        return projection(x) if isinstance(projection, nn.Module) else x @ projection

    def lengths(self, ids: Tensor) -> Tensor:
        """Tokens of each caption, end-of-text included."""
        if self.tower.pool_type == "argmax":  # the end-of-text token has the highest number
            return ids.argmax(-1) + 1
        if self.tower.pool_type == "eos":
            return (ids == self.tower.eos_id).int().argmax(-1) + 1
        tokenizer = getattr(self.tokenizer, "tokenizer", None)
        pad = getattr(tokenizer, "pad_token_id", None)
        pad = self.tower.pad_id if pad is None else pad
        steps = torch.arange(1, ids.shape[1] + 1, device=ids.device)
        lengths = (steps * (ids != pad)).max(-1).values
        if pad == getattr(tokenizer, "eos_token_id", None):  # SigLIP ends a sentence with what it pads with
            lengths = lengths + 1
        return lengths.clamp(1, ids.shape[1])


class _HiddenTower(_Tower):
    """A tower whose words are read before the projection, at every place of the context."""

    def forward(self, texts: list[str]) -> TextFeatures:
        ids = self.tokenizer(texts).to(next(self.tower.parameters()).device)
        lengths, attention = self.lengths(ids), self.tower.attn_mask
        attention = None if attention is None else attention[: ids.shape[1], : ids.shape[1]]
        x = self.tower.token_embedding(ids) + self.tower.positional_embedding[: ids.shape[1]]
        tokens = self.tower.ln_final(self.tower.transformer(x, attn_mask=attention))
        end = tokens[torch.arange(len(ids), device=ids.device), lengths - 1]
        return TextFeatures(tokens, torch.ones_like(ids, dtype=torch.bool), end)


class _ClassTokenTower(_Tower):
    """A tower that appends a class token and pools there (CoCa)."""

    def forward(self, texts: list[str]) -> TextFeatures:
        ids = self.tokenizer(texts).to(next(self.tower.parameters()).device)
        hidden, pooled = _run(self.tower, ids)
        tokens = self.project(self.tower.ln_final(hidden[:, :-1]))
        return TextFeatures(tokens, lengths_to_mask(self.lengths(ids), ids.shape[1]), pooled)


class _HuggingFaceTower(nn.Module):
    """A transformers model as text tower."""

    def __init__(self, tower: nn.Module, tokenizer: Tokenizer):
        super().__init__()
        self.tower: Any = tower
        self.tokenizer = tokenizer

    def forward(self, texts: list[str]) -> TextFeatures:
        ids = self.tokenizer(texts).to(next(self.tower.parameters()).device)
        hidden, pooled = _run(self.tower, ids)
        tokens = self.tower.proj(hidden.last_hidden_state)
        return TextFeatures(tokens, ids != self.tower.config.pad_token_id, pooled)


def _run(tower: Any, ids: Tensor) -> tuple[Any, Tensor]:
    """What the tower's transformer gives, and the sentence vector that the tower makes of it."""
    seen: list[Any] = []
    handle = tower.transformer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    try:
        pooled = tower(ids)
    finally:
        handle.remove()
    return seen[0], pooled[0] if isinstance(pooled, tuple) else pooled
