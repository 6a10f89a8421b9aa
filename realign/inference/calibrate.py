"""Calibration of an index: how familiar captions are, and how probably hits are right, by held-out clips."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from realign.data.dataset import MotionTextDataset
from realign.data.store import PackedMotions
from realign.errors import InputError
from realign.index import engine
from realign.index.items import MotionItem
from realign.index.library import MotionLibrary
from realign.index.motion_index import MotionIndex
from realign.index.storage import check_model
from realign.inference.common import UNIT
from realign.inference.known import Calibration, KnownCaptions, embed_sentences, hit_values, likeness_of
from realign.inference.motion_search import LONGEST, USUAL_K
from realign.metrics.calibration import Logistic, auroc, calibration_error, reliability
from realign.metrics.retrieval import similarity_matrix
from realign.nn.embedder import JointEmbedding
from realign.text.base import TextEncoder
from realign.text.captions import plain_caption
from realign.text.minilm import MiniLMEncoder
from realign.text.unlike import unlike_sentences, vocabulary

_REFERENCES, _QUERIES = 100_000, 2_000  # at most; more are thinned out evenly
_BATCH = 64
_RIGHT = {
    (False, False): "own motion or same first caption", (False, True): "own motion or same first caption",
    (True, False): "same content", (True, True): "same content and style",
}  # fmt: skip


def calibrate(
    embedder: JointEmbedding,
    index: str | Path,
    data: str | Path,
    *,
    split: str = "val",
    test: str = "test",
    style: bool = False,
    unlike: str | Path | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure on held-out captions and motions, and write the calibration into the folder of the index.

    The captions of the index are those trained on. Captions of `split` are known ones, and the first half of the
    sentences of `unlike` unknown ones; both count equally. If the set names the actions of its clips, captions search
    the index, and a hit is right if it shows the action of a clip that has the caption. In other sets they search the
    motions of their split, and a hit is right if it is the caption's own motion or has the same first caption. All hits
    of unknown sentences are wrong.

    Args:
        embedder: The model that made the index.
        index: Folder of the index.
        data: Folder written by `realign prepare` that holds the clips.
        split: Where to calibrate; not the split that was trained on.
        test: Where to measure the calibration.
        style: Only hits of the same style are right, too, as in protocol `mocap`.
        unlike: Sentences of other kinds, one a line; those in the package when None.
        device: A torch device.
        progress: Is called with what is embedded, how much of it is done, and how much there is.

    Returns:
        How it was measured, and AUROC, calibration errors and reliability curves on `test`, for a JSON file.

    Raises:
        InputError: A file is missing or does not fit, or there are too few clips or sentences.
    """
    library = MotionLibrary.load(index)
    check_model(library.folder, library.motions.fingerprint, embedder.fingerprint)
    packed = PackedMotions.open(data)
    if packed.skeleton != embedder.skeleton:
        raise InputError(f"{data} shows the skeleton {packed.skeleton!r}, but the model knows {embedder.skeleton!r}.")
    actions = named_actions(packed, style)
    told = progress or (lambda *_: None)
    encoder, embedder = MiniLMEncoder().to(device), embedder.eval().to(torch.device(device))
    texts = _captions_of(library)
    stems = vocabulary(texts)
    halves = unlike_sentences(stems, None if unlike is None else Path(unlike))
    vectors = np.concatenate(
        [embed_sentences(encoder, part) for part in _parts(texts, 16 * _BATCH, "captions", told)]  # fmt: skip
    )
    captions = MotionIndex.build(
        vectors, [MotionItem(text) for text in texts], fingerprint=encoder.fingerprint,
        factory="SQ8" if len(texts) < engine.EXACT_BELOW else None, gpu=False,
    )  # fmt: skip

    fit, held = (
        Held.measure(embedder, library, packed, name, sentences, actions, told).compared(captions, encoder)
        for name, sentences in zip((split, test), halves, strict=True)
    )
    known = Logistic.fit(fit.likeness[:, None], fit.is_known(), fit.sizes(1))
    right = Logistic.fit(fit.values(), fit.right.ravel(), fit.sizes(fit.scores.shape[1]))
    about = {
        "data": packed.identity, "split": split, "test": test, "right_is": _RIGHT[(bool(actions), style)],
        "captions": len(texts), "known": _quality_of_known(known, held), "right": _quality_of_right(right, held),
    }  # fmt: skip
    found = Calibration(embedder.fingerprint, captions.digest, frozenset(stems), known, right, about)
    KnownCaptions(captions, found, encoder).write(library.folder)
    return about


