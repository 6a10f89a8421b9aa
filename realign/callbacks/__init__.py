from realign.callbacks.sample_writer import SampleWriter

__all__ = ["SampleWriter"]
