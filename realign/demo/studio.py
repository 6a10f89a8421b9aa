"""What the demo computes: checked requests in, results out. It knows neither browsers nor gradio."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from realign.demo.limits import Limits, number, whole
from realign.demo.shelf import Shelf
from realign.errors import InputError
from realign.inference import LONGEST, SHORTEST, CaptionHit, MotionHit, MotionSearch, TextToMotion
from realign.motion.clip import MotionClip

if TYPE_CHECKING:
    from realign.guidance.steering import Steering

_AT_ONCE = 8  # captions of a batch that are sampled together


@dataclass(frozen=True)
class Generated:
    """Motions for one caption.

    Attributes:
        clips: The motions; guided ones carry the unguided ones from the same noise.
        shown: Their name on the shelf, with the unguided ones if they have them.
        alone: Their name on the shelf without these.
        anchors: The real motions that guidance likened them to.
        notes: Sentences about the caption.
    """

    clips: list[MotionClip]
    shown: str
    alone: str
    anchors: list[MotionHit]
    notes: list[str]


@dataclass(frozen=True)
class Found:
    """Results of a search.

    Attributes:
        query: A caption or the name of a motion.
        motions: The motions, best first.
        captions: Captions that fit a motion, best first.
        players: Name on the shelf of the motions; None if the index keeps none.
        asked: Name on the shelf of the motion that was searched with, if one was.
        notes: Sentences about the caption.
    """

    query: str
    motions: list[MotionHit]
    captions: list[CaptionHit]
    players: str | None
    asked: str | None
    notes: list[str]


@dataclass(frozen=True)
class Batch:
    """A motion for each of several captions.

    Attributes:
        clips: One a caption.
        name: Theirs on the shelf.
        notes: Sentences about the captions.
    """

    clips: list[MotionClip]
    name: str
    notes: list[str]


class Studio:
    """Generates and searches for visitors, one request of each kind at a time.

    Args:
        model: The generator.
        library: What is searched.
        shelf: Keeps the motions.
        limits: What may be asked for.
        data: Prepared set that holds the motions of the index, if the index keeps none.
    """

    def __init__(
        self, model: TextToMotion, library: MotionSearch, shelf: Shelf, limits: Limits, data: str | None = None
    ) -> None:
        self.model, self.library, self.shelf, self.limits, self.data = model, library, shelf, limits, data
        self._generating, self._searching = threading.Lock(), threading.Lock()

    @property
    def seconds(self) -> tuple[float, float]:
        """The shortest and the longest motion."""
        fps = self.model.skeleton.fps
        return SHORTEST / fps, LONGEST / fps

    @property
    def guided(self) -> bool:
        """Whether the generator has a guidance of its own."""
        return self.model.default is not None and self.model.default.method != "none"

    def generate(
        self, text: str, seconds: float | None = None, seed: float = 0, samples: float = 1,
        steps: float | None = None, guided: bool = True, strength: float | None = None, start: float | None = None,
        stop: float | None = None,
    ) -> Generated:  # fmt: skip
        """Make motions for a caption.

        Args:
            text: The caption.
            seconds: Their length; None for the usual length of such motions.
            seed: Non-negative seed.
            samples: Motions.
            steps: Denoising steps; None for the generator's own.
            guided: Also guide them, and compare.
            strength: Of the guidance; None for the generator's own, as below.
            start: Fraction of the steps after which it begins.
            stop: Fraction of the steps after which it ends.

        Raises:
            InputError: Something is out of its range.
        """
        text = self.limits.caption(text)
        seconds = None if seconds is None else number("length", seconds, *self.seconds)
        options: dict[str, Any] = {
            "seed": whole("seed", seed, 0, 2**31 - 1),
            "samples": whole("number of motions", samples, 1, self.limits.samples),
            "steps": None if steps is None else whole("number of steps", steps, 1, self.limits.steps),
        }
        with self._generating:
            guidance = self._guidance(strength, start, stop) if guided and self.guided else None
            clips = self.model.generate(
                [text], seconds=seconds, guidance=guidance or "none", compare=guidance is not None, **options
            )
            anchors = [] if guidance is None else self.model.anchors([text], guidance)[0]
            notes = self.model.notes([text], guidance or "none")
        return Generated(clips, self.shelf.put(clips), self.shelf.put(_alone(clips)), anchors, notes)

    def _guidance(self, strength: float | None, start: float | None, stop: float | None) -> "Steering":
        """The generator's own guidance with another strength and window; its reward is loaded once."""
        given: dict[str, Any] = {}
        if self.model.default is not None and self.model.default.method == "reward":
            if strength is not None:
                given["strength"] = number("strength", strength, 0, self.limits.strength)
            if start is not None:
                given["start"] = number("start of guidance", start, 0, 1)
            if stop is not None:
                given["stop"] = number("end of guidance", stop, 0, 1)
            return self.model.load_guidance("reward", **given)
        return self.model.load_guidance("best-of")

    def batch(
        self, text: str, seconds: float | None = None, seed: float = 0,
        progress: Callable[[int, int], object] = lambda done, total: None,
    ) -> Batch:  # fmt: skip
        """Make one motion for each line of a text, by the generator's own guidance.

        Args:
            text: Captions, one a line.
            seconds: Length of each motion; None for the usual length of such motions.
            seed: Non-negative seed.
            progress: Is called with the number of motions made and of all.

        Raises:
            InputError: Something is out of its range.
        """
        texts = self.limits.batch(text)
        seconds = None if seconds is None else number("length", seconds, *self.seconds)
        checked = whole("seed", seed, 0, 2**31 - 1)
        clips: list[MotionClip] = []
        for place in range(0, len(texts), _AT_ONCE):
            progress(place, len(texts))
            with self._generating:
                clips += self.model.generate(texts[place : place + _AT_ONCE], seconds=seconds, seed=checked)
        with self._generating:
            return Batch(clips, self.shelf.put(clips), self.model.notes(texts))

    def search(self, text: str = "", motion: str = "", k: float = 6) -> Found:
        """Find motions by a caption, or by a motion on the shelf, which then counts.

        Args:
            text: The caption.
            motion: Name of a motion on the shelf; none when empty.
            k: Hits.

        Raises:
            InputError: Something is out of its range, or the motion is not kept any more.
        """
        count = whole("number of hits", k, 1, min(self.limits.hits, len(self.library)))
        if not isinstance(motion, str):
            raise InputError("A motion is named by what the upload answered; drop it again.")
        with self._searching:
            if motion:
                clips = self.shelf.get(motion)[:1]
                hits = self.library.by_motion(clips, count)[0]
                captions = [] if self.library.library.captions is None else self.library.captions_for(clips, count)[0]
                return Found(clips[0].caption, hits, captions, self._players(hits), motion, [])
            text = self.limits.caption(text)
            hits = self.library.by_text([text], count)[0]
            return Found(text, hits, [], self._players(hits), None, self.library.notes([text]))

    def _players(self, hits: list[MotionHit]) -> str | None:
        if self.data is None and self.library.library.joints() is None:
            return None
        return self.shelf.put(self.library.clips(hits, self.data))


def _alone(clips: list[MotionClip]) -> list[MotionClip]:
    """The motions without the unguided ones that belong to them."""
    return [replace(clip, unguided=None) for clip in clips]
