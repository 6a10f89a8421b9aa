"""LightningModules: what is trained, made of injected parts."""

from realign.tasks.base import Task
from realign.tasks.checkpoint import load_task, save_pretrained
from realign.tasks.embedding import EmbeddingTask, MotionEmbeddings
from realign.tasks.evaluator import EvaluatorTask
from realign.tasks.generator import GeneratorTask
from realign.tasks.guidance import RewardGuidance, ThroughDecoder
from realign.tasks.objective import RewardObjective
from realign.tasks.optim import WarmupCosine
from realign.tasks.retriever import RetrieverTask
from realign.tasks.reward import RewardTask
from realign.tasks.steering import BestOfN, RewardSteering, Steering, load_steering
from realign.tasks.vae import VAETask

__all__ = [
    "BestOfN",
    "EmbeddingTask",
    "EvaluatorTask",
    "GeneratorTask",
    "MotionEmbeddings",
    "RetrieverTask",
    "RewardGuidance",
    "RewardObjective",
    "RewardSteering",
    "RewardTask",
    "Steering",
    "Task",
    "ThroughDecoder",
    "VAETask",
    "WarmupCosine",
    "load_steering",
    "load_task",
    "save_pretrained",
]
