"""A generator with what belongs to it: rewards that can guide it, usual lengths, and the captions that it knows."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realign.errors import InputError
from realign.files import resolve_model
from realign.guidance.config import GuidanceConfig, Word, check_word
from realign.hub import HubName
from realign.inference.common import LONGEST, SHORTEST, UNIT, check_captions, pretrained_folder
from realign.inference.guide import Guide
from realign.inference.hits import MotionHit, hits_of
from realign.inference.known import Known
from realign.interfaces import TextToMotionModel, frozen
from realign.motion.familiarity import Familiarity, unlike_training
from realign.motion.skeleton import get_skeleton
from realign.nn.compiled import compile_networks
from realign.text.base import TextEncoder
from realign.text.captions import caption_notes, encoders_of, warn_about

if TYPE_CHECKING:
    from realign.guidance.objective import RewardObjective
    from realign.guidance.steering import Steering

NOTHING_GUIDES = (
    "There is no guided motion to compare with the unguided one: the generator has no guidance of its own, or none was "
    "asked for; name a reward (--guidance reward or best-of)."
)


class GuidedGenerator:
    """A generator with what belongs to it; arguments as in `TextToMotion`."""

    def __init__(
        self,
        task: TextToMotionModel,
        seconds: float = 5.0,
        guide: Guide | None = None,
        default: GuidanceConfig | None = None,
        trust_code: bool = False,
        known: Path | HubName | None = None,
    ) -> None:
        self.task, self.trust_code = frozen(task), trust_code
        self.skeleton = get_skeleton(task.skeleton)
        self.seconds, self.guide, self.default = seconds, guide, default
        self._loaded: dict[str, Steering] = {}  # by method
        self._compiled = False
        self.known = Known(known, encoders_of(task))

    def load_guidance(
        self,
        method: str = "reward",
        reward: str | Path | None = None,
        index: str | Path | None = None,
        **options: Any,
    ) -> "Steering":
        """Load a guidance for `generate`; a reward that does not fit the generator is refused.

        Args:
            method: ``reward`` steers by the reward's gradient, ``best-of`` keeps the best of several motions.
            reward: Checkpoint, folder or shipped name of a reward; None takes the one that belongs to the generator,
                else the one in the package.
            index: Folder or shipped name of an index that this reward made, where `eta` is not 0; None as for `reward`.
            options: Fields of `GuidanceConfig`; the others are those of the generator's own guidance.

        Raises:
            InputError: A file is missing, foreign or damaged, or the reward was trained for another generator.
        """
        from realign.guidance.steering import load_steering

        chosen = (self.default or GuidanceConfig()).override(options | {"method": method})
        guide = self._guide(reward, index)
        anchored = chosen.eta or index is not None
        steering = load_steering(guide.reward, guide.index if anchored else None, chosen)
        steering.check(self.task)
        if self._compiled:
            compile_networks(guide.reward)
        return steering

    def _guide(self, reward: str | Path | None, index: str | Path | None) -> Guide:
        """The reward and index at these paths; the model's own if the paths are the same."""
        guide = self.guide
        if guide and reward and index and any(isinstance(each, HubName) for each in guide.places):
            guide = None  # so that its own are not downloaded in vain
        own = guide.paths if guide else (None, None)
        paths = (
            resolve_model(reward or own[0] or pretrained_folder("reward", "a reward with --reward")),
            resolve_model(
                index or own[1] or pretrained_folder("reward_index", "an index made with the reward, with --index")
            ),
        )
        return guide if guide and paths == own else Guide(*paths, self.task.device, self.trust_code)

    @property
    def default_guidance(self) -> "Steering | None":
        """The default guidance; None if the generator has none."""
        return self._steering("default")

    def _steering(self, guidance: "Steering | Sequence[Steering] | Word | None") -> "Steering | None":
        """The guidance of a word, loaded once, or a loaded one unchanged.

        Raises:
            InputError: Another word or value, or no reward fits the generator.
        """
        from realign.guidance.several import SeveralRewards
        from realign.guidance.steering import Steering

        if isinstance(guidance, Steering):
            return guidance
        if isinstance(guidance, (list, tuple)):
            return SeveralRewards(guidance)
        method: str = check_word(guidance)
        if method == "default":
            method = "none" if self.default is None else self.default.method
        if method == "none":
            return None
        if method not in self._loaded:
            self._loaded[method] = self.load_guidance(method)
        return self._loaded[method]

    def _compared(self, guidance: "Steering | Sequence[Steering] | Word | None", compare: bool) -> "Steering | None":
        """The guidance; one is needed to compare with unguided motions."""
        steering = self._steering(guidance)
        if compare and steering is None:
            raise InputError(NOTHING_GUIDES)
        return steering

    def _objective(self, steering: "Steering | None") -> "RewardObjective | None":
        """What rates motions: the reward that guides them, else the generator's own; None if there is none."""
        if steering is None:
            try:
                steering = self.default_guidance
            except InputError:  # a reward that is missing or does not fit keeps nobody from unguided motions
                return None
        return None if steering is None else steering.objective

    def anchors(
        self, texts: Sequence[str], guidance: "Steering | Sequence[Steering] | Word | None" = "default"
    ) -> list[list[MotionHit]]:
        """The real motions that guidance likens the motions of captions to.

        Args:
            texts: Captions.
            guidance: As for `generate`.

        Returns:
            The anchors of each caption, best first; none where nothing guides or eta is 0.

        Raises:
            InputError: For blank captions, or as `load_guidance`.
        """
        steering, texts = self._steering(guidance), check_captions(texts)
        found = [None if steering is None else steering.objective.anchors_of(text) for text in texts]
        return [[] if each is None else hits_of(each, self.skeleton.fps)[0] for each in found]

    def frames(self, text: str, seconds: float | None = None) -> int:
        """Frames of a motion for a caption, a multiple of four.

        Args:
            text: The caption.
            seconds: Its length; None takes the median length of the motions that the index finds for the caption,
                within the lengths trained on, or the default length without an index.

        Raises:
            InputError: When the length is outside what generators of this kind are trained on.
        """
        fps = self.skeleton.fps
        low, high = SHORTEST / fps, LONGEST / fps
        if seconds is None:
            found = self.guide.seconds(text) if self.guide else None
            seconds = min(max(found or self.seconds, self.skeleton.min_frames / fps), high)
        if not low <= seconds <= high:
            raise InputError(f"A motion of {seconds:g} s cannot be made; choose between {low:g} and {high:g} seconds.")
        return max(SHORTEST, min(LONGEST, UNIT * round(seconds * fps / UNIT)))

    def familiarity(self, texts: Sequence[str]) -> list[Familiarity | None]:
        """How familiar captions are to the generator; None where no calibration tells.

        Raises:
            InputError: For blank captions, or a damaged calibration.
        """
        return self.known.familiarity(texts)

    def notes(self, texts: Sequence[str], guidance: "Steering | Word | None" = "default") -> list[str]:
        """What a user should know of captions before they are made into motions, one sentence each.

        These are captions that are unlike those trained on, in another script, or longer than an encoder reads.
        `generate` warns of the same.

        Raises:
            InputError: As `familiarity` and `generate`.
        """
        texts = check_captions(texts)
        encoders = self._encoders(self._steering(guidance))
        return caption_notes(texts, encoders, unlike_training(self.known.judge(texts).values()))

    def _judged(self, texts: Sequence[str], steering: "Steering | None") -> dict[str, Familiarity]:
        """How familiar captions are, with warnings."""
        judged = self.known.judge(texts)
        warn_about(texts, self._encoders(steering), unlike_training(judged.values()))
        return judged

    def _encoders(self, steering: "Steering | None") -> list[TextEncoder]:
        return encoders_of(self.task, None if steering is None else steering.objective.reward)
