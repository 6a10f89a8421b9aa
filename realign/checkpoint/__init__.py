"""Reading of foreign checkpoints, which are checked and rebuilt without executing anything in them."""

from realign.checkpoint.admission import admit
from realign.checkpoint.export import save_pretrained
from realign.checkpoint.load import load_model
from realign.checkpoint.rebuild import rebuild
from realign.checkpoint.saved import Saved, class_and_options, fill, read_saved
from realign.checkpoint.tensors import read_tensors

__all__ = [
    "Saved",
    "admit",
    "class_and_options",
    "fill",
    "load_model",
    "read_saved",
    "read_tensors",
    "rebuild",
    "save_pretrained",
]
