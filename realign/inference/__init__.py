"""Models that are loaded once and called with captions or motions, by the commands and in notebooks."""

from realign.inference.common import (
    LONGEST,
    SHORTEST,
    UNIT,
    check_captions,
    pick_device,
    pretrained_folder,
    read_captions,
)
from realign.inference.constraining import keep
from realign.inference.hits import CaptionHit, MotionHit
from realign.inference.motion_search import MotionSearch
from realign.inference.objectives import read_path
from realign.inference.text_to_motion import TextToMotion
from realign.text.captions import caption_notes, foreign_captions

__all__ = [
    "LONGEST",
    "SHORTEST",
    "UNIT",
    "CaptionHit",
    "MotionHit",
    "MotionSearch",
    "TextToMotion",
    "check_captions",
    "foreign_captions",
    "pick_device",
    "pretrained_folder",
    "keep",
    "read_captions",
    "read_path",
    "caption_notes",
]
