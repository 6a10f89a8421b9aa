"""What measures motions in an evaluation: evaluators, and the reward that may guide it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad

from realign.checkpoint.load import load_model
from realign.data.caption_tables import caption_tokens
from realign.data.store import PackedMotions
from realign.errors import InputError
from realign.evaluation.clips import EvaluationClips
from realign.interfaces import MotionTextModel
from realign.text.base import TextEncoder

PAD_TO = 196  # frames: published figures depend on the padding that the evaluator saw
_CHUNK = 128  # captions embedded at once
_TRIED = 8  # recorded motions that show whether a model's weights are whole
_SMALL = 64  # numbers: smaller tensors, or constant ones, may be equal by chance


def load_evaluator(path: str | Path, *, trust_code: bool = False) -> MotionTextModel:
    """An evaluator, or a reward or retriever that serves as one, frozen.

    Args:
        path: A checkpoint or folder of weights.
        trust_code: Let its configuration name classes outside realign, whose code then runs.

    Raises:
        InputError: The file is missing or damaged, or holds a model that does not embed motions.
    """
    with torch.inference_mode(False):
        return load_model(path, MotionTextModel, trust_code=trust_code).requires_grad_(False)  # type: ignore[type-abstract]


def evaluator_name(path: str | Path) -> str:
    """What the table calls an evaluator: its folder, or its run's where the file is one of several checkpoints."""
    path = Path(path).absolute()
    return path.parent.name if path.stem in ("last", "best") else path.stem


class EvaluationModels:
    """Evaluators, and the reward, with their embeddings of all captions, computed once.

    Args:
        models: Evaluators and reward by name.
        clips: The clips whose captions and motions they embed.
        device: Where they work.

    Raises:
        InputError: As `check_motions`, or a model makes NaN of captions or recorded motions.
    """

    def __init__(self, models: Mapping[str, MotionTextModel], clips: EvaluationClips, device: torch.device) -> None:
        self.by_name = dict(models)
        for name, model in self.by_name.items():
            check_motions(name, model, clips.packed)
        captions = clips.captions()
        reading = any(type(model).take_tokens is not MotionTextModel.take_tokens for model in models.values())
        tokens = caption_tokens(clips.packed) if reading else {}
        self._row = {caption: row for row, caption in enumerate(captions)}
        self._text: dict[str, Tensor] = {}
        tried = next(clips.batches(clips.places, "real", _TRIED))
        for name, model in self.by_name.items():
            with torch.inference_mode(False):
                model.to(device)
            model.take_tokens(tokens)
            with torch.no_grad():
                parts = [captions[start : start + _CHUNK] for start in range(0, len(captions), _CHUNK)]
                self._text[name] = torch.cat([model.embed_captions(part).float() for part in parts])
            embedded = self.motions(name, tried.motion.to(device), tried.lengths)
            if not all(bool(each.isfinite().all()) for each in (self._text[name], embedded)):
                raise InputError(
                    f"{name} makes NaN of captions or recorded motions; its weights or statistics are damaged, export "
                    "it again."
                )

    def text(self, name: str, captions: Sequence[str]) -> Float[Tensor, "B E"]:
        """Embeddings of captions of the clips by one model."""
        return self._text[name][[self._row[caption] for caption in captions]]

    @torch.no_grad()
    def motions(self, name: str, motion: Float[Tensor, "B F C"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B E"]:
        """Embeddings of motions by one model; of one with a value that is not finite, NaN.

        Args:
            name: Of the model.
            motion: Motion features, not normalised.
            lengths: Frames of each.
        """
        finite = motion.isfinite().flatten(1).all(1)
        shown = pad(motion.masked_fill(~finite[:, None, None], 0), (0, 0, 0, max(0, PAD_TO - motion.shape[1])))
        embedded = self.by_name[name].embed_motions(shown, lengths).float()
        return embedded.masked_fill(~finite[:, None], torch.nan)


def check_motions(name: str, model: MotionTextModel, packed: PackedMotions) -> None:
    """Refuse a model of other motions.

    Args:
        name: What it is called.
        model: An evaluator or a reward.
        packed: What it is to measure.

    Raises:
        InputError: Its skeleton or width differ, or it has no statistics.
    """
    width = len(model.normalizer.mean)
    if width != packed.num_features:
        raise InputError(
            f"{name} reads motions of {width} features a frame, but {packed.folder} holds "
            f"{packed.num_features}; take one trained on these data."
        )
    if not bool(model.normalizer.fitted):
        raise InputError(
            f"{name} has no statistics (Mean and Std) to normalise motions with; export it again from a trained "
            "checkpoint."
        )
    if model.skeleton != packed.skeleton:
        raise InputError(
            f"{name} reads the skeleton {model.skeleton!r}, but {packed.folder} shows "
            f"{packed.skeleton!r}; take one trained on these data."
        )


def check_independent(name: str, evaluator: MotionTextModel, reward: MotionTextModel) -> None:
    """Refuse an evaluator that shares trained weights with the reward, since guidance maximises that reward.

    Frozen text encoders may be the same. Weights that were stored in half precision count as those they came from.

    Args:
        name: What the evaluator is called.
        evaluator: The evaluator.
        reward: The reward that guides.

    Raises:
        InputError: As said.
    """
    own = {value for _, value in _trained(reward)}
    shared = next((parameter for parameter, value in _trained(evaluator) if value in own), None)
    if shared is not None:
        raise InputError(
            f"The evaluator {name} shares weights with the reward ({shared}), so that its measures would only repeat "
            "what guidance maximised; take an evaluator that was trained independently."
        )


def _trained(task: nn.Module) -> Iterator[tuple[str, bytes]]:
    """Parameters outside text encoders: name, and values in half precision."""
    frozen = tuple(f"{name}." for name, module in task.named_modules() if isinstance(module, TextEncoder))
    for name, value in task.named_parameters():
        small = value.numel() < _SMALL or bool((value == value.flatten()[0]).all())
        if not small and not name.startswith(frozen):
            yield name, value.detach().cpu().half().contiguous().numpy().tobytes()
