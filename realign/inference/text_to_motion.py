"""Motions from captions by a trained generator."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from realign.checkpoint.load import load_model
from realign.errors import InputError, renamed
from realign.files import resolve_model
from realign.guidance.config import GuidanceConfig, Word, check_word
from realign.guidance.own import OwnGuidance
from realign.hub import HubName, with_revision
from realign.inference.clips import make_clips
from realign.inference.common import LONGEST, SHORTEST, UNIT, check_captions, pick_device, pretrained_folder
from realign.inference.guide import Guide
from realign.inference.hits import MotionHit, hits_of
from realign.inference.known import Known
from realign.inference.sequence import check_sequences, write_script
from realign.interfaces import TextToMotionModel, frozen
from realign.motion.clip import MotionClip
from realign.motion.familiarity import Familiarity, unlike_training
from realign.motion.skeleton import get_skeleton
from realign.nn.compiled import compile_networks
from realign.seeding import mix_seed
from realign.text.base import TextEncoder
from realign.text.captions import caption_notes, encoders_of, warn_about

if TYPE_CHECKING:
    from realign.guidance.objective import RewardObjective
    from realign.guidance.steering import Steering

Item = TypeVar("Item")
NOTHING_GUIDES = (
    "There is no guided motion to compare with the unguided one: the generator has no guidance of its own, or none was "
    "asked for; name a reward (--guidance reward or best-of)."
)


class TextToMotion:
    """Makes motions from captions by a trained generator.

    Args:
        task: A trained generator of any kind.
        seconds: Default length of a motion.
        guide: A reward and its index, which find lengths of motions by captions, and guide unless others are named.
        default: The default guidance; None is none.
        trust_code: Let the configurations of rewards name classes outside realign, whose code then runs.
        known: Folder of an index whose calibration tells which captions the generator knows.
    """

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

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | Path | None = None,
        device: str = "auto",
        reward: str | Path | None = None,
        index: str | Path | None = None,
        *,
        revision: str | None = None,
        trust_code: bool = False,
    ) -> "TextToMotion":
        """Load a generator.

        Args:
            checkpoint: A Lightning checkpoint, a folder of weights, a shipped name or ORG/NAME on the Hub, as for
                `--checkpoint`; None takes the weights in the package.
            device: auto, or any torch device.
            reward: The same, of the reward that made `index`; None takes the one that belongs to the
                generator, else the one in the package.
            index: Folder or shipped name of an index that finds the lengths of motions; None takes the one that belongs
                to the generator, if it has one, as the shipped one and folders with a `guidance.yaml` do.
            revision: Branch, tag or commit of `checkpoint` on the Hub; ORG/NAME@REVISION says the same.
            trust_code: Let the configurations of what is loaded name classes outside realign, whose code then runs.

        Raises:
            InputError: For a checkpoint of another kind, a damaged file, or a device that cannot be used.
        """
        chosen = pick_device(device)
        named = with_revision(pretrained_folder("generator") if checkpoint is None else checkpoint, revision)
        folder = resolve_model(named)
        own = OwnGuidance.read(folder)
        task = load_model(folder, TextToMotionModel, trust_code=trust_code, device=chosen)  # type: ignore[type-abstract]
        guide = None if own is None else Guide(own.reward, own.index, chosen, trust_code)
        known = resolve_model(index) if index is not None else None if own is None else own.known or own.index
        default = None if own is None else own.config
        model = cls(task, guide=guide, default=default, trust_code=trust_code, known=known)
        if index is not None:
            model.guide = model._guide(reward, index)
        return model

    def __repr__(self) -> str:
        numbers = self.task.parameters() if isinstance(self.task, torch.nn.Module) else ()
        size = sum(each.numel() for each in numbers) / 1e6
        guided = "unguided" if self.default is None else f"guided by {self.default}"
        model = f"{type(self.task).__name__}, {size:.1f} M parameters on {self.task.device}"
        return f"TextToMotion({model}, {self.skeleton.name} at {self.skeleton.fps:g} fps, {guided})"

    def compile(self) -> "TextToMotion":
        """Compile the networks of the generator, and those of rewards that are loaded later; return the model itself.

        It pays off for many motions: the first of each kind take a minute or more.

        Raises:
            InputError: torch cannot compile on this machine.
        """
        self._compiled = True
        compile_networks(self.task)
        return self

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

    def _steering(self, guidance: "Steering | Word | None") -> "Steering | None":
        """The guidance of a word, loaded once, or a loaded one unchanged.

        Raises:
            InputError: Another word or value, or no reward fits the generator.
        """
        from realign.guidance.steering import Steering

        if isinstance(guidance, Steering):
            return guidance
        method: str = check_word(guidance)
        if method == "default":
            method = "none" if self.default is None else self.default.method
        if method == "none":
            return None
        if method not in self._loaded:
            self._loaded[method] = self.load_guidance(method)
        return self._loaded[method]

    def _objective(self, steering: "Steering | None") -> "RewardObjective | None":
        """What rates motions: the reward that guides them, else the generator's own; None if there is none."""
        if steering is None:
            try:
                steering = self.default_guidance
            except InputError:  # a reward that is missing or does not fit keeps nobody from unguided motions
                return None
        return None if steering is None else steering.objective

    def anchors(self, texts: Sequence[str], guidance: "Steering | Word | None" = "default") -> list[list[MotionHit]]:
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
        texts = check_captions(texts)
        found = self.known.judge(texts)
        return [found.get(text) for text in texts]

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

    def generate(
        self,
        texts: Sequence[str],
        seconds: float | None = None,
        samples: int = 1,
        seed: int = 0,
        steps: int | None = None,
        guidance_scale: float | None = None,
        scheduler: str | None = None,
        batch_size: int = 32,
        guidance: "Steering | Word | None" = "default",
        cfg: float | None = None,
        *,
        compare: bool = False,
        raw: bool = False,
    ) -> list[MotionClip]:
        """Make `samples` motions for each caption.

        A motion depends on its caption, its number among the samples, `seed` and the sampling options, but not on the
        other captions or on `batch_size`.

        Args:
            texts: Captions.
            seconds: Length of every motion (s); None gives each caption its own, see `frames`.
            samples: Motions for each caption.
            seed: Non-negative seed.
            steps: Denoising steps; the generator's own number when None.
            guidance_scale: Classifier-free guidance scale; 1 turns it off.
            scheduler: ddim, ddpm, ancestral, dpm, unipc or lcm, of a flow euler or heun; the generator's own when None.
            batch_size: Motions made at once.
            guidance: As on the command line: ``default`` is the generator's own guidance, if it has one; ``none`` (or
                None) does not guide; ``reward`` and ``best-of`` guide by the generator's own reward. Or a guidance from
                `load_guidance`.
            cfg: Old name of `guidance_scale`.
            compare: Also make each motion unguided from the same noise, as `unguided` of its clip.
            raw: Keep the joints as the network says them. Otherwise motions are cleaned: bones have constant lengths
                and feet stand still where they touch the floor, see `realign.motion.cleaning`.

        Returns:
            Clips ordered by caption, then sample; joints in metres (KIT: its own unit). Each carries its reward, if
            there is one: that which guides, or of unguided motions that of the generator's own guidance.

        Raises:
            InputError: For blank captions or numbers outside their range, or nothing guides the motions to compare.
        """
        if cfg is not None:
            renamed("cfg", "guidance_scale")
            guidance_scale = cfg
        texts = check_captions(texts)
        options = self._options(samples, seed, batch_size, steps, guidance_scale, scheduler)
        steering = self._compared(guidance, compare)
        judged = self._judged(texts, steering)
        frames = {text: self.frames(text, seconds) for text in dict.fromkeys(texts)}
        wanted = [(text, number) for text in texts for number in range(samples)]
        clips: list[MotionClip] = []
        for chunk in _chunks(wanted, batch_size):
            captions = [text for text, _ in chunk]
            seeds = torch.tensor([mix_seed(seed, text, number) for text, number in chunk])
            clips += self._make(steering, compare, raw, captions, [frames[text] for text in captions], seeds, options)
        return _with_familiarity(clips, judged.get)

    def generate_sequence(
        self,
        parts: Sequence[tuple[str, float | None] | str],
        samples: int = 1,
        seed: int = 0,
        steps: int | None = None,
        guidance_scale: float | None = None,
        scheduler: str | None = None,
        batch_size: int = 8,
        guidance: "Steering | Word | None" = "default",
        *,
        compare: bool = False,
        raw: bool = False,
    ) -> list[MotionClip]:
        """Make motions that show captions one after the other, of up to ten minutes.

        Each part is made in windows of its own, which overlap with their neighbours and are blended with them at every
        step. A motion depends on the captions, their times, its number among the samples, `seed` and the sampling
        options. The other arguments are those of `generate`.

        Args:
            parts: Captions with their times: ``[("a person walks", 4), ("a person bows", 3)]``, in seconds; None, or a
                caption alone, takes the usual length, see `frames`.
            samples: Motions of the whole sequence.
            batch_size: Motions made at once.

        Returns:
            One clip a sample, whose caption joins those of the parts by semicolons, whose reward is the mean of the
            windows', and whose familiarity is that of the least familiar part.

        Raises:
            InputError: For blank captions, times that cannot be made, or a generator whose latents stand for whole
                motions.
        """
        options = self._options(samples, seed, batch_size, steps, guidance_scale, scheduler)
        script = write_script(parts, self.frames, self.skeleton.fps)
        if script.plan is not None:
            check_sequences(self.task)
        steering = self._compared(guidance, compare)
        judged = self._judged(script.captions, steering)
        least = min(judged.values(), key=float, default=None)
        clips: list[MotionClip] = []
        for chunk in _chunks(list(range(samples)), batch_size):
            if script.plan is not None:
                options["windows"] = script.plan.repeat(len(chunk))
            seeds = torch.tensor([mix_seed(seed, "\n".join(script.captions), number) for number in chunk])
            captions, lengths = script.windows * len(chunk), [sum(script.frames)] * len(chunk)
            name = "; ".join(script.captions)
            clips += self._make(steering, compare, raw, captions, lengths, seeds, options, [name] * len(chunk))
        return _with_familiarity(clips, lambda name: least)

    def _options(
        self,
        samples: int,
        seed: int,
        batch_size: int,
        steps: int | None,
        guidance_scale: float | None,
        scheduler: str | None,
    ) -> dict[str, Any]:
        """The options of sampling that were given; all arguments are checked."""
        for name, value, low in (("samples", samples, 1), ("seed", seed, 0), ("batch size", batch_size, 1)):
            if value < low:
                raise InputError(f"The {name} must be at least {low}, but is {value}.")
        if steps is not None and not 1 <= steps <= 1000:
            raise InputError(f"The number of denoising steps must lie between 1 and 1000, but is {steps}.")
        if guidance_scale is not None and not math.isfinite(guidance_scale):
            raise InputError(f"The scale of classifier-free guidance must be a finite number, but is {guidance_scale}.")
        asked = {"steps": steps, "guidance_scale": guidance_scale, "scheduler": scheduler}
        options = {name: value for name, value in asked.items() if value is not None}
        self.task.check_options(**options)
        return options

    def _compared(self, guidance: "Steering | Word | None", compare: bool) -> "Steering | None":
        """The guidance; one is needed to compare with unguided motions."""
        steering = self._steering(guidance)
        if compare and steering is None:
            raise InputError(NOTHING_GUIDES)
        return steering

    def _make(
        self,
        steering: "Steering | None",
        compare: bool,
        raw: bool,
        captions: list[str],
        frames: list[int],
        seeds: Int[Tensor, "B"],
        options: dict[str, Any],
        names: list[str] | None = None,
    ) -> list[MotionClip]:
        """The clips of one batch, each with the unguided one if it is compared; arguments as for `make_clips`."""
        objective, lengths = self._objective(steering), torch.tensor(frames, device=self.task.device)
        made = make_clips(self.task, steering, objective, captions, lengths, seeds, options, names, raw)
        if compare:
            plain = make_clips(self.task, None, objective, captions, lengths, seeds, options, names, raw)
            made = [replace(clip, unguided=other) for clip, other in zip(made, plain, strict=True)]
        return made


def _with_familiarity(
    clips: list[MotionClip], find: Callable[[str], Familiarity | None]
) -> list[MotionClip]:  # fmt: skip
    """The clips, and the unguided ones beside them, with the familiarity of their captions."""
    for clip in clips:
        for each in (clip,) if clip.unguided is None else (clip, clip.unguided):
            each.familiarity = find(clip.caption)
    return clips


def _chunks(items: list[Item], size: int) -> Iterator[list[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
