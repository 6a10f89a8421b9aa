"""Results of a search, and their motions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from realign.errors import InputError
from realign.index.library import MotionLibrary
from realign.index.motion_index import SearchResult
from realign.motion.clip import MotionClip
from realign.motion.features import features_to_joints
from realign.motion.skeleton import Skeleton


@dataclass(frozen=True)
class MotionHit:
    """A motion in the result of a search.

    Attributes:
        id: Its name in the set that was indexed.
        score: Cosine of its embedding to the query's.
        captions: Its captions.
        frames: Its length in frames.
        seconds: Its length in seconds.
        source: Its origin, such as "recorded".
        position: Its row in the index.
        probability: That it shows what the caption says, by the index's calibration; None without one, and for motions
            as queries.
    """

    id: str
    score: float
    captions: tuple[str, ...]
    frames: int
    seconds: float
    source: str
    position: int
    probability: float | None = None

    def __repr__(self) -> str:
        first = repr(self.captions[0]) if self.captions else "no caption"
        more = f" and {len(self.captions) - 1} more" if len(self.captions) > 1 else ""
        right = "" if self.probability is None else f" ({self.probability:.0%})"
        return f"MotionHit({self.id!r}, {self.score:.3f}{right}, {self.seconds:.1f} s, {first}{more})"


@dataclass(frozen=True)
class CaptionHit:
    """A caption in the result of a search.

    Attributes:
        caption: The caption.
        score: Cosine of its embedding to the motion's.
    """

    caption: str
    score: float

    def __repr__(self) -> str:
        return f"CaptionHit({self.caption!r}, {self.score:.3f})"


def hits_of(
    found: SearchResult, fps: float, right: Float[np.ndarray, "Q k"] | None = None
) -> list[list[MotionHit]]:  # fmt: skip
    """The hits of every query.

    Args:
        found: What a search found.
        fps: Frames per second of the motions.
        right: Probabilities of the hits, where they are known.
    """
    told = [[None] * found.scores.shape[1]] * len(found.scores) if right is None else right.tolist()
    return [
        [
            MotionHit(item.id, score, item.captions, item.frames, item.frames / fps, item.source, place, probability)
            for item, score, place, probability in zip(*rows, strict=True)
        ]
        for rows in zip(found.items, found.scores.tolist(), found.positions.tolist(), told, strict=True)
    ]


def clips_of(
    hits: Sequence[MotionHit], library: MotionLibrary, data: str | Path | None, skeleton: Skeleton
) -> list[MotionClip]:
    """The motions of hits; each caption tells rank, score and first caption.

    Args:
        hits: Results of a search of the library.
        library: The library.
        data: Folder written by `realign prepare` that holds them; None takes those that the library keeps.
        skeleton: Their skeleton.

    Raises:
        InputError: When the library keeps none, or the folder does not hold one of them.
    """
    joints = _kept(hits, library) if data is None else _prepared(hits, Path(data), skeleton)
    titles = [
        f"{rank}. {hit.captions[0] if hit.captions else hit.id} ({hit.score:.2f})" for rank, hit in enumerate(hits, 1)
    ]
    return [
        MotionClip(each, skeleton.fps, title, skeleton.name) for each, title in zip(joints, titles, strict=True)
    ]  # fmt: skip


def keeps_no_motions(index: Path) -> InputError:
    """The error of an index without motions."""
    return InputError(
        f"The index at {index} keeps no motions to draw; name the prepared set that was indexed with --data, or build "
        "the index with --with-motions."
    )


def _kept(hits: Sequence[MotionHit], library: MotionLibrary) -> list[Float[np.ndarray, "F J 3"]]:
    joints = library.joints()
    if joints is None:
        raise keeps_no_motions(library.folder)
    return [joints[hit.position] for hit in hits]


def _prepared(hits: Sequence[MotionHit], folder: Path, skeleton: Skeleton) -> list[Float[np.ndarray, "F J 3"]]:
    from realign.data.store import PackedMotions

    packed = PackedMotions.open(folder)
    if packed.skeleton != skeleton.name:
        raise InputError(f"{folder} shows the skeleton {packed.skeleton!r}, but the index {skeleton.name!r}.")
    places = {packed.id(index): index for index in range(len(packed))}
    found = []
    for hit in hits:
        if hit.id not in places:
            raise InputError(f"{folder} holds no motion {hit.id!r}; give the prepared set that was indexed.")
        features = torch.from_numpy(packed.motion(places[hit.id]).copy())
        found.append(features_to_joints(features, skeleton).numpy())
    return found
