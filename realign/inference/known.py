"""How familiar a caption is, and how probably a hit of a search is right, by what `realign calibrate` measured."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from realign.errors import InputError, MissingPackage
from realign.files import atomic_path, resolve_model
from realign.hub import HubName
from realign.index.motion_index import MotionIndex
from realign.index.storage import KNOWN, KNOWN_FILE
from realign.inference.common import check_captions
from realign.metrics.calibration import Logistic
from realign.motion.familiarity import Familiarity
from realign.text.base import TextEncoder
from realign.text.minilm import MiniLMEncoder
from realign.text.unlike import new_words

_NEIGHBOURS, _NAMED = 10, 3  # captions whose cosines are averaged, and those that are named
_BATCH, _VERSION = 64, 1


@dataclass(frozen=True)
class Calibration:
    """The content of an index's calibration file.

    Attributes:
        model: Fingerprint of the model that made the index.
        captions: Digest of the index of the captions trained on.
        words: Stems of all words of those captions.
        known: Probability that a caption is known, by its likeness.
        right: Probability that a hit is right, by its score and the likeness of the caption.
        about: How it was measured, and how well it does.
    """

    model: str
    captions: str
    words: frozenset[str]
    known: Logistic
    right: Logistic
    about: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "Calibration":
        """Read the file.

        Raises:
            InputError: It is missing, damaged or of another version.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["version"] != _VERSION:
                raise ValueError(f"version {content['version']!r}")
            words = frozenset(map(str, content["words"]))
            known, right = Logistic.of(content["known"], 1), Logistic.of(content["right"], 2)
            return cls(str(content["model"]), str(content["captions"]), words, known, right, dict(content["about"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is damaged ({error}); make it again with `realign calibrate`.") from error

    def write(self, path: Path) -> None:
        """Write the file."""
        content = {
            "version": _VERSION, "model": self.model, "captions": self.captions, "known": self.known.plain(),
            "right": self.right.plain(), "about": self.about, "words": sorted(self.words),
        }  # fmt: skip
        path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


class KnownCaptions:
    """The captions that a model was trained on, by their sentence embeddings, and the calibration made with them.

    Args:
        captions: Their index.
        calibration: The probabilities.
        encoder: The sentence encoder.

    Raises:
        InputError: The three do not belong together.
    """

    def __init__(self, captions: MotionIndex, calibration: Calibration, encoder: TextEncoder) -> None:
        if captions.digest != calibration.captions or captions.fingerprint != encoder.fingerprint:
            raise InputError(
                f"The calibration was made with other captions than those of the index ({captions.fingerprint}); "
                "make it again with `realign calibrate`."
            )
        self.captions, self.calibration, self.encoder = captions, calibration, encoder

    @classmethod
    def open(cls, index: Path, encoders: Iterable[TextEncoder] = ()) -> "KnownCaptions | None":
        """Open what `realign calibrate` wrote into the folder of an index; None if it wrote nothing there.

        Args:
            index: Folder of the index.
            encoders: Encoders in use; one of them is used here if it is the right one.

        Raises:
            InputError: A file is damaged, or the files do not belong together.
        """
        folder = index / KNOWN
        if not folder.is_dir():
            return None
        own = MiniLMEncoder()
        encoder = next((each for each in encoders if each.fingerprint == own.fingerprint), own)
        return cls(MotionIndex.load(folder, gpu=False), Calibration.read(folder / KNOWN_FILE), encoder)

    def write(self, index: Path) -> None:
        """Write the captions and the calibration into the folder of an index, all or nothing."""
        with atomic_path(index / KNOWN) as made:
            self.captions.save(made)
            self.calibration.write(made / KNOWN_FILE)

    def judge(self, texts: Sequence[str]) -> list[Familiarity]:
        """How familiar captions are."""
        if not texts:
            return []
        likeness, nearest = likeness_of(self.captions, embed_sentences(self.encoder, texts))
        told = self.calibration.known(likeness[:, None])
        return [
            Familiarity(text, float(probability), float(like), near, new_words(text, self.calibration.words))
            for text, probability, like, near in zip(texts, told, likeness, nearest, strict=True)
        ]

    def right(
        self, scores: Float[np.ndarray, "C K"], judged: Sequence[Familiarity]
    ) -> Float[np.ndarray, "C K"]:  # fmt: skip
        """Probabilities that the hits of captions are right.

        Args:
            scores: Cosines of k hits of each caption.
            judged: What `judge` gave for the captions.
        """
        return self.calibration.right(hit_values(scores, [each.likeness for each in judged])).reshape(scores.shape)


class Known:
    """The captions known to a model, opened when they are first needed.

    Args:
        index: Folder of the index, or its repository on the Hub; None knows nothing.
        encoders: Encoders in use.
    """

    def __init__(self, index: Path | HubName | None, encoders: Iterable[TextEncoder]) -> None:
        self._index, self._encoders = index, encoders

    @cached_property
    def captions(self) -> KnownCaptions | None:
        """The captions; None if the index is not calibrated, or FAISS is not installed to read it.

        Raises:
            InputError: As `KnownCaptions.open`.
        """
        if self._index is None:
            return None
        try:
            return KnownCaptions.open(resolve_model(self._index), self._encoders)
        except MissingPackage:  # keeps nobody from unguided motions
            return None

    def judge(self, texts: Sequence[str]) -> dict[str, Familiarity]:
        """How familiar captions are, by caption; empty if the index is not calibrated."""
        unique = list(dict.fromkeys(texts))
        return {} if self.captions is None else dict(zip(unique, self.captions.judge(unique), strict=True))

    def familiarity(self, texts: Sequence[str]) -> list[Familiarity | None]:
        """How familiar each caption is; None if the index is not calibrated.

        Raises:
            InputError: For blank captions, or as `captions`.
        """
        texts = check_captions(texts)
        found = self.judge(texts)
        return [found.get(text) for text in texts]


def embed_sentences(encoder: TextEncoder, texts: Sequence[str]) -> Float[np.ndarray, "N D"]:
    """Sentence vectors, those of similar length computed together."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    found = np.empty((len(texts), encoder.dim), np.float32)
    with torch.inference_mode(False):
        for start in range(0, len(texts), _BATCH):
            rows = order[start : start + _BATCH]
            found[rows] = encoder([texts[row] for row in rows]).pooled.cpu().numpy()
    return found


def likeness_of(
    captions: MotionIndex, vectors: Float[np.ndarray, "N D"]
) -> tuple[Float[np.ndarray, "N"], list[tuple[str, ...]]]:
    """Mean cosine of each sentence to the ten nearest captions, and the nearest three.

    One caption of the training set does not make a sentence known; ten that are alike do.
    """
    found = captions.search(vectors, min(_NEIGHBOURS, len(captions)))
    return found.scores.mean(1), [tuple(ids[:_NAMED]) for ids in found.ids]


def hit_values(
    scores: Float[np.ndarray, "C K"], likeness: Sequence[float] | Float[np.ndarray, "C"]
) -> Float[np.ndarray, "N 2"]:
    """What the probability of a hit depends on: its score, and the likeness of the caption."""
    return np.stack([scores.ravel(), np.repeat(np.asarray(likeness), scores.shape[1])], 1)
