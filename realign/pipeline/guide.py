"""What lies beside a generator: a reward with its index, and the guidance by it that is taken where none is named."""

from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
import yaml

from realign.diffusion.guidance import DEFAULT_OPTIONS, GuidanceOptions
from realign.errors import InputError
from realign.index.motion_index import MotionIndex
from realign.motion.skeleton import get_skeleton
from realign.nn.saved import GUIDANCE

if TYPE_CHECKING:
    from realign.tasks.embedding import EmbeddingTask

_HITS = 10  # of them the median: on mocap, 10 to 20 came nearest to the lengths of recorded clips


@dataclass(frozen=True)
class DefaultGuidance:
    """How a generator is guided where nobody says otherwise; `guidance.yaml` beside its weights holds these fields.

    Attributes:
        reward: Folder of the reward, as seen from the folder that holds the generator's.
        index: Folder of an index that this reward made.
        mu: Weight of the cosine to the caption.
        eta: Weight of the cosine to the anchor.
        anchors: Motions that make up an anchor.
        temperature: Of the softmax over several.
        through_decoder: Judge decoded motions, for a reward on features and a generator in latents.
        candidates: Motions that the best is taken of, where that is asked for.
        options: When and how strongly to steer.
    """

    reward: str = "reward"
    index: str = "reward_index"
    mu: float = 1.0
    eta: float = 0.0
    anchors: int = 1
    temperature: float = 0.1
    through_decoder: bool = False
    candidates: int = 4
    options: GuidanceOptions = DEFAULT_OPTIONS

    @classmethod
    def read(cls, folder: str | Path) -> "DefaultGuidance | None":
        """What the folder of a generator says; None where it says nothing.

        Raises:
            InputError: A file that cannot be read, with unknown names or values that do not fit.
        """
        path = Path(folder) / GUIDANCE
        if not path.is_file():
            return None
        from jsonargparse import ArgumentError, ArgumentParser

        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(cls, "guidance")
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise TypeError("it holds no names with values")
            return parser.instantiate_classes(parser.parse_object({"guidance": content})).guidance
        except (ArgumentError, TypeError, ValueError, yaml.YAMLError) as error:
            detail = " ".join(str(error).split())[:300]
            raise InputError(f"{path} does not describe a guidance ({detail}); correct or remove it.") from error

    def beside(self, folder: Path) -> tuple[Path, Path]:
        """Reward and index that belong to the generator of a folder."""
        home = folder.resolve().parent  # the folder may be "."
        return home / self.reward, home / self.index

    def override(self, given: dict[str, Any]) -> "DefaultGuidance":
        """The same but for what is given: fields by their names, and fields of `options` by theirs.

        Raises:
            InputError: A value that makes no sense.
        """
        parts = {each.name: given[each.name] for each in fields(GuidanceOptions) if each.name in given}
        whole = {name: value for name, value in given.items() if name not in parts}
        changed = replace(self, **whole)
        return replace(changed, options=replace(changed.options, **parts))

    def words(self) -> dict[str, Any]:
        """What it says by the words of a `Setting`, options by their own."""
        told = self.steering()
        return told | asdict(told.pop("options"))

    def steering(self) -> dict[str, Any]:
        """What `load_steering` takes besides the files."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("reward", "index")}


class Guide:
    """A reward and an index that it made; each is loaded when it is first needed, and once.

    Args:
        reward: Checkpoint or folder of the reward.
        index: Folder of the index.
        device: Where the reward works.
    """

    def __init__(self, reward: Path, index: Path, device: torch.device) -> None:
        self.paths, self.device = (reward, index), device

    @cached_property
    def reward(self) -> "EmbeddingTask":
        """The reward, frozen and in evaluation mode.

        Raises:
            InputError: The file is missing, foreign or damaged.
        """
        from realign.tasks.checkpoint import load_task
        from realign.tasks.embedding import EmbeddingTask

        with torch.inference_mode(False):  # gradients will flow through it
            return load_task(self.paths[0], EmbeddingTask).requires_grad_(False).to(self.device)

    @cached_property
    def index(self) -> MotionIndex:
        """The index.

        Raises:
            InputError: It is missing or damaged, or another model made it.
        """
        return MotionIndex.load(self.paths[1], self.reward.fingerprint)

    def seconds(self, sentence: str) -> float | None:
        """Median length (s) of the motions that the index finds for a sentence; None where it knows no lengths."""
        with torch.inference_mode(False), torch.no_grad():
            query = self.reward.embed_captions([sentence])  # alone: a batch may change the last bits, and a rank
        (found,) = self.index.search(query, min(_HITS, len(self.index))).items
        frames = [item.frames for item in found if item.frames]
        return median(frames) / get_skeleton(self.reward.skeleton).fps if frames else None
