"""Imported rewards and retrievers, and helpers for tests of their outputs."""

from pathlib import Path
from typing import Any

import torch
from official_parts import Golden, golden, read_spec, write_statistics
from torch import Tensor

from realign.batch import TextFeatures
from realign.checkpoint.official import spm, tmr
from realign.checkpoint.official.importing import build, read_official
from realign.masking import lengths_to_mask
from realign.nn import SPM, TMR, Embedder

WIDTHS = {"spm": "skel_embedding.weight", "tmr": "projection.weight"}
"""By whose columns the features of a frame are counted."""


def variant_of(peer: str, start: str = "") -> str:
    """The first variant of a peer whose motions are as wide as the arrays of a prefix."""
    names, width = read_spec(peer)["variants"], golden(peer)[f"{start}motion"].shape[-1]
    return next(name for name in names if features(peer, name, WIDTHS[peer]) == width)


def features(peer: str, variant: str, end: str) -> int:
    """Features of a frame, by the weight whose name ends so."""
    rows = [row for file in read_spec(peer)["variants"][variant]["files"] for row in file["tensors"]]
    return int(next(row["shape"][1] for row in rows if row["key"].endswith(end)))


def imported(peer: str, variant: str, file: Path, folder: Path, **options: Any) -> Embedder:
    """An imported reward or retriever with some statistics, without its text encoder."""
    width = features(peer, variant, WIDTHS[peer])
    found = read_official(peer, file, stats=write_statistics(folder / f"stats_{width}", width), **options)
    return build(found).requires_grad_(False)  # type: ignore[return-value]


def text_of(arrays: Golden, start: str = "") -> TextFeatures:
    """Features of the captions."""
    tokens = arrays[f"{start}tokens"]
    return TextFeatures(tokens, lengths_to_mask(arrays[f"{start}token_lengths"], tokens.shape[1]), tokens[:, 0])


def motion_of(arrays: Golden, start: str = "") -> tuple[Tensor, Tensor]:
    """Motions with noise in their padding, and which frames exist."""
    motion = arrays[f"{start}motion"]
    return motion, lengths_to_mask(arrays[f"{start}lengths"], motion.shape[1])


def same(t: int, like: Tensor) -> Tensor:
    """One timestep for the whole batch."""
    return torch.full((len(like),), t)


def tiny_published(peer: str, folder: Path, width: int = 263, **options: Any) -> Path:
    """A file of a small network of random weights in the layout of a peer: of an SPM in mode M1T0, or of a TMR."""
    torch.manual_seed(7)
    sizes = {"width": width, "hidden": 16, "heads": 4, "feedforward": 32, **options}
    network = SPM(layers=3, time_width=8, max_tokens=210, **sizes) if peer == "spm" else TMR(layers=2, **sizes)
    keys, folder = spm.key_map(3) if peer == "spm" else tmr.KEYS, folder / peer
    state = {keys.published(f"model.{name}"): each.clone() for name, each in network.state_dict().items()}
    folder.mkdir(parents=True)
    if peer == "tmr":
        torch.save({"state_dict": state, "epoch": 1}, folder / "last.ckpt")
        return folder / "last.ckpt"
    state = {name: each[:, None] if name.endswith(".pe") else each for name, each in state.items()}
    state |= {f"text_encoder.norm.{end}": state[f"motion_encoder.norm.{end}"] for end in ("weight", "bias")}
    torch.save({"state_dict": state}, folder / "SPM_H3D_Thr50_Temp1000_SAM1T0_E9.pth")
    return folder / "SPM_H3D_Thr50_Temp1000_SAM1T0_E9.pth"
