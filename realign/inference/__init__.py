"""Load once, call with sentences or motions: what the commands are made of, and what notebooks use."""

from realign.inference.common import (
    UNIT,
    check_sentences,
    pick_device,
    pretrained_folder,
    read_sentences,
)
from realign.inference.hits import CaptionHit, MotionHit
from realign.inference.motion_search import MotionSearch
from realign.inference.text_to_motion import LONGEST, SHORTEST, TextToMotion
from realign.text.sentences import foreign_sentences, sentence_notes

__all__ = [
    "LONGEST",
    "SHORTEST",
    "UNIT",
    "CaptionHit",
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
