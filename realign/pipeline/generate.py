"""Sentences to motions with a trained generator."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from realign.errors import InputError
from realign.motion.clip import MotionClip
from realign.motion.features import features_to_joints
from realign.motion.skeleton import get_skeleton
from realign.pipeline.common import UNIT, check_sentences, pick_device, pretrained_folder
from realign.seeding import mix_seed

if TYPE_CHECKING:
    from realign.tasks.generator import GeneratorTask
    from realign.tasks.steering import Steering, SteeringName

SHORTEST, LONGEST = 20, 196  # frames
_SHIPPED = {"reward": ("reward", "reward_index"), "best-of": ("retriever", "index")}


class TextToMotion:
    """A trained generator that turns sentences into motions.

    Args:
        task: A trained generator.
        seconds: Usual length of a motion when the caller names none.
    """

    def __init__(self, task: "GeneratorTask", seconds: float = 5.0) -> None:
        self.task = task.eval().requires_grad_(False)
        self.skeleton = get_skeleton(task.skeleton)
        self.seconds = seconds

    @classmethod
    def from_pretrained(cls, checkpoint: str | Path | None = None, device: str = "auto") -> "TextToMotion":
        """Load a generator.

        Args:
            checkpoint: A Lightning checkpoint or a folder of weights; None takes the weights in the package.
            device: auto, or any torch device.

        Raises:
            InputError: For a checkpoint of another kind, a damaged file, or a device that cannot be used.
        """
        from realign.tasks.checkpoint import load_task
        from realign.tasks.generator import GeneratorTask

        chosen = pick_device(device)
        task = load_task(pretrained_folder("generator") if checkpoint is None else Path(checkpoint), GeneratorTask)
        return cls(task.to(chosen))

    def load_guidance(
        self,
        way: "SteeringName" = "reward",
        reward: str | Path | None = None,
        index: str | Path | None = None,
        **options: Any,
    ) -> "Steering":
        """What `generate` takes as its guidance, from files; a reward that does not fit the generator is refused.

        Args:
            way: ``reward`` steers by the reward's gradient, ``best-of`` keeps the best of several motions.
            reward: Checkpoint or folder of a reward; None takes the weights in the package.
            index: Folder of an index that this reward made, where `eta` is not 0; None takes the one in the package.
            options: mu, eta, anchors, temperature, options, through_decoder and candidates of `load_steering`.

        Raises:
            InputError: A file is missing, foreign or damaged, or the reward was trained for another generator.
        """
        from realign.tasks.steering import load_steering

        weights, motions = _SHIPPED[way]
        reward = pretrained_folder(weights, "a reward with --reward") if reward is None else reward
        if index is None and options.get("eta"):
            index = pretrained_folder(motions, "an index made with the reward, with --index")
        steering = load_steering(way, reward, index, **options).to(self.task.device)
        steering.check(self.task)
        return steering

    def frames(self, seconds: float | None) -> int:
        """Frames of a motion of that length, a multiple of four.

        Raises:
            InputError: When the length is outside what generators of this kind are trained on.
        """
        fps = self.skeleton.fps
        seconds = self.seconds if seconds is None else seconds
        low, high = SHORTEST / fps, LONGEST / fps
        if not low <= seconds <= high:
            raise InputError(f"A motion of {seconds:g} s cannot be made; choose between {low:g} and {high:g} seconds.")
        return max(SHORTEST, min(LONGEST, UNIT * round(seconds * fps / UNIT)))

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
        guidance: "Steering | None" = None,
    ) -> list[MotionClip]:
        """Make `samples` motions for each sentence.

        A motion depends on its sentence, its number among the samples, `seed` and the sampling options; never on the
        other sentences or on `batch_size`.

        Args:
            texts: Sentences.
            seconds: Length of every motion (s); the usual length when None.
            samples: Motions for each sentence.
            seed: Non-negative seed.
            steps: Denoising steps; the generator's own number when None.
            guidance_scale: Classifier-free guidance scale; 1 turns it off.
            scheduler: ddim, ddpm, dpm or unipc; the generator's own when None.
            batch_size: Motions made at once.
            guidance: Reward guidance or the best of several motions, see `load_guidance`; None samples the generator
                as it is.

        Returns:
            Clips ordered by sentence, then sample; joints in metres (KIT: its own unit).

        Raises:
            InputError: For blank sentences or numbers outside their range.
        """
        wanted = [(text, number) for text in check_sentences(texts) for number in range(samples)]
        frames = self.frames(seconds)
        for name, value, low in (("samples", samples, 1), ("seed", seed, 0), ("batch size", batch_size, 1)):
            if value < low:
                raise InputError(f"The {name} must be at least {low}, but is {value}.")
        if steps is not None and not 1 <= steps <= 1000:
            raise InputError(f"The number of denoising steps must lie between 1 and 1000, but is {steps}.")
        clips: list[MotionClip] = []
        for chunk in _chunks(wanted, batch_size):
            captions = [text for text, _ in chunk]
            lengths = torch.full((len(chunk),), frames, device=self.task.device)
            draws = [torch.Generator().manual_seed(mix_seed(seed, text, number)) for text, number in chunk]
            options: dict[str, Any] = {"steps": steps, "guidance_scale": guidance_scale, "scheduler": scheduler}
            if guidance is None:
                features = self.task.sample(captions, lengths, draws, **options)
            else:
                features = guidance.sample(self.task, captions, lengths, draws, **options)
            joints = features_to_joints(features.float().cpu(), self.skeleton)
            clips += [
                MotionClip(each.numpy(), self.skeleton.fps, text, self.skeleton.name)
                for each, text in zip(joints, captions, strict=True)
            ]
        return clips


def _chunks(items: list[tuple[str, int]], size: int) -> Iterator[list[tuple[str, int]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
