from realign.errors import optional_packages

with optional_packages():
    from realign.callbacks.ema import EMA
from realign.callbacks.index_builder import IndexBuilder
from realign.callbacks.prediction_writer import PredictionWriter
from realign.callbacks.recall_by_noise import RecallByNoise, draw_recall, read_curve
from realign.callbacks.reward_guided_sampling import RewardGuidedSampling
from realign.callbacks.sample_writer import SampleWriter
from realign.inference.build_index import build_index

__all__ = [
    "EMA",
    "IndexBuilder",
    "PredictionWriter",
    "RecallByNoise",
    "RewardGuidedSampling",
    "SampleWriter",
    "build_index",
    "draw_recall",
    "read_curve",
]
