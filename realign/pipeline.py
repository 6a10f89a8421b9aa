"""Load once, call with sentences: what the commands are made of, and what notebooks use."""

from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from realign.errors import InputError
from realign.motion.clip import MotionClip
from realign.motion.features import features_to_joints
from realign.motion.skeleton import get_skeleton
from realign.seeding import mix_seed

if TYPE_CHECKING:
    from realign.tasks.generator import GeneratorTask

UNIT = 4  # frames: lengths are multiples of the unit that training crops to
SHORTEST, LONGEST = 20, 196  # frames


def pretrained_folder(name: str) -> Path:
    """The folder of weights that the package ships under `name`.

    Raises:
        InputError: When this installation carries no such weights.
    """
    folder = Path(str(files("realign"))) / "pretrained" / name
    if not folder.is_dir():
        raise InputError(f"This installation ships no weights called {name!r}; name a checkpoint with --checkpoint.")
    return folder


def pick_device(device: str) -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU; anything else is passed to torch and tried.

    Raises:
        InputError: When torch does not know the device or cannot use it here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"The device {device!r} cannot be used here ({reason}); try --device cpu.") from error
    return chosen


def read_sentences(texts: Sequence[str], file: Path | None = None) -> list[str]:
    """Sentences from the command line, then one a line from a file; blank lines of the file are passed over.

    Raises:
        InputError: For no sentence, a blank sentence, or a file that is not UTF-8 text.
    """
    sentences = list(texts)
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"{file} is not UTF-8 text; save the sentences as UTF-8, one a line.") from error
        sentences += [line.strip() for line in lines if line.strip()]
    return check_sentences(sentences)


def check_sentences(texts: Sequence[str]) -> list[str]:
    """Refuse an empty list and blank sentences.

    Raises:
        InputError: As said.
    """
    if isinstance(texts, str):
        raise InputError(f"Sentences come as a list, but got the text {texts!r}; write [{texts!r}].")
    if not texts:
        raise InputError('No sentence was given; write one, for example "a person walks forward".')
    for text in texts:
        if not text.strip():
            raise InputError(f'A sentence is blank ({text!r}); write one, for example "a person walks forward".')
    return [text.strip() for text in texts]


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
            features = self.task.sample(
                captions,
                torch.full((len(chunk),), frames, device=self.task.device),
                [torch.Generator().manual_seed(mix_seed(seed, text, number)) for text, number in chunk],
                steps=steps,
                guidance_scale=guidance_scale,
                scheduler=scheduler,
            )
            joints = features_to_joints(features.float().cpu(), self.skeleton)
            clips += [
                MotionClip(each.numpy(), self.skeleton.fps, text, self.skeleton.name)
                for each, text in zip(joints, captions, strict=True)
            ]
        return clips


def _chunks(items: list[tuple[str, int]], size: int) -> Iterator[list[tuple[str, int]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
