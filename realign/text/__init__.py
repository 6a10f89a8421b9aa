"""Frozen sentence encoders; the libraries behind them are imported when their weights are first needed."""

from realign.text.base import FrozenTextEncoder, TextEncoder
from realign.text.cache import CachedTextEncoder
from realign.text.hashing import HashingEncoder
from realign.text.huggingface import HuggingFaceEncoder
from realign.text.minilm import MiniLMEncoder
from realign.text.open_clip import OpenClipEncoder
from realign.text.without_text import ZeroWithoutText

__all__ = [
    "CachedTextEncoder",
    "FrozenTextEncoder",
    "HashingEncoder",
    "HuggingFaceEncoder",
    "MiniLMEncoder",
    "OpenClipEncoder",
    "TextEncoder",
    "ZeroWithoutText",
]
