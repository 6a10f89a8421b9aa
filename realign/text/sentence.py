"""Heads of sentence-transformers models, from hidden states to a sentence vector."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from realign.batch import TextFeatures
from realign.errors import InputError
from realign.masking import masked_mean

_POOLINGS = {"mean": "mean", "mean_tokens": "mean", "cls": "cls", "cls_token": "cls", "lasttoken": "eos"}
DENSE_FILES = ("model.safetensors", "pytorch_model.bin")
_CHOOSE = "choose pooling mean, cls or eos instead of auto"


@dataclass
class SentenceHead:
    """The layers after the transformer: pooling, dense layers, normalisation.

    Attributes:
        pooling: ``mean``, ``cls`` or ``eos``.
        dense: Folders of dense layers, in order.
        normalize: Whether the sentence vector has unit norm.
    """

    pooling: str = "mean"
    dense: list[Path] = field(default_factory=list)
    normalize: bool = False

    @classmethod
    def read(cls, folder: Path, pooling: str) -> "SentenceHead":
        """The head that `folder` describes for ``pooling="auto"``, else that pooling alone.

        Raises:
            InputError: The folder asks for a step that is not known here.
        """
        listing = folder / "modules.json"
        if pooling != "auto" or not listing.is_file():
            return cls("mean" if pooling == "auto" else pooling)
        head = cls()
        for module in _read_json(listing)[1:]:  # the first is the transformer itself
            kind, place = module["type"].rpartition(".")[2], folder / module["path"]
            if kind == "Pooling":
                head.pooling = _pooling(place)
            elif kind == "Dense":
                head.dense.append(place)
            elif kind == "Normalize":
                head.normalize = True
            else:
                raise InputError(f"{listing} asks for the step {kind!r}, which is unknown; {_CHOOSE}.")
        return head

    @property
    def width(self) -> int | None:
        """Width that the last dense layer gives; None when there is none."""
        return int(_read_json(self.dense[-1] / "config.json")["out_features"]) if self.dense else None


class SentenceModel(nn.Module):
    """Tokenizer, transformer and head in one module, from captions to TextFeatures.

    Args:
        model: A transformer of transformers that returns ``last_hidden_state``.
        tokenizer: Its tokenizer.
        max_length: Tokens at which captions are cut.
        head: Layers of the sentence vector.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, max_length: int, head: SentenceHead):
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.head = head
        self.dense = nn.Sequential(*map(_load_dense, head.dense))
        tokenizer.padding_side = "right"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token

    def forward(self, texts: list[str]) -> TextFeatures:
        """Encode B captions on the device of the weights."""
        device = next(self.model.parameters()).device
        batch = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
        ).to(device)
        hidden = self.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
        mask = batch.attention_mask.bool()
        pooled = self.dense(self._pool(hidden, mask))
        return TextFeatures(self.dense(hidden), mask, normalize(pooled, dim=-1) if self.head.normalize else pooled)

    def _pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if self.head.pooling == "mean":
            return masked_mean(hidden, mask)
        last = mask.sum(1) - 1 if self.head.pooling == "eos" else 0
        return hidden[torch.arange(len(hidden), device=hidden.device), last]


def read_max_length(folder: Path, tokenizer: Any, config: Any) -> int:
    """The limit that sentence-transformers notes, else that of tokenizer and position table, 512 at most."""
    note = folder / "sentence_bert_config.json"
    noted = _read_json(note).get("max_seq_length") if note.is_file() else None
    if noted:
        return int(noted)
    return min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", None) or 512, 512)


def _pooling(folder: Path) -> str:
    config = _read_json(folder / "config.json")
    prefix = "pooling_mode_"
    modes = [key.removeprefix(prefix) for key, on in config.items() if key.startswith(prefix) and on is True]
    modes = modes or [str(config.get("pooling_mode"))]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise InputError(f"{folder} pools by {' and '.join(modes)}, which is unknown; {_CHOOSE}.")
    return _POOLINGS[modes[0]]


def _load_dense(folder: Path) -> nn.Module:
    config = _read_json(folder / "config.json")
    weights = next((folder / name for name in DENSE_FILES if (folder / name).is_file()), None)
    activation = getattr(nn, str(config.get("activation_function", "Tanh")).rpartition(".")[2], None)
    if weights is None or config.get("use_residual") or not isinstance(activation, type):
        raise InputError(f"The dense layer in {folder} is of a kind that cannot be read; {_CHOOSE}.")
    linear = nn.Linear(config["in_features"], config["out_features"], bias=config["bias"])
    linear.load_state_dict({key.removeprefix("linear."): value for key, value in _load_tensors(weights).items()})
    return nn.Sequential(linear, activation())


def _load_tensors(path: Path) -> dict[str, Tensor]:
    """Weights of a small layer; older repositories hold them in a file of ``torch.save``, whose tensors alone are
    read."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # another kind of file is read as if it were one, and can raise any exception
        raise InputError(f"{path} is damaged, or holds more than tensors; fetch the model's folder again.") from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); fetch the model's folder again.") from error
