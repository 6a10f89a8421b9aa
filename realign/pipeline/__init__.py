"""Load once, call with sentences or motions: what the commands are made of, and what notebooks use."""

from realign.checkpoint.guidance import DefaultGuidance
from realign.pipeline.common import (
    UNIT,
    check_sentences,
    pick_device,
    pretrained_folder,
    read_sentences,
)
from realign.pipeline.generate import LONGEST, SHORTEST, TextToMotion
from realign.pipeline.hits import CaptionHit, MotionHit
from realign.pipeline.search import MotionSearch
from realign.text.sentences import foreign_sentences, sentence_notes

__all__ = [
    "LONGEST",
    "SHORTEST",
    "UNIT",
    "CaptionHit",
    "DefaultGuidance",
    "MotionHit",
    "MotionSearch",
    "TextToMotion",
    "check_sentences",
    "foreign_sentences",
    "pick_device",
    "pretrained_folder",
    "read_sentences",
    "sentence_notes",
]
