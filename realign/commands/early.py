"""Checks of options before anything heavy is imported or downloaded.

The tables hold for every command that has an option of that name. What Python can also be asked is checked again where
it is used.
"""

import argparse
import math
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from realign.errors import InputError
from realign.evaluation.settings import PROTOCOLS, check_words
from realign.file_names import READ_MOTIONS, WRITTEN_MOTIONS
from realign.files import local_path, local_set, missing, missing_model, read_lines, split_name, sweep
from realign.guidance.config import GuidanceConfig, option_flag
from realign.guidance.ranges import read_range
from realign.spelling import suggestion

_MODELS = ("checkpoint", "generator", "reward", "retriever", "evaluator")
_INDEXES = ("index", "indexes")
_FILES = (
    "file",
    "captions",
    "rig",
    "humanml3d",
    "body_models",
    "stats",
    "meta",
    "args",
    "opt",
    "glove",
    "unlike",
    "path",
    "objectives",
)
_LEAST: dict[str, float] = {
    "samples": 1, "seed": 0, "steps": 1, "k": 1, "threads": 1, "devices": 1, "workers": 1, "batch_size": 1, "limit": 1,
    "replications": 1, "mm_replications": 0, "aits": 0, "smooth": 0, "tolerance": 0, "waiting": 1, "port": 0,
}  # fmt: skip
_ABOVE_0 = ("seconds",)
_MOST: dict[str, float] = {"steps": 1000, "port": 65535}
_SUFFIXES = {
    **dict.fromkeys(("generate", "render"), WRITTEN_MOTIONS),
    **dict.fromkeys(("evaluate", "calibrate"), (".json",)), "sweep": (".csv",), "tune-guidance": (".yaml",),
}  # fmt: skip
"""Suffixes of the file that a command writes; the other commands make a folder."""
_SPLITS = ("train", "val", "test", "all")


def check(options: argparse.Namespace) -> None:
    """Refuse numbers out of range, unknown names, inputs that are missing and outputs that cannot be written.

    Raises:
        InputError: As said, with the option, its value and the remedy.
    """
    for name, value in _given(options):
        _check_number(name, value)
    for name, value in _given(options):
        _check_name(options, name, value)
    other = {"generate": "sequence", "search": "motion"}.get(options.command)
    if other is not None and not getattr(options, other):
        _check_captions(options)
    for name, value in _given(options):
        _check_input(options, name, value)
    for name in ("render", "output"):
        value = getattr(options, name, None)
        if isinstance(value, (str, Path)):
            _check_output(Path(value), "--render" if name == "render" else "-o", _suffixes(options, name))


def _given(options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Names and values of options, of lists each value."""
    for name, value in vars(options).items():
        for each in value if isinstance(value, (list, tuple)) else [value]:
            if each is not None:
                yield name, each


def _flag(name: str) -> str:
    return "-k" if name == "k" else f"--{name.replace('_', '-')}"


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    guiding = GuidanceConfig.options().get(name)
    flag = option_flag(name) if guiding else _flag(name)
    if name in ("fps", "output_fps"):  # whose range belongs to the motions
        return
    if not math.isfinite(value):
        raise InputError(f"{flag} {value} is not a finite number; give one.")
    least = guiding.metadata["at_least"] if guiding else _LEAST.get(name)
    if least is not None and value < least:
        raise InputError(f"{flag} {value} is too small; give {least:g} or more.")
    if name in _ABOVE_0 and value <= 0:
        raise InputError(f"{flag} {value:g} is too small; give a number above 0.")
    if name in _MOST and value > _MOST[name]:
        raise InputError(f"{flag} {value} is too large; give {_MOST[name]:g} or less.")


def _check_name(options: argparse.Namespace, name: str, value: Any) -> None:
    """Refuse an unknown protocol or split, words of settings and ranges of frames that are not understood."""
    for option, known in (("protocol", tuple(PROTOCOLS)), ("split", _SPLITS), ("test", _SPLITS)):
        if name == option and value not in known:
            remedy = suggestion(str(value), known, f"choose one of {', '.join(known)}.")
            raise InputError(f"The {option} {value!r} is unknown; {remedy}")
    if name == "setting":
        check_words(value)
    if name in ("keep_frames", "keep_joints") and options.keep is None:
        raise InputError(f"{_flag(name)} chooses of a motion; name the motion with --keep.")
    if name == "keep_frames":
        read_range(value)


def _check_captions(options: argparse.Namespace) -> None:
    texts = list(options.text)
    if options.file is not None:
        _check_input(options, "file", options.file)
        texts += read_lines(options.file)
    if not texts:
        raise InputError('No caption was given; write one, for example "a person walks forward".')
    blank = next((text for text in texts if not text.strip()), None)
    if blank is not None:
        raise InputError(f'A caption is blank ({blank!r}); write one, for example "a person walks forward".')


def _check_input(options: argparse.Namespace, name: str, value: Any) -> None:
    """Refuse files, models and sets that are not there."""
    if name in ("motion", "motions", "keep"):
        _check_motion(Path(value), "MOTION" if name == "motions" else _flag(name))
    elif name in _MODELS or name in _INDEXES:
        text = split_name(value)[1] if name == "evaluator" else value
        path = local_path(text)
        if isinstance(path, Path) and not _is_there(path):
            raise missing_model(path, "index" if name in _INDEXES else "checkpoint")
        if isinstance(path, Path) and name in _MODELS and path.is_file() and not zipfile.is_zipfile(path):
            raise InputError(
                f"{path} is not a checkpoint of this project, or is damaged or cut short; give one that `realign fit` "
                "wrote, or copy it again."
            )
    elif name == "data":
        from realign.data.store import read_meta

        place = local_set(value)
        if isinstance(place, Path):
            read_meta(place)
    elif name in _FILES and not Path(value).exists():
        kind = "captions file" if name == "captions" else f"file or folder for {_flag(name)}"
        raise missing(kind, Path(value))


def _check_motion(path: Path, flag: str) -> None:
    if path.suffix.lower() not in READ_MOTIONS:
        raise InputError(
            f"{flag} {str(path)!r} is not a {', '.join(READ_MOTIONS[:-1])} or {READ_MOTIONS[-1]} file; give motions "
            f"there{', and captions before it' if flag == '--motion' else ''}."
        )
    if not path.exists():
        raise missing("motion file", path)


def _is_there(path: Path) -> bool:
    """Whether a path exists, also if a process was killed while it replaced it."""
    if not path.exists():
        sweep(path)
    return path.exists()


def _suffixes(options: argparse.Namespace, name: str) -> tuple[str, ...]:
    return WRITTEN_MOTIONS if name == "render" else _SUFFIXES.get(options.command, ())


def _check_output(path: Path, flag: str, suffixes: tuple[str, ...]) -> None:
    """Refuse a place that cannot be written to.

    Args:
        path: The place.
        flag: Of the option.
        suffixes: Of a file; a folder if there are none.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise InputError(f"cannot write {str(path)!r}: end the name with one of {' '.join(suffixes)}")
    if suffixes and path.is_dir():
        raise InputError(f"cannot write {str(path)!r}: it is a folder, give the name of a file in it")
    if not suffixes and path.is_file():
        raise InputError(f"{flag} {path} is a file, but a folder is to be written; choose another place.")
    above = next(each for each in (*path.absolute().parents, Path(path.anchor)) if each.exists())
    if not above.is_dir():
        raise InputError(f"{flag} {path} cannot be written, since {above} is a file; choose another place.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"No permission to write {path} in {above}; choose a place that you may write to.")
