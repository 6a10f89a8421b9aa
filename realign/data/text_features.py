"""Text features of a prepared set's captions: their folders, and writing them once."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from realign.data.prepare.text_features import BeyondHalf, Progress, write_features
from realign.data.store import PackedMotions
from realign.errors import InputError, InputWarning
from realign.files import atomic_path, cache_folder
from realign.system import locked
from realign.text.base import TextEncoder, file_stem
from realign.text.table import FeatureTable, NoTable, TextReader


def open_features(packed: PackedMotions, reader: TextReader) -> FeatureTable | None:
    """Features of a set's captions that were written before; None if there are none or they are of other captions.

    Args:
        packed: The set.
        reader: The encoder, and whether its words are read.
    """
    wanted = _wanted(packed, reader.encoder)
    for place in _places(packed, wanted["captions"]):
        for words in (True,) if reader.words else (False, True):
            try:
                return FeatureTable(_target(place, reader.encoder, words), wanted, reader.words)
            except NoTable:
                continue
    return None


def keep_features(
    packed: PackedMotions,
    reader: TextReader,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> FeatureTable | None:
    """Features of a set's captions; if they do not exist yet, one process writes them while others wait.

    They are kept in the folder `text` of the set, or in the cache if the set cannot be written.

    Args:
        packed: The set.
        reader: The encoder, and whether its words are read.
        device: Device to encode on; the encoder's own when None.
        progress: Called with the number of captions done and their total.

    Returns:
        The features; None, with a warning, if they cannot be kept.

    Raises:
        InputError: The encoder cannot be used.
    """
    found = open_features(packed, reader)
    if found is not None:
        return found
    encoder = reader.encoder.kept
    if encoder is None:
        raise InputError(
            f"Features of {reader.encoder.fingerprint} are not kept in a file; wrap the encoder in CachedTextEncoder."
        )
    wanted = _wanted(packed, encoder)
    fault: Exception | None = None
    with _on(encoder, device):
        encoder([""])  # missing weights raise here, not as a folder that cannot be written
        for place in _places(packed, wanted["captions"]):
            target = _target(place, encoder, reader.words)
            try:
                with locked(target):
                    if (found := open_features(packed, reader)) is None:  # another process may have written them
                        with atomic_path(target) as made:
                            write_features(packed, encoder, made, reader.words, wanted, progress)
                return found or FeatureTable(target, wanted, reader.words)
            except (OSError, NoTable) as error:
                fault = error
            except BeyondHalf as error:
                warnings.warn(str(error), InputWarning, stacklevel=2)
                return None
    warnings.warn(
        f"The text features of {packed.folder} are not kept in a file ({fault}), so every step encodes or looks up its "
        "captions; set REALIGN_CACHE to a folder that can be written.",
        InputWarning,
        stacklevel=2,
    )
    return None


def _wanted(packed: PackedMotions, encoder: TextEncoder) -> dict[str, str]:
    return {"encoder": encoder.fingerprint, "captions": packed.caption_digest()}


def _places(packed: PackedMotions, digest: str) -> list[Path]:
    """Folders that may hold a set's features, preferred first."""
    return [packed.folder / "text", cache_folder("text") / f"captions-{digest[:24]}"]


def _target(place: Path, encoder: TextEncoder, words: bool) -> Path:
    return place / f"{file_stem(encoder.fingerprint)}-{'words' if words else 'sentences'}"


@contextmanager
def _on(encoder: TextEncoder, device: torch.device | None) -> Iterator[None]:
    """Keep the encoder on a device meanwhile."""
    before = encoder.device
    try:
        encoder.to(device or before)
        yield
    finally:
        encoder.to(before)
