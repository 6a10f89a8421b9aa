"""Search of the motions nearest to captions or motions, and of the captions nearest to motions."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from realign.checkpoint.load import load_model
from realign.errors import InputError
from realign.files import resolve_model
from realign.hub import with_revision
from realign.index.library import MotionLibrary
from realign.index.motion_index import MotionIndex
from realign.index.storage import check_model, read_manifest
from realign.inference.common import UNIT, check_captions, pick_device, pretrained_folder
from realign.inference.hits import CaptionHit, MotionHit, clips_of, hits_of
from realign.inference.known import Known
from realign.motion.clip import MotionClip
from realign.motion.familiarity import Familiarity, unlike_training
from realign.motion.features import clips_to_features
from realign.motion.skeleton import get_skeleton
from realign.nn.embedder import JointEmbedding
from realign.text.captions import caption_notes, encoders_of, warn_about

LONGEST = 196  # frames that are embedded, from the beginning of a motion, also in the index
USUAL_K = 10
_LONGEST_QUERY = 3600.0  # seconds: a wrong frame rate must not fill the memory
_SENTENCES, _MOTIONS = 256, 32  # embedded at once
Entry = TypeVar("Entry")


class MotionSearch:
    """Finds motions by captions and motions, and captions by motions.

    Args:
        embedder: A trained reward model, as an `Embedder` or as the task that trained it.
        library: An index that this model made.

    Raises:
        InputError: Another model made the index.
    """

    def __init__(self, embedder: JointEmbedding, library: MotionLibrary) -> None:
        check_model(library.folder, library.motions.fingerprint, embedder.fingerprint)
        self.embedder = embedder.eval().requires_grad_(False)
        self.library = library
        self.skeleton = get_skeleton(embedder.skeleton)
        self.known = Known(library.folder, encoders_of(embedder))

    @classmethod
    def from_pretrained(
        cls,
        index: str | Path | None = None,
        checkpoint: str | Path | None = None,
        device: str = "auto",
        *,
        revision: str | None = None,
        trust_code: bool = False,
    ) -> "MotionSearch":
        """Open an index and load the model that made it.

        Args:
            index: Folder written by `realign index build`, a shipped name or ORG/NAME on the Hub; None takes the one in
                the package.
            checkpoint: A Lightning checkpoint, a folder of weights or such a name, of a reward model or retriever; None
                takes the weights in the package.
            device: auto, or any torch device.
            revision: Branch, tag or commit of `index` on the Hub; ORG/NAME@REVISION says the same, and so
                for `checkpoint`.
            trust_code: Let the checkpoint's configuration name classes outside realign, whose code then runs.

        Raises:
            InputError: For an index that is damaged or made by another model, a checkpoint of another kind, or a device
                that cannot be used.
        """
        folder = resolve_model(
            with_revision(pretrained_folder("index", "an index with --index") if index is None else index, revision)
        )
        read_manifest(folder)  # first, so that a wrong path fails before the model is loaded
        chosen = pick_device(device)
        folder_of_model = pretrained_folder("retriever") if checkpoint is None else checkpoint
        embedder = load_model(folder_of_model, JointEmbedding, trust_code=trust_code, noise=False)  # type: ignore[type-abstract]
        return cls(embedder.to(chosen), MotionLibrary.load(folder))

    def __repr__(self) -> str:
        captions = "no captions" if self.library.captions is None else f"{len(self.library.captions)} captions"
        what = f"{len(self)} motions and {captions} of {self.library.folder}"
        return f"MotionSearch({what}, by {self.embedder.fingerprint} on {self.embedder.device})"

    def __len__(self) -> int:
        return len(self.library.motions)

    def by_text(self, texts: Sequence[str], k: int | None = None) -> list[list[MotionHit]]:
        """Find the motions that captions describe.

        Args:
            texts: Captions, in English unless the text encoder knows other languages.
            k: Motions for each caption; 10 when None, or all of a smaller index.

        Returns:
            The hits of each caption, best first.

        Raises:
            InputError: For a blank caption, a k below 1 or above the number of motions, or a damaged calibration.
        """
        texts = check_captions(texts)
        judged = self.known.judge(texts)
        return self._hits(self._embedded(texts, judged), k, [judged[text] for text in texts] if judged else ())

    def familiarity(self, texts: Sequence[str]) -> list[Familiarity | None]:
        """How familiar captions are to the model that made the index; None if the index is not calibrated.

        Raises:
            InputError: For blank captions, or a damaged calibration.
        """
        return self.known.familiarity(texts)

    def notes(self, texts: Sequence[str]) -> list[str]:
        """What a user should know of captions, one sentence each; searches warn of the same.

        Raises:
            InputError: As `familiarity`.
        """
        texts = check_captions(texts)
        return caption_notes(texts, [self.embedder.text_encoder], unlike_training(self.known.judge(texts).values()))

    def by_motion(self, clips: Sequence[MotionClip], k: int | None = None) -> list[list[MotionHit]]:
        """Find the motions that resemble motions.

        Args:
            clips: Motions of the model's skeleton, of any frame rate; the first 9.8 s count (at 20 fps).
            k: Motions for each query; 10 when None, or all of a smaller index.

        Returns:
            The hits of each motion, best first.

        Raises:
            InputError: For another skeleton, a motion of fewer than 4 frames of features, NaN, or k out of range.
        """
        return self._hits(self.embed_motions(clips), k)

    def captions_for(self, clips: Sequence[MotionClip], k: int | None = None) -> list[list[CaptionHit]]:
        """Find the captions, among all different ones of the index, that describe motions.

        Args:
            clips: As for `by_motion`.
            k: Captions for each motion; 10 when None, or all if there are fewer.

        Raises:
            InputError: As `by_motion`, or when the index was built without captions.
        """
        index = self.library.captions
        if index is None:
            raise InputError(
                f"The index at {self.library.folder} holds no captions to choose from; build it with `realign index "
                "build` from a set that has some."
            )
        found = index.search(self.embed_motions(clips), min(_number(k, index), len(index)))
        return [
            [CaptionHit(item.id, score) for item, score in zip(items, scores, strict=True)]
            for items, scores in zip(found.items, found.scores.tolist(), strict=True)
        ]

    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "B E"]:
        """Unit embeddings of captions, on the CPU.

        Raises:
            InputError: There is no caption, or a blank one.
        """
        texts = check_captions(texts)
        return self._embedded(texts, self.known.judge(texts))

    def _embedded(self, texts: list[str], judged: dict[str, Familiarity]) -> Float[Tensor, "B E"]:
        warn_about(texts, [self.embedder.text_encoder], unlike_training(judged.values()))
        parts = list(_parts(texts, _SENTENCES))
        with torch.inference_mode():
            return torch.cat([self.embedder.embed_captions(part).float().cpu() for part in parts])

    def embed_motions(self, clips: Sequence[MotionClip]) -> Float[Tensor, "B E"]:
        """Unit embeddings of motions, on the CPU.

        Raises:
            InputError: As `by_motion`.
        """
        if isinstance(clips, MotionClip) or not clips:
            raise InputError("Motions come as a list of at least one MotionClip; write [MotionClip.load(path)].")
        joints = [self._joints(clip) for clip in clips]
        features = [each[: min(len(each), LONGEST) // UNIT * UNIT] for each in clips_to_features(joints, self.skeleton)]
        rows: list[Tensor] = []
        with torch.inference_mode():
            for part in _parts(features, _MOTIONS):
                lengths = torch.tensor([len(each) for each in part])
                motion = torch.nn.utils.rnn.pad_sequence(part, batch_first=True)
                rows.append(self.embedder.embed_motions(motion, lengths).float().cpu())
        return torch.cat(rows)

    def clips(self, hits: Sequence[MotionHit], data: str | Path | None = None) -> list[MotionClip]:
        """The motions of hits, to draw or save; each caption tells rank, score and first caption.

        Args:
            hits: Results of a search of this index.
            data: Folder written by `realign prepare` that holds them; None takes those that the index keeps.

        Raises:
            InputError: When the index keeps none, or the folder does not hold one of them.
        """
        return clips_of(hits, self.library, data, self.skeleton)

    def _hits(
        self, queries: Float[Tensor, "B E"], k: int | None, judged: Sequence[Familiarity] = ()
    ) -> list[list[MotionHit]]:
        found = self.library.motions.search(queries, _number(k, self.library.motions))
        right = None
        if judged and self.known.captions is not None:
            right = self.known.captions.right(found.scores, judged)
        return hits_of(found, self.skeleton.fps, right)

    def _joints(self, clip: MotionClip) -> Float[Tensor, "T J 3"]:
        """A query of the model's skeleton and frame rate, long enough and without NaN."""
        name = f"The motion {clip.caption!r}" if clip.caption else "The motion"
        skeleton = self.skeleton
        if clip.skeleton != skeleton.name:
            raise InputError(
                f"{name} has the skeleton {clip.skeleton!r} ({clip.joints.shape[1]} joints), but this model knows "
                f"{skeleton.name!r} ({skeleton.num_joints} joints); search with a model for {clip.skeleton!r}."
            )
        if not np.isfinite(clip.joints).all():
            raise InputError(f"{name} holds NaN or infinite values; repair it or leave it out.")
        if clip.seconds > _LONGEST_QUERY:
            raise InputError(f"{name} lasts {clip.seconds:.0f} s; cut out the part to search for.")
        joints = clip.joints_at(skeleton.fps)
        if len(joints) <= UNIT:  # features are one frame shorter
            raise InputError(
                f"{name} has {len(joints)} frames at {skeleton.fps:g} fps, too few to compare; give {UNIT + 1} or more."
            )
        return torch.from_numpy(joints)


def _number(k: int | None, index: MotionIndex) -> int:
    return min(USUAL_K, len(index)) if k is None else k


def _parts(items: Sequence[Entry], size: int) -> Iterator[list[Entry]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
