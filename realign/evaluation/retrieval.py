"""Retrieval between the captions and motions of a set, by the protocols of TMR."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from realign.data.caption_tables import caption_tokens
from realign.data.dataset import MotionTextDataset
from realign.data.store import PackedMotions
from realign.errors import InputError
from realign.evaluation.models import PAD_TO, check_motions, load_evaluator
from realign.evaluation.published import compared, read_figures
from realign.files import read_lines
from realign.inference import pick_device
from realign.interfaces import MotionTextModel
from realign.metrics.retrieval import RECALL_AT, retrieval_protocols, similarity_matrix
from realign.text import HuggingFaceEncoder, TextEncoder

PROTOCOLS = ("all", "threshold", "dissimilar", "small_batches")
SIDES = {"t2m": "caption to motion", "m2t": "motion to caption"}
_MEASURES = (*(f"R@{k}" for k in RECALL_AT), "MedR")
MEASURES = tuple(f"{protocol}/{side}/{name}" for protocol in PROTOCOLS for side in SIDES for name in _MEASURES)
"""What may be published; R@k is a fraction."""


def evaluate_retrieval(
    model: str | Path,
    data: str | Path,
    split: str = "test",
    *,
    sentence_encoder: str | None = None,
    subset: str | Path | None = None,
    kind: str | None = None,
    limit: int | None = None,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    trust_code: bool = False,
    published: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Every protocol, from files: each motion of a split once, whatever its length, and its first caption.

    Args:
        model: A reward, retriever or evaluator.
        data: Folder written by `realign prepare`.
        split: train, val, test or all.
        sentence_encoder: Folder or hub name of what tells which captions are nearly the same; without it the protocols
            that need one are left out.
        subset: File with the ids of the dissimilar subset, one a line; chosen by the sentence encoder when None.
        kind: Motions of this kind alone, see `PackedMotions.of_kind`.
        limit: The first motions alone, for a quick look.
        batch_size: Motions embedded at once.
        device: A torch device, or auto.
        trust_code: Let the model's configuration name classes outside realign, whose code then runs.
        published: Figures to compare with.

    Returns:
        ``about``, ``measures`` (R@k as fractions) and ``published`` (with differences), for a JSON file.

    Raises:
        InputError: A file is missing or damaged, or the model is of other motions.
    """
    figures = read_figures(published or {}, MEASURES)
    packed = PackedMotions.open(data)
    place = pick_device(device) if isinstance(device, str) else device
    motions = MotionTextDataset(packed, split, min_frames=4, max_motion_frames=None, one_per_motion=True, pad_to=PAD_TO)
    listed = None if subset is None else _ids(subset)
    retriever = load_evaluator(model, trust_code=trust_code)
    check_motions("The retriever", retriever, packed)
    encoder = None if sentence_encoder is None else HuggingFaceEncoder(sentence_encoder)
    with torch.inference_mode(False):
        retriever.to(place)
    if type(retriever).take_tokens is not MotionTextModel.take_tokens:
        retriever.take_tokens(caption_tokens(packed))
    places = np.flatnonzero(packed.of_kind(motions.indices, kind))[:limit].tolist()
    if not places:
        raise InputError(f"{packed.folder} has no {kind} motion in split {split!r}; choose others.")
    text, motion, reference, ids = _embed(retriever, encoder, motions, places, batch_size, place)
    measures = retrieval_protocols(
        similarity_matrix(text, motion),
        ids,
        text_similarity=None if reference is None else similarity_matrix(reference, reference),
        subset=listed,
    )
    about = {
        "data": {
            "set": packed.identity,
            "skeleton": packed.skeleton,
            "split": split,
            "kind": kind,
            "motions": len(places),
        },
        "retriever": retriever.fingerprint,
        "sentence_encoder": None if encoder is None else encoder.fingerprint,
    }
    return {"format": 1, "about": about, "measures": measures, "published": compared(figures, measures)}


@torch.no_grad()
def _embed(
    model: MotionTextModel,
    encoder: TextEncoder | None,
    motions: MotionTextDataset,
    places: list[int],
    size: int,
    device: torch.device,
) -> tuple[Tensor, Tensor, Tensor | None, list[str]]:
    """Embeddings of captions and motions, of the captions by the sentence encoder, and ids."""
    text, motion, reference, ids = [], [], [], []
    for start in range(0, len(places), size):
        batch = motions.__getitems__(places[start : start + size])
        text.append(model.embed_captions(batch.captions).float())
        motion.append(model.embed_motions(batch.motion.to(device), batch.lengths.to(device)).float())
        if encoder is not None:
            reference.append(encoder(batch.captions).pooled)
        ids += batch.ids
    return torch.cat(text), torch.cat(motion), torch.cat(reference) if reference else None, ids


def markdown(found: Mapping[str, Any]) -> str:
    """A table of the protocols, R in percent, with published figures and differences below those measured."""
    about, lines = found["about"]["data"], []
    for protocol in PROTOCOLS:
        for side, told in SIDES.items():
            keys = [f"{protocol}/{side}/{name}" for name in _MEASURES]
            figures = [found["published"].get(key, {}) for key in keys]
            if keys[0] in found["measures"]:
                values = [found["measures"].get(key) for key in keys]
                lines.append([f"{protocol.replace('_', ' ')}, {told}", *map(_cell, keys, values)])
            if any(figures):
                lines.append(["published", *map(_cell, keys, [each.get("mean") for each in figures])])
                lines.append(["difference", *(_cell(*each, "+") for each in _differences(keys, figures))])
    rows = [["Protocol", *(f"{name} (%)" if "R@" in name else name for name in _MEASURES)], ["---"] * 7, *lines]
    kind = f"{about['kind']} " if about.get("kind") else ""
    return (
        f"Retrieval among {about['motions']} {kind}motions of the {about['split']} split.\n\n"
        + "\n".join("| " + " | ".join(row) + " |" for row in rows)
        + "\n"
    )


def _differences(keys: list[str], figures: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [(key, each.get("difference")) for key, each in zip(keys, figures, strict=True)]


def _cell(key: str, value: float | None, sign: str = "") -> str:
    return "–" if value is None else f"{value * (100 if '/R@' in key else 1):{sign}.2f}"


def _ids(path: str | Path) -> list[str]:
    try:
        return read_lines(path)
    except OSError as error:
        raise InputError(f"The list of the dissimilar subset {path} cannot be read: {error}.") from error
