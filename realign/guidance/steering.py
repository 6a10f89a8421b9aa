"""Methods of guidance behind one interface: they sample a frozen generator so that it follows captions better."""

import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from realign.checkpoint.load import load_model
from realign.diffusion.steered import Steers
from realign.diffusion.windows import WindowPlan
from realign.errors import InputError
from realign.guidance.composed import Together, WindowedGuidance
from realign.guidance.config import USUAL, GuidanceConfig
from realign.guidance.gradient import Guidance, RewardGradient
from realign.guidance.match import check_match, needs_decoder
from realign.guidance.objective import RewardObjective
from realign.guidance.reward import ThroughDecoder, bind_guidance, check_embeddings
from realign.index.motion_index import MotionIndex
from realign.interfaces import TextToMotionModel
from realign.nn.diffusion import Diffusion
from realign.nn.embedder import JointEmbedding
from realign.seeding import derive
from realign.transfer import upload


class Steering(ABC):
    """Samples a generator under guidance, without changing its weights.

    Args:
        objective: The reward of motions, with its configuration.
    """

    def __init__(self, objective: RewardObjective) -> None:
        self.objective, self.config = objective, objective.config
        self._checked: weakref.ref[TextToMotionModel] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config!r}, by {self.objective.reward.fingerprint})"

    @abstractmethod
    def check(self, generator: TextToMotionModel) -> None:
        """Refuse a generator that the objective does not fit.

        Raises:
            InputError: As said.
        """

    def sample(
        self,
        generator: TextToMotionModel,
        captions: Sequence[str],
        lengths: Int[Tensor, "B"],
        seeds: Int[Tensor, "B"],
        exclude: Sequence[str] | None = None,
        **options: Any,
    ) -> Float[Tensor, "B F C"]:
        """Motions for captions; none depends on the others of its batch.

        Args:
            generator: Makes the motions.
            captions: One a motion, or one a window.
            lengths: Frames of each motion.
            seeds: One a motion: all its randomness.
            exclude: Id of each sample's own motion, which is not used as its anchor.
            options: Further options of the generator: steps, scheduler, guidance_scale, windows of a diffusion.

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
        generator: TextToMotionModel,
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


class GradientSteering(Steering):
    """Steers every sampling step by a gradient."""

    @abstractmethod
    def bound(
        self,
        generator: TextToMotionModel,
        captions: Sequence[str],
        lengths: Int[Tensor, "B"],
        seeds: Int[Tensor, "B"],
        exclude: Sequence[str] | None = None,
        plan: WindowPlan | None = None,
    ) -> Steers:
        """Guidance for one batch of motions, or of motions made of windows; arguments as in `sample`."""

    def _sample(
        self,
        generator: TextToMotionModel,
        captions: Sequence[str],
        lengths: Int[Tensor, "B"],
        seeds: Int[Tensor, "B"],
        exclude: Sequence[str] | None,
        options: dict[str, Any],
    ) -> Float[Tensor, "B F C"]:
        plan, beside = options.get("windows"), options.pop("guidance", None)
        guidance = self.bound(generator, captions, lengths, seeds, exclude, plan)
        return generator.sample(captions, lengths, seeds, guidance=Together.of(guidance, beside), **options)


class RewardSteering(GradientSteering):
    """Steers every sampling step by the gradient of the reward.

    Args:
        objective: The reward of motions.
    """

    def check(self, generator: TextToMotionModel) -> None:
        """Refuse a generator that is not a diffusion, or whose motions or noise the reward was not trained on."""
        check_embeddings(self.objective.reward.model, self.config)
        check_match(self.objective.reward, as_diffusion(generator), self.config.through_decoder, self.config.point)

    def guidance(
        self,
        generator: TextToMotionModel,
        captions: Sequence[str],
        lengths: Int[Tensor, "B"],
        exclude: Sequence[str] | None = None,
        seeds: Int[Tensor, "B"] | None = None,
    ) -> RewardGradient:
        """Guidance for one batch; arguments as in `sample`."""
        reward, generator = self.objective.reward, as_diffusion(generator)
        guidance = bind_guidance(self.objective, captions, exclude, seeds)
        decoded = self.config.through_decoder or needs_decoder(reward, generator)
        return ThroughDecoder(guidance, generator, reward, lengths) if decoded else guidance

    def bound(
        self,
        generator: TextToMotionModel,
        captions: Sequence[str],
        lengths: Int[Tensor, "B"],
        seeds: Int[Tensor, "B"],
        exclude: Sequence[str] | None = None,
        plan: WindowPlan | None = None,
    ) -> Guidance:
        """As in `GradientSteering`."""
        if plan is None:
            return self.guidance(generator, captions, lengths, exclude, seeds)
        windows = as_diffusion(generator).windows(plan)
        rows, starts = (upload(torch.tensor(each), seeds.device) for each in (plan.rows, plan.starts))
        own = torch.tensor(plan.window_lengths), exclude, derive(seeds[rows], "window", starts)
        return WindowedGuidance(self.guidance(generator, captions, *own), windows)


class BestOfN(Steering):
    """Samples several motions a caption and keeps the one with the highest reward; the first is the unguided one."""

    def check(self, generator: TextToMotionModel) -> None:
        """Refuse a generator of another skeleton; the reward reads finished motions of generators in any space."""
        own, other = self.objective.reward.skeleton, generator.skeleton
        if own != other:
            raise InputError(
                f"The reward reads motions of the skeleton {own!r}, but the generator makes {other!r}; take a reward "
                "trained on the generator's data."
            )

    def _sample(
        self,
        generator: TextToMotionModel,
        captions: Sequence[str],
        lengths: Int[Tensor, "B"],
        seeds: Int[Tensor, "B"],
        exclude: Sequence[str] | None,
        options: dict[str, Any],
    ) -> Float[Tensor, "B F C"]:
        target, plan = self.objective.target(captions, exclude), options.get("windows")
        text: Any = generator.encode_text(captions) if isinstance(generator, Diffusion) else captions  # encoded once
        best = generator.sample(text, lengths, seeds, **options)
        highest = self._score(best, lengths, target, plan)
        for number in range(1, self.config.candidates):
            other = generator.sample(text, lengths, derive(seeds, f"candidate {number}"), **options)
            score = self._score(other, lengths, target, plan)
            best = torch.where((score > highest)[:, None, None], other, best)
            highest = torch.maximum(score, highest)
        return best

    def _score(
        self, motion: Float[Tensor, "B F C"], lengths: Int[Tensor, "B"], target: Tensor, plan: WindowPlan | None
    ) -> Float[Tensor, "B"]:
        """Rewards of motions, the mean of their windows'; a NaN counts as the lowest."""
        if plan is None:
            score = self.objective.score(motion, lengths, target)
        else:
            windows, own = plan.of_frames(motion.device)
            score = windows.mean(self.objective.score(windows.cut(motion), own, target))
        return score.nan_to_num(-torch.inf, posinf=torch.inf, neginf=-torch.inf)


