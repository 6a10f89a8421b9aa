"""`realign generate`: sentences in, moving people out."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realign.commands.common import GUIDANCE, SAMPLERS, add_guidance_scale, add_trust, loading, model_path, note
from realign.commands.sweep import window
from realign.errors import InputError

if TYPE_CHECKING:
    from realign.guidance.config import Word

_STEERS, _JUDGES = ("reward",), ("reward", "best-of")
_WAYS = {
    "mu": _JUDGES, "eta": _JUDGES, "anchors": _JUDGES, "reward": _JUDGES, "index": _JUDGES,
    "candidates": ("best-of",), "strength": _STEERS, "profile": _STEERS, "window": _STEERS, "interval": _STEERS,
    "through_decoder": _STEERS,
}  # fmt: skip
"""The ways of guidance that each option says something about."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command and its options."""
    parser = commands.add_parser("generate", help="make motions from sentences")
    parser.add_argument("text", nargs="*", metavar="TEXT", help="a sentence; several make several motions")
    parser.add_argument("--file", type=Path, help="read one sentence a line from a text file")
    parser.add_argument("--seconds", type=float, help="length of the motions (default: of each sentence's own)")
    parser.add_argument("--samples", type=int, default=1, help="motions for each sentence (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed and sentence give the same motion")
    parser.add_argument("--steps", type=int, help="denoising steps (default: the model's)")
    add_guidance_scale(parser)
    parser.add_argument("--scheduler", choices=SAMPLERS, help="sampler (default: the model's)")
    _add_guidance(parser)
    parser.add_argument(
        "--checkpoint", type=model_path, help="a .ckpt, a folder of weights or a shipped name (default: generator)"
    )
    add_trust(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: auto)")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("motion.gif"), metavar="OUT",
        help="format by suffix: .gif .mp4 .html .png .bvh .npy (default: motion.gif)",
    )  # fmt: skip


def _add_guidance(parser: argparse.ArgumentParser) -> None:
    """The options of guidance; those that were not given stay None, and the model's or the library's defaults count."""
    group = parser.add_argument_group(
        "guidance by a reward", "what is not given is the model's own, else strength 300, mu 1, eta 0"
    )
    group.add_argument(
        "--guidance", choices=GUIDANCE,
        help="none; reward: steer every step by its gradient; best-of: keep the best of N motions; default: as the "
        "model's own guidance says",
    )  # fmt: skip
    group.add_argument("--strength", type=float, metavar="W", help="factor of the gradient")
    group.add_argument("--profile", metavar="NAME", help="the strength over the steps: constant, noise or signal")
    group.add_argument(
        "--window", type=window, metavar="START,STOP", help="shares of the steps to steer in, such as .2,1"
    )
    group.add_argument("--interval", type=int, metavar="K", help="steer at every K-th step, there K-fold")
    group.add_argument("--mu", type=float, metavar="M", help="weight of the likeness to the sentence")
    group.add_argument("--eta", type=float, metavar="E", help="weight of the likeness to a real motion")
    group.add_argument("--anchors", type=int, metavar="K", help="real motions that --eta means, softly weighted")
    group.add_argument(
        "--reward", type=model_path, metavar="CHECKPOINT", help="a reward's .ckpt, folder of weights or shipped name"
    )
    group.add_argument(
        "--index",
        type=model_path,
        metavar="DIR",
        help="index made with the reward, for --eta and for the usual lengths",
    )
    group.add_argument("--candidates", type=int, metavar="N", help="motions that best-of chooses from (default: 4)")
    group.add_argument(
        "--through-decoder", action="store_true", default=None,
        help="judge decoded motions: a reward on features for a generator in latents (slow)",
    )  # fmt: skip


def _guidance_options(options: argparse.Namespace, way: str) -> dict[str, Any]:
    """The options of guidance that were given, by the names of `TextToMotion.load_guidance`.

    Raises:
        InputError: Some were given that say nothing about this way of guidance.
    """
    given = {name: getattr(options, name) for name in _WAYS if getattr(options, name) is not None}
    finds_lengths = ("index", "reward") if options.index is not None and options.seconds is None else ()
    for name in given:
        if way not in _WAYS[name] and name not in finds_lengths:
            raise InputError(
                f"--{name.replace('_', '-')} says nothing with --guidance {way}; add --guidance "
                f"{' or '.join(_WAYS[name])}, or leave it out."
            )
    if "window" in given:
        given["start"], given["stop"] = given.pop("window")
    return given


def run(options: argparse.Namespace) -> None:
    """Generate and write."""
    with loading():
        from realign.inference import DefaultGuidance, TextToMotion, pretrained_folder, read_sentences
        from realign.render.save import check_suffix, save_motions

        check_suffix(options.output)  # a wrong name must not cost a sampling run
        texts = read_sentences(options.text, options.file)
        default = DefaultGuidance.read(options.checkpoint or pretrained_folder("generator"))
        way: Word = options.guidance or "default"
        if way == "default":
            way = "none" if default is None else "reward"
        guided_by = _guidance_options(options, way)
        reward = None if options.index is None else options.reward  # which is asked for lengths, too
        model = TextToMotion.from_pretrained(
            options.checkpoint, options.device, reward, options.index, trust_code=options.trust_code
        )
        guidance = None if way == "none" else model.load_guidance(way, **guided_by)
    clips = model.generate(
        texts,
        seconds=options.seconds,
        samples=options.samples,
        seed=options.seed,
        steps=options.steps,
        guidance_scale=options.guidance_scale,
        scheduler=options.scheduler,
        guidance=guidance,
    )
    if options.seconds is None:
        for text, seconds in {clip.caption: clip.seconds for clip in clips}.items():
            usual = "the usual length of such motions" if model.guide else "as no index knows such motions"
            note(f"{text!r} got {seconds:g} s, {usual}; --seconds sets another")
    for path in save_motions(options.output, clips):
        print(path)
