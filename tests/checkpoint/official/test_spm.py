"""The reward of ReAlign and EasyTune: its weights imported, its outputs those of the original, what does not fit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from official_parts import Golden, golden, read_spec, write_statistics
from torch import Tensor
from torch.nn.functional import cosine_similarity

from realign.batch import TextFeatures
from realign.checkpoint.official.importing import build, read_official
from realign.checkpoint.official.spm import choose_mode
from realign.cli import main
from realign.diffusion import CLEAN_STEP
from realign.errors import InputError
from realign.masking import lengths_to_mask
from realign.nn import SPM, Embedder

Write = Callable[[str, str], list[Path]]


def spm(published: Write, folder: Path, variant: str, mode: str) -> Embedder:
    """The imported reward in a mode, whatever its file's name says."""
    (file,) = published("spm", variant)
    named = folder / f"{mode}.pth"
    named.symlink_to(file)
    width = next(row["shape"][1] for row in read_spec("spm")["variants"][variant]["files"][0]["tensors"]
                 if row["key"] == "skel_embedding.weight")  # fmt: skip
    return build(read_official("spm", named, stats=write_statistics(folder / "stats", width)))  # type: ignore[return-value]


def variants() -> dict[str, str]:
    """Prefix of the arrays of each variant; those of the first have none."""
    names = list(read_spec("spm")["variants"])
    return {name: f"{name}/" if place else "" for place, name in enumerate(names)}


def words(arrays: Golden, start: str) -> TextFeatures:
    tokens = arrays[f"{start}tokens"]
    return TextFeatures(tokens, lengths_to_mask(arrays[f"{start}token_lengths"], tokens.shape[1]), tokens[:, 0])


def deviation(logvar: Tensor | None) -> Tensor:
    assert logvar is not None
    return (0.5 * logvar).exp()
