"""Ways to make a frozen generator follow its captions better while it samples, behind one interface."""

import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from realign.diffusion.guidance import DEFAULT_OPTIONS, GuidanceOptions, RewardGradient
from realign.errors import InputError
from realign.guidance.match import check_match
from realign.guidance.objective import RewardObjective
from realign.guidance.reward import RewardGuidance, ThroughDecoder
from realign.index.motion_index import MotionIndex
from realign.seeding import derive
from realign.tasks.checkpoint import load_task
from realign.tasks.embedding import EmbeddingTask
from realign.tasks.generator import GeneratorTask

SteeringName = Literal["reward", "best-of"]


class Steering(ABC):
    """Samples a generator towards its captions, without changing it.

    Args:
        objective: What makes a motion better.
    """

    def __init__(self, objective: RewardObjective) -> None:
        self.objective = objective
        self._checked: weakref.ref[GeneratorTask] | None = None

    @abstractmethod
    def check(self, generator: GeneratorTask) -> None:
        """Refuse a generator that the objective says nothing about.

        Raises:
            InputError: As said.
        """

    def sample(
        self,
        generator: GeneratorTask,
        captions: Sequence[str],
        lengths: Int[Tensor, "B"],
        seeds: Int[Tensor, "B"],
        exclude: Sequence[str] | None = None,
        **options: Any,
    ) -> Float[Tensor, "B F C"]:
        """Motions for captions; none depends on the others of its batch.

        Args:
            generator: Makes the motions.
            captions: One a motion.
            lengths: Frames of each motion.
            seeds: One a motion: all its randomness.
            exclude: Id of each sample's own motion, which is no anchor for it.
            options: Further options of `GeneratorTask.sample`: steps, scheduler, guidance_scale.

        Returns:
            Motion features, not normalised; zero beyond each length.

        Raises:
            InputError: As `check`.
        """
        if self._checked is None or self._checked() is not generator:
            self.check(generator)
            self._checked = weakref.ref(generator)
        return self._sample(generator, captions, lengths, seeds, exclude, options)

    @abstractmethod
    def _sample(
        self,
        generator: GeneratorTask,
        captions: Sequence[str],
        lengths: Int[Tensor, "B"],
        seeds: Int[Tensor, "B"],
        exclude: Sequence[str] | None,
        options: dict[str, Any],
    ) -> Float[Tensor, "B F C"]:
        """What `sample` does after its check."""

    def to(self, device: torch.device) -> "Steering":
        """Move the reward, in a form that gradients can still flow through."""
        with torch.inference_mode(False):
            self.objective.reward.to(device)
        return self


class RewardSteering(Steering):
    """Steers every sampling step by the gradient of the reward.

    Args:
        objective: What makes a motion better.
        options: When and how strongly to steer.
        through_decoder: Judge decoded motions, for a reward on features and a generator in latents.
    """

    def __init__(
        self,
        objective: RewardObjective,
        options: GuidanceOptions = DEFAULT_OPTIONS,
        through_decoder: bool = False,
    ) -> None:
        super().__init__(objective)
        self.options, self.through_decoder = options, through_decoder

    def check(self, generator: GeneratorTask) -> None:
        """Refuse a generator whose space, skeleton, statistics or, where it is seen, noise are not the reward's."""
        check_match(self.objective.reward, generator, self.through_decoder, self.options.point)

    def guidance(
        self,
        generator: GeneratorTask,
        captions: Sequence[str],
        lengths: Int[Tensor, "B"],
        exclude: Sequence[str] | None = None,
    ) -> RewardGradient:
        """Guidance for one batch; arguments as in `sample`."""
        reward = self.objective.reward
        guidance = RewardGuidance(reward.model, self.objective.target(captions, exclude), self.options)
        return ThroughDecoder(guidance, generator, reward, lengths) if self.through_decoder else guidance

    def _sample(
        self,
        generator: GeneratorTask,
        captions: Sequence[str],
        lengths: Int[Tensor, "B"],
        seeds: Int[Tensor, "B"],
        exclude: Sequence[str] | None,
        options: dict[str, Any],
    ) -> Float[Tensor, "B F C"]:
        guidance = self.guidance(generator, captions, lengths, exclude)
        return generator.sample(captions, lengths, seeds, guidance, **options)