@dataclass(frozen=True)
class Held:
    """Known and unknown captions with their best hits.

    Attributes:
        texts: The captions, known ones first.
        count: How many of them are known.
        scores: Cosines of the hits.
        right: Which hits are right.
        likeness: Of the captions to those trained on.
    """

    texts: list[str]
    count: int
    scores: Float[np.ndarray, "C K"]
    right: Bool[np.ndarray, "C K"]
    likeness: Float[np.ndarray, "C"]

    @classmethod
    def measure(
        cls,
        embedder: JointEmbedding,
        library: MotionLibrary,
        packed: PackedMotions,
        split: str,
        unknown: list[str],
        actions: dict[str, str],
        progress: Callable[[str, int, int], None],
    ) -> "Held":
        """Search by the captions of a split and by unknown ones."""
        places = packed.select(split, UNIT, one_per_motion=True).tolist()
        captions = {packed.id(row): packed.captions(row) for row in places}
        kinds = actions or {name: each[0] for name, each in captions.items()}
        wanted: dict[str, set[str]] = {}
        for name in captions.keys() & kinds.keys():
            for text in filter(None, map(plain_caption, captions[name])):
                wanted.setdefault(text, set()).add(kinds[name])
        known = _thinned(sorted(wanted), _QUERIES)
        texts, found = [*known, *unknown], []
        for part in _parts(texts, _BATCH, f"captions of {split}", progress):
            with torch.inference_mode():
                found.append(embedder.embed_captions(part).float().cpu())
        queries = torch.cat(found)
        if actions:
            best = library.motions.search(queries, min(USUAL_K, len(library.motions)))
            hits, scores = best.ids, best.scores
        else:
            hits, scores = _search_split(embedder, packed, split, queries, progress)
        right = [[kinds.get(hit) in wanted.get(text, ()) for hit in row] for text, row in zip(texts, hits, strict=True)]
        return cls(texts, len(known), scores, np.array(right), np.zeros(len(texts)))

    def compared(self, captions: MotionIndex, encoder: TextEncoder) -> "Held":
        """The same with the likeness to the captions trained on."""
        return replace(self, likeness=likeness_of(captions, embed_sentences(encoder, self.texts))[0])

    def is_known(self) -> Bool[np.ndarray, "C"]:
        """Which captions are known."""
        return np.arange(len(self.texts)) < self.count

    def values(self) -> Float[np.ndarray, "N 2"]:
        """What the probability of each hit depends on."""
        return hit_values(self.scores, self.likeness)

    def sizes(self, hits: int) -> Float[np.ndarray, "N"]:
        """How much each of so many examples of every caption counts: known and unknown ones together count equally."""
        known = self.is_known()
        return np.repeat(np.where(known, 0.5 / known.sum(), 0.5 / (~known).sum()) / hits, hits)


def _search_split(
    embedder: JointEmbedding,
    packed: PackedMotions,
    split: str,
    queries: Float[Tensor, "C E"],
    progress: Callable[[str, int, int], None],
) -> tuple[list[list[str]], Float[np.ndarray, "C K"]]:
    """Ids and cosines of the best motions of a split."""
    motions = MotionTextDataset(
        packed, split, min_frames=UNIT, max_frames=LONGEST, max_motion_frames=None, unit_length=UNIT,
        one_per_motion=True,
    )  # fmt: skip
    ids, rows = [], []
    for part in _parts(range(len(motions)), _BATCH, f"motions of {split}", progress):
        batch = motions.__getitems__(part)
        ids += batch.ids
        with torch.inference_mode():
            rows.append(embedder.embed_motions(batch.motion, batch.lengths).float().cpu())
    cosines = similarity_matrix(queries, torch.cat(rows)).numpy()
    best = np.argsort(-cosines, axis=1, kind="stable")[:, : min(USUAL_K, cosines.shape[1])]
    return [[ids[place] for place in row] for row in best.tolist()], np.take_along_axis(cosines, best, 1)


def named_actions(packed: PackedMotions, style: bool) -> dict[str, str]:
    """The actions of clips by id, with or without their styles; clips without one are left out."""
    named = ((packed.id(row), packed.action(row)) for row in range(len(packed)))
    return {name: action if style else action.partition(", ")[0] for name, action in named if action}


def _quality_of_known(known: Logistic, held: Held) -> dict[str, Any]:
    """How well known and unknown captions are told apart."""
    told, truth = known(held.likeness[:, None]), held.is_known()
    curve = reliability(told, truth, held.sizes(1))
    return {
        "captions": held.count, "unknown": len(truth) - held.count,
        "auroc": auroc(held.likeness[truth], held.likeness[~truth]),
        "known below half": float((told[truth] < 0.5).mean()),
        "unknown above half": float((told[~truth] >= 0.5).mean()),
        "ece": calibration_error(curve), "curve": [asdict(each) for each in curve],
    }  # fmt: skip


def _quality_of_right(right: Logistic, held: Held) -> dict[str, Any]:
    """How well the probabilities of hits agree with what is right."""
    told, truth = right(held.values()), held.right.ravel()
    curve = reliability(told, truth, held.sizes(held.scores.shape[1]))
    known = slice(held.count * held.scores.shape[1])
    of_known = reliability(told[known], truth[known])
    return {
        "hits": len(truth), "right": float(truth[known].mean()), "auroc": auroc(told[truth], told[~truth]),
        "ece": calibration_error(curve), "ece of known captions": calibration_error(of_known),
        "curve": [asdict(each) for each in curve], "curve of known captions": [asdict(each) for each in of_known],
    }  # fmt: skip


def _captions_of(library: MotionLibrary) -> list[str]:
    """The different captions of an index, in their plain form."""
    every = dict.fromkeys(plain_caption(text) for item in library.motions.items for text in item.captions)
    texts = [text for text in every if text]
    if not texts:
        raise InputError(f"The index at {library.folder} holds no captions, by which others could be judged; build it "
                         "from a set that has some.")  # fmt: skip
    return _thinned(texts, _REFERENCES)


def _thinned(items: list[str], most: int) -> list[str]:
    """At most so many items, spread evenly."""
    if len(items) <= most:
        return items
    return [items[place] for place in np.linspace(0, len(items) - 1, most).round().astype(int).tolist()]


def _parts(
    items: Sequence[Any], size: int, what: str, progress: Callable[[str, int, int], None]
) -> Iterator[Any]:  # fmt: skip
    """Parts of a sequence; progress is called after each."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
        progress(what, min(start + size, len(items)), len(items))
