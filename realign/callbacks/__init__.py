from realign.callbacks.recall_by_noise import RecallByNoise, draw_recall, read_curve
from realign.callbacks.sample_writer import SampleWriter

__all__ = ["RecallByNoise", "SampleWriter", "draw_recall", "read_curve"]