class BestOfN(Steering):
    """Samples several motions a caption and keeps the one with the highest reward; the first is the unguided one.

    Args:
        objective: What makes a motion better.
        candidates: Motions a caption.

    Raises:
        InputError: Fewer than one candidate.
    """

    def __init__(self, objective: RewardObjective, candidates: int = 4) -> None:
        super().__init__(objective)
        if candidates < 1:
            raise InputError(f"The best of {candidates} motions cannot be taken; ask for at least 1 candidate.")
        self.candidates = candidates

    def check(self, generator: GeneratorTask) -> None:
        """Refuse a generator of another skeleton; finished motions can be judged whatever space they come from."""
        own, other = self.objective.reward.skeleton, generator.skeleton
        if own != other:
            raise InputError(
                f"The reward judges motions of the skeleton {own!r}, but the generator makes {other!r}; take a reward "
                "trained on the generator's data."
            )

    def _sample(
        self,
        generator: GeneratorTask,
        captions: Sequence[str],
        lengths: Int[Tensor, "B"],
        seeds: Int[Tensor, "B"],
        exclude: Sequence[str] | None,
        options: dict[str, Any],
    ) -> Float[Tensor, "B F C"]:
        text, target = generator.encode_text(captions), self.objective.target(captions, exclude)
        best = generator.sample(text, lengths, seeds, **options)
        highest = self._score(best, lengths, target)
        for number in range(1, self.candidates):
            other = generator.sample(text, lengths, derive(seeds, f"candidate {number}"), **options)
            score = self._score(other, lengths, target)
            best = torch.where((score > highest)[:, None, None], other, best)
            highest = torch.maximum(score, highest)
        return best

    def _score(self, motion: Float[Tensor, "B F C"], lengths: Int[Tensor, "B"], target: Tensor) -> Float[Tensor, "B"]:
        """A motion without a number for its reward is worse than any other."""
        return self.objective.score(motion, lengths, target).nan_to_num(-torch.inf, posinf=torch.inf, neginf=-torch.inf)


def load_steering(
    way: SteeringName,
    reward: str | Path | EmbeddingTask,
    index: str | Path | MotionIndex | None = None,
    *,
    mu: float = 1.0,
    eta: float = 0.0,
    anchors: int = 1,
    temperature: float = 0.1,
    options: GuidanceOptions = DEFAULT_OPTIONS,
    through_decoder: bool = False,
    candidates: int = 4,
    trust_code: bool = False,
) -> Steering:
    """A steering from files, or from what was loaded before.

    Args:
        way: ``reward`` for guidance by its gradient, ``best-of`` for `BestOfN`.
        reward: Checkpoint or folder of a reward, or the reward, frozen and in evaluation mode.
        index: Folder of an index that this reward made, or the index.
        mu: Weight of the cosine to the caption.
        eta: Weight of the cosine to the anchor.
        anchors: Motions that make up an anchor.
        temperature: Of the softmax over several.
        options: When and how strongly to steer.
        through_decoder: Judge decoded motions, for a reward on features and a generator in latents.
        candidates: Motions a caption of `BestOfN`.
        trust_code: Let the reward's configuration name classes outside realign, whose code then runs.

    Raises:
        InputError: A file is missing, foreign or damaged, or as `RewardObjective`.
    """
    if way not in get_args(SteeringName):
        raise InputError(f"Unknown guidance {way!r}; choose one of {', '.join(get_args(SteeringName))}.")
    with torch.inference_mode(False):
        if not isinstance(reward, EmbeddingTask):
            reward = load_task(reward, EmbeddingTask, trust_code=trust_code)  # type: ignore[type-abstract]
            reward.requires_grad_(False)
        if isinstance(index, (str, Path)):
            index = MotionIndex.load(index)
        objective = RewardObjective(reward, index, mu, eta, anchors, temperature)
    if way == "best-of":
        return BestOfN(objective, candidates)
    return RewardSteering(objective, options, through_decoder)