def as_diffusion(generator: TextToMotionModel) -> Diffusion:
    """The generator as a diffusion, which a gradient can steer.

    Raises:
        InputError: It is not a diffusion.
    """
    if not isinstance(generator, Diffusion):
        raise InputError(
            f"The gradient of a reward steers a diffusion, but the generator is a {type(generator).__name__}; keep the "
            "best of several motions instead (best-of)."
        )
    return generator


def load_steering(
    reward: str | Path | JointEmbedding,
    index: str | Path | MotionIndex | None = None,
    config: GuidanceConfig = USUAL,
    *,
    trust_code: bool = False,
) -> Steering:
    """A steering from files, or from what was loaded before.

    Args:
        reward: Checkpoint or folder of a reward, or the reward, frozen and in evaluation mode.
        index: Folder of an index that this reward made, or the index; needed where eta is not 0.
        config: The method and its options.
        trust_code: Let the reward's configuration name classes outside realign, whose code then runs.

    Raises:
        InputError: A file is missing, foreign or damaged, the method is ``none``, or as `RewardObjective`.
    """
    if config.method == "none":
        raise InputError("Guidance 'none' steers nothing; choose reward or best-of.")
    with torch.inference_mode(False):
        if not isinstance(reward, JointEmbedding):
            reward = load_model(reward, JointEmbedding, trust_code=trust_code)  # type: ignore[type-abstract]
            reward.requires_grad_(False)
        if isinstance(index, (str, Path)):
            index = MotionIndex.load(index)
        return steer(RewardObjective(reward, index, config))


def steer(objective: RewardObjective) -> Steering:
    """The steering of the objective's method."""
    return BestOfN(objective) if objective.config.method == "best-of" else RewardSteering(objective)
