"""Write guided motions beside the unguided ones from the same noise."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from realign.errors import InputError
from realign.motion.clip import MotionClip
from realign.render.save import SINGLE, check_suffix, numbered, save_motions

WORDS = ("unguided", "guided")


def save_comparison(path: str | Path, clips: Sequence[MotionClip], **options: Any) -> list[Path]:
    """Write each motion beside its unguided one; the suffix chooses the format.

    .gif, .mp4, .html and .png show every pair side by side and in step, labelled with its rewards. .bvh, .glb, .npz and
    .npy write two files a motion, `name_unguided` and `name_guided`, of several motions `name_0_unguided` and so on.

    Args:
        path: Output path; its folder is created.
        clips: Guided motions with their `unguided` ones, as `TextToMotion.generate` makes them with `compare`.
        **options: As for `save_motions`.

    Returns:
        The paths written.

    Raises:
        InputError: A clip has no unguided one, or as `save_motions`.
    """
    path, pairs = Path(path), [(_unguided(clip), clip) for clip in clips]
    if check_suffix(path) not in SINGLE:
        labels = [_label(word, clip) for pair in pairs for word, clip in zip(WORDS, pair, strict=True)]
        both = [clip for pair in pairs for clip in pair]
        return save_motions(path, both, labels=labels, group=2, **options)
    written: list[Path] = []
    for name, pair in zip(numbered(path, len(pairs)), pairs, strict=True):
        for word, clip in zip(WORDS, pair, strict=True):
            written += save_motions(name.with_stem(f"{name.stem}_{word}"), [clip], **options)
    return written


def _unguided(clip: MotionClip) -> MotionClip:
    if clip.unguided is None:
        raise InputError(
            f"the motion {clip.caption!r} has no unguided one to compare with: make both by generate(compare=True)"
        )
    return clip.unguided


def _label(word: str, clip: MotionClip) -> str:
    return word if clip.reward is None else f"{word}, reward {clip.reward:.2f}"
