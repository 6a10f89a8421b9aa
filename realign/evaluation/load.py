"""Load an evaluation from files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from realign.checkpoint.load import load_model
from realign.errors import InputError
from realign.evaluation.clips import EvaluationClips
from realign.evaluation.evaluation import Evaluation
from realign.evaluation.models import evaluator_name, load_evaluator
from realign.evaluation.settings import PROTOCOLS, Precision
from realign.files import named_path, resolve_model
from realign.guidance.own import OwnGuidance
from realign.index.motion_index import MotionIndex
from realign.inference.common import pretrained_folder
from realign.interfaces import TextToMotionModel
from realign.nn.embedder import JointEmbedding


def load_evaluation(
    data: str | Path,
    *,
    generator: str | Path | None = None,
    evaluators: Sequence[str | Path] = (),
    reward: str | Path | None = None,
    index: str | Path | None = None,
    protocol: str = "guo",
    guided: bool | None = None,
    anchored: bool | None = None,
    device: torch.device | str = "cpu",
    batch_size: int = 32,
    precision: Precision = "fp32",
    trust_code: bool = False,
    **clips: Any,
) -> Evaluation:
    """An evaluation from files.

    Args:
        data: Folder written by `realign prepare`.
        generator: A .ckpt, a folder of weights, a shipped name or ORG/NAME on the Hub; None takes the weights in the
            package.
        evaluators: The same, or NAME=PATH, see `named_path`; the one in the package when empty.
        reward: The same, of a reward.
        index: Folder or shipped name of an index that this reward made.
        protocol: Name of a protocol.
        guided: Whether any setting guides: then a reward is loaded, by default the generator's own, else the one in the
            package. None: if the generator has its own guidance, which `Evaluation.run` measures by default.
        anchored: Whether any setting uses anchors: then the index of that reward is loaded if none is named. None: if
            the generator's own guidance uses them.
        device: A torch device.
        batch_size: Motions made at once.
        precision: What the generator computes in.
        trust_code: Let the configurations of what is loaded name classes outside realign, whose code then runs.
        clips: split, kind, limit and seed of `EvaluationClips`.

    Raises:
        InputError: A file is missing, foreign or damaged, an unknown protocol, or as `Evaluation`.
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"The protocol {protocol!r} is unknown; choose one of {', '.join(PROTOCOLS)}.")
    chosen = EvaluationClips(data, **clips)  # first, so that a wrong path fails before models are loaded
    given = list(evaluators) or [pretrained_folder("evaluator", "one with --evaluator")]
    named = [(None, each) if isinstance(each, Path) else named_path(each) for each in given]
    names = [evaluator_name(path) if name is None else name for name, path in named]
    if "" in names:
        raise InputError(f"The evaluator {given[names.index('')]!r} has no name; write PATH or NAME=PATH.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"Two evaluators are called {twice!r}; name them apart with NAME=PATH.")
    folder = pretrained_folder("generator") if generator is None else resolve_model(generator)
    own = OwnGuidance.read(folder)
    guided = own is not None if guided is None else guided
    anchored = own is not None and bool(own.config.eta) if anchored is None else anchored
    if reward is None and guided:
        if own is not None:
            reward, belongs = own.reward, own.index
        else:
            reward = pretrained_folder("reward", "a reward with --reward")
            belongs = pretrained_folder("reward_index", "an index made with the reward, with --index")
        index = belongs if index is None and anchored else index
    with torch.inference_mode(False):
        model = load_model(folder, TextToMotionModel, trust_code=trust_code, device=device)  # type: ignore[type-abstract]
        guide = None
        if reward is not None:
            guide = load_model(reward, JointEmbedding, trust_code=trust_code)  # type: ignore[type-abstract]
    return Evaluation(
        model,
        chosen,
        {name: load_evaluator(path, trust_code=trust_code) for name, (_, path) in zip(names, named, strict=True)},
        PROTOCOLS[protocol],
        reward=None if guide is None else guide.requires_grad_(False),
        index=None if index is None else MotionIndex.load(resolve_model(index)),
        default=None if own is None else own.config,
        batch_size=batch_size,
        precision=precision,
    )
