"""An evaluator task from the published files."""

from pathlib import Path
from typing import Any

from realign.checkpoint.official.guo import adopt_weights, read_glove, read_statistics, read_weights
from realign.errors import InputError
from realign.evaluators.guo import GuoEvaluator
from realign.losses.pairs import MarginContrast
from realign.motion.skeleton import HUMANML3D, KIT
from realign.tasks.checkpoint import save_pretrained
from realign.tasks.evaluator import EvaluatorTask

WEIGHTS = Path("text_mot_match/model/finest.tar")
META = {"humanml3d": Path("Comp_v6_KLD01/meta"), "kit": Path("Comp_v6_KLD005/meta")}


def adopt_official(folder: Path, glove: Path, output: Path, meta: Path | None = None) -> EvaluatorTask:
    """Turn the published evaluator into a folder that `load_task` reads.

    Args:
        folder: `t2m` or `kit` as unpacked, with text_mot_match/model/finest.tar.
        glove: Folder of the word vectors.
        output: Folder to write.
        meta: Folder of mean.npy and std.npy; the usual place inside `folder` when None.

    Returns:
        The task, in evaluation mode.

    Raises:
        InputError: A file is missing, has another shape, or asks for code.
    """
    path = folder / WEIGHTS
    weights = read_weights(path)
    first = weights["movement_encoder"].get("main.0.weight")
    channels = None if first is None or first.ndim != 3 else first.shape[1]
    skeletons = {each.num_features - 4: each for each in (HUMANML3D, KIT)}
    if channels not in skeletons:
        raise InputError(
            f"The movement_encoder of {path} reads {channels} channels, but {' or '.join(map(str, skeletons))} are "
            "published; take the published finest.tar."
        )
    skeleton = skeletons[channels]
    words, vectors, unknown = read_glove(glove)
    statistics = read_statistics(meta or folder / META[skeleton.name], skeleton.num_features)
    options: dict[str, Any] = {"features": skeleton.num_features, "vocabulary": len(words), "learn_vectors": False}
    evaluator = GuoEvaluator(**options)
    adopt_weights(evaluator, weights, path)
    evaluator.words.adopt(words, vectors, unknown)
    task = EvaluatorTask(evaluator, MarginContrast(), skeleton=skeleton.name)
    task.normalizer.fit(*statistics)
    save_pretrained(task, output, _config(options, skeleton.name))
    return task.eval()


def _config(options: dict[str, Any], skeleton: str) -> dict[str, Any]:
    """What builds the task again."""
    parts = {
        "evaluator": {"class_path": "realign.evaluators.GuoEvaluator", "init_args": options},
        "contrast": {"class_path": "realign.losses.MarginContrast"},
        "skeleton": skeleton,
    }
    return {"class_path": "realign.tasks.EvaluatorTask", "init_args": parts}
