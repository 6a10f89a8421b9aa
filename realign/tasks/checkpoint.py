"""Tasks from files: Lightning checkpoints and folders of weights. Pickled code is never executed."""

from pathlib import Path
from typing import TypeVar

from realign.checkpoint.export import save_pretrained
from realign.tasks.base import Task

__all__ = ["load_task", "save_pretrained"]
TaskType = TypeVar("TaskType", bound=Task)


def load_task(path: str | Path, kind: type[TaskType] = Task, *, trust_code: bool = False) -> TaskType:  # type: ignore[assignment]
    """Rebuild a trained task, in evaluation mode on the CPU; averaged weights where the training kept some.

    Args:
        path: A Lightning checkpoint written by `realign fit`, or a folder written by `save_pretrained`.
        kind: The class of task that is expected.
        trust_code: Let its configuration name classes outside realign, whose code then runs.

    Raises:
        InputError: When the file is missing, damaged, foreign, names such a class, or holds another kind of task.
    """
    return kind.load_from_checkpoint(path, trust_code=trust_code)
