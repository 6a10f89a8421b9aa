"""`realign generate`: motions from captions."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realign.commands.common import add_export_options, export_options, loading, note
from realign.commands.guiding import add_guidance, given_guidance
from realign.commands.keeping import add_keeping, given_objectives, tell_deviation
from realign.commands.models import SAMPLING, add_computing, add_model, add_sampling
from realign.errors import InputError, need
from realign.guidance.arguments import check_concern
from realign.threads import use_threads

if TYPE_CHECKING:
    from realign.inference.hits import MotionHit
    from realign.inference.sequence import Part
    from realign.motion.clip import MotionClip


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command and its options."""
    parser = commands.add_parser("generate", help="make motions from captions")
    parser.add_argument("text", nargs="*", metavar="TEXT", help="a caption; several make several motions")
    parser.add_argument("--file", type=Path, help="read one caption a line from a text file")
    parser.add_argument(
        "--sequence", nargs="+", metavar="PART",
        help="one motion that shows captions one after the other, CAPTION:SECONDS or CAPTION each, such as "
        '"a person walks:4" "a person bows:3"; or a .csv, .yaml or .json of captions and seconds',
    )  # fmt: skip
    parser.add_argument("--seconds", type=float, help="length of the motions (default: by each caption)")
    parser.add_argument("--samples", type=int, default=1, help="motions for each caption (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed and caption give the same motion")
    add_sampling(parser)
    parser.add_argument(
        "--raw", action="store_true",
        help="keep the joints as the network says them (default: bones of constant length, feet that do not slide)",
    )  # fmt: skip
    add_guidance(parser)
    add_keeping(parser)
    parser.add_argument(
        "--compare", action="store_true",
        help="show each motion unguided and guided, from the same noise, and print rewards and anchors; .bvh .npy .npz "
        ".glb: files NAME_unguided and NAME_guided",
    )  # fmt: skip
    add_model(parser, "--checkpoint", "generator")
    add_computing(parser)
    parser.add_argument("--compile", action="store_true", help="compile the networks, which pays off for many motions")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("motion.gif"), metavar="OUT",
        help="format by suffix: .gif .mp4 .html .png .bvh .npy .npz (AMASS) .glb (default: motion.gif)",
    )  # fmt: skip
    add_export_options(parser)


def run(options: argparse.Namespace) -> None:
    """Generate and write."""
    if options.seconds is None and options.checkpoint is None:
        need("faiss")  # the shipped index finds the lengths
    use_threads(options.threads, None if options.file else (len(options.text) or 1) * options.samples)
    with loading():
        from realign.checkpoint.saved import saved_skeleton
        from realign.guidance.own import OwnGuidance
        from realign.inference import TextToMotion, pretrained_folder, read_captions
        from realign.inference.guided import NOTHING_GUIDES
        from realign.render.comparison import save_comparison
        from realign.render.save import check_output, save_motions

        named = options.checkpoint or pretrained_folder("generator")
        export = export_options(options, skeleton=saved_skeleton(named))  # first: a wrong name fails before sampling
        parts = asked_parts(options)
        texts = [] if parts else read_captions(options.text, options.file)
        own = OwnGuidance.read(named)
        word = options.guidance or ("default" if options.preset in (None, "none") else "reward")
        method = word if word != "default" else own.config.method if own else "none"
        if options.compare and method == "none":
            raise InputError(NOTHING_GUIDES)
        given = given_guidance(options)
        finds_lengths = options.index is not None and options.seconds is None
        files = {} if finds_lengths else {name: getattr(options, name) for name in ("reward", "index")}
        check_concern(given | {name: path for name, path in files.items() if path is not None}, {method})
        reward = None if options.index is None else options.reward  # used for lengths, too
        model = TextToMotion.from_pretrained(
            options.checkpoint, options.device, reward, options.index, trust_code=options.trust_code
        )
        check_output(options.output, model.skeleton.name)  # of a .ckpt, it is known only now
        if options.compile:
            model.compile()
        guidance = None if method == "none" else model.load_guidance(method, options.reward, options.index, **given)
        objectives = given_objectives(options, model.skeleton)
        several = [
            *([] if guidance is None else [guidance]),
            *(model.load_guidance(**each) for each in objectives.rewards),
        ]
    names = ("samples", "seed", *SAMPLING, "compare", "raw")
    asked: dict[str, Any] = {name: getattr(options, name) for name in names}
    asked |= {"guidance": several if objectives.rewards else guidance}
    asked |= {"constraints": objectives.constraints, "constraining": objectives.config}
    if parts:
        clips = model.generate_sequence(parts, **asked)
        for text in dict.fromkeys(text for text, seconds in parts if seconds is None):
            note(f"{text!r} got {model.frames(text) / model.skeleton.fps:g} s; {text + ':4'!r} would give it 4 s")
    else:
        clips = model.generate(texts, seconds=options.seconds, **asked)
    if options.seconds is None and not parts and not objectives.constraints:
        for text, seconds in {clip.caption: clip.seconds for clip in clips}.items():
            usual = "the usual length of such motions" if model.guide else "as no index knows such motions"
            note(f"{text!r} got {seconds:g} s, {usual}; --seconds sets another")
    for clip in clips:
        tell_reward(clip)
        tell_deviation(objectives.constraints, clip)
    if options.compare:
        distinct = list(dict.fromkeys(texts or [part.text for part in parts]))
        for text, anchors in zip(distinct, model.anchors(distinct, guidance), strict=True):
            tell_anchors(text, anchors)
    save = save_comparison if options.compare else save_motions
    for path in save(options.output, clips, **export):
        print(path)


def asked_parts(options: argparse.Namespace) -> "list[Part]":
    """The parts of a sequence; none if none was asked for.

    Raises:
        InputError: Captions stand beside it.
    """
    from realign.inference.sequence import Part, read_parts

    if options.sequence is None:
        return []
    if options.text or options.file:
        raise InputError("--sequence names its own captions; leave TEXT and --file out.")
    return [Part(text, options.seconds if own is None else own) for text, own in read_parts(options.sequence)]


def tell_reward(clip: "MotionClip") -> None:
    """Print the reward of a motion, and of the unguided one beside it; nothing if there is none."""
    if clip.unguided is not None and clip.unguided.reward is not None:
        note(f"{clip.caption!r}: unguided {_rewards(clip.unguided)}; guided {_rewards(clip)}")
    elif clip.reward is not None:
        note(f"{clip.caption!r}: {_rewards(clip)}")


def tell_anchors(text: str, anchors: "Sequence[MotionHit]") -> None:
    """Print the real motions that guidance likens the motions of a caption to."""
    for hit in anchors:
        note(f"{text!r}: anchor {hit.id}, likeness {hit.score:.3f}: {hit.captions[0] if hit.captions else '-'}")


def _rewards(clip: "MotionClip") -> str:
    """The reward of a motion with its terms."""
    anchor = "" if clip.motion_reward is None else f", anchor {clip.motion_reward:.3f}"
    return f"reward {clip.reward:.3f} (caption {clip.text_reward:.3f}{anchor})"
