"""Motions from captions by a trained generator."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from realign.checkpoint.load import load_model
from realign.errors import renamed
from realign.files import resolve_model
from realign.guidance.config import Word
from realign.guidance.own import OwnGuidance
from realign.hub import with_revision
from realign.inference.clips import ClipMaker, with_familiarity
from realign.inference.common import (
    check_captions,
    pick_device,
    pretrained_folder,
    sampling_options,
)
from realign.inference.constraining import Constrained, frames_asked
from realign.inference.guide import Guide
from realign.inference.guided import GuidedGenerator
from realign.inference.sequence import check_sequences, write_script
from realign.interfaces import TextToMotionModel
from realign.motion.clip import MotionClip
from realign.nn.compiled import compile_networks
from realign.seeding import mix_seed

if TYPE_CHECKING:
    from realign.guidance.constrained import ConstraintConfig
    from realign.guidance.constraints import Constraint
    from realign.guidance.steering import Steering

Item = TypeVar("Item")


class TextToMotion(GuidedGenerator):
    """Makes motions from captions by a trained generator.

    Args:
        task: A trained generator of any kind.
        seconds: Default length of a motion.
        guide: A reward and its index, which find lengths of motions by captions, and guide unless others are named.
        default: The default guidance; None is none.
        trust_code: Let the configurations of rewards name classes outside realign, whose code then runs.
        known: Folder of an index whose calibration tells which captions the generator knows.
    """

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
        guidance: "Steering | Sequence[Steering] | Word | None" = "default",
        cfg: float | None = None,
        *,
        compare: bool = False,
        raw: bool = False,
        constraints: Sequence["Constraint"] = (),
        constraining: "ConstraintConfig | None" = None,
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
                `load_guidance`; a list of several adds their gradients, each with its own strength and window.
            cfg: Old name of `guidance_scale`.
            compare: Also make each motion unguided from the same noise, as `unguided` of its clip.
            raw: Keep the joints as the network says them. Otherwise motions are cleaned: bones have constant lengths
                and feet stand still where they touch the floor, see `realign.motion.cleaning`.
            constraints: What every motion should meet beside its caption, see `realign.guidance.constraints`. What
                cleaning moves of it is put back.
            constraining: When and how strongly constraints steer.

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
        options = sampling_options(self.task, samples, seed, batch_size, steps, guidance_scale, scheduler)
        steering = self._compared(guidance, compare)
        judged = self._judged(texts, steering)
        if constraints and seconds is None:
            frames = dict.fromkeys(texts, frames_asked(constraints, self.skeleton.fps))
        else:
            frames = {text: self.frames(text, seconds) for text in dict.fromkeys(texts)}
        bound = Constrained(constraints, self.task, frames[texts[0]], constraining) if constraints else None
        maker = ClipMaker(self.task, steering, self._objective(steering), options, compare, raw, bound)
        wanted = [(text, number) for text in texts for number in range(samples)]
        clips: list[MotionClip] = []
        for chunk in _chunks(wanted, batch_size):
            captions = [text for text, _ in chunk]
            seeds = torch.tensor([mix_seed(seed, text, number) for text, number in chunk])
            clips += maker.make(captions, [frames[text] for text in captions], seeds)
        return with_familiarity(clips, judged.get)

    def generate_sequence(
        self,
        parts: Sequence[tuple[str, float | None] | str],
        samples: int = 1,
        seed: int = 0,
        steps: int | None = None,
        guidance_scale: float | None = None,
        scheduler: str | None = None,
        batch_size: int = 8,
        guidance: "Steering | Sequence[Steering] | Word | None" = "default",
        *,
        compare: bool = False,
        raw: bool = False,
        constraints: Sequence["Constraint"] = (),
        constraining: "ConstraintConfig | None" = None,
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
        options = sampling_options(self.task, samples, seed, batch_size, steps, guidance_scale, scheduler)
        script = write_script(parts, self.frames, self.skeleton.fps)
        if script.plan is not None:
            check_sequences(self.task)
        steering = self._compared(guidance, compare)
        judged = self._judged(script.captions, steering)
        least = min(judged.values(), key=float, default=None)
        bound = Constrained(constraints, self.task, sum(script.frames), constraining) if constraints else None
        maker = ClipMaker(self.task, steering, self._objective(steering), options, compare, raw, bound)
        name, clips = "; ".join(script.captions), list[MotionClip]()
        for chunk in _chunks(list(range(samples)), batch_size):
            seeds = torch.tensor([mix_seed(seed, "\n".join(script.captions), number) for number in chunk])
            captions, lengths = script.windows * len(chunk), [sum(script.frames)] * len(chunk)
            plan = None if script.plan is None else script.plan.repeat(len(chunk))
            clips += maker.make(captions, lengths, seeds, [name] * len(chunk), plan)
        return with_familiarity(clips, lambda name: least)


def _chunks(items: list[Item], size: int) -> Iterator[list[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
