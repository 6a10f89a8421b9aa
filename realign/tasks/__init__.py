"""LightningModules, made of injected components."""

from typing import Any

from realign.errors import optional_packages, renamed

with optional_packages():
    from realign.tasks.base import Task
from realign.tasks.checkpoint import load_task, save_pretrained
from realign.tasks.embedding import MotionEmbeddings
from realign.tasks.evaluator import EvaluatorTask
from realign.tasks.generator import GeneratorTask
from realign.tasks.optim import WarmupCosine
from realign.tasks.retriever import RetrieverTask
from realign.tasks.reward import RewardTask
from realign.tasks.vae import VAETask

__all__ = [
    "EvaluatorTask",
    "GeneratorTask",
    "MotionEmbeddings",
    "RetrieverTask",
    "RewardTask",
    "Task",
    "VAETask",
    "WarmupCosine",
    "load_task",
    "save_pretrained",
]


def __getattr__(name: str) -> Any:
    if name == "EmbeddingTask":
        renamed("realign.tasks.EmbeddingTask", "realign.tasks.RewardTask")
        return RewardTask
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
