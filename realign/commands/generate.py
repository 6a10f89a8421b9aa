"""`realign generate`: sentences in, moving people out."""

import argparse
from pathlib import Path
from typing import Any

from realign.errors import InputError


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command and its options."""
    parser = commands.add_parser("generate", help="make motions from sentences")
    parser.add_argument("text", nargs="*", metavar="TEXT", help="a sentence; several make several motions")
    parser.add_argument("--file", type=Path, help="read one sentence a line from a UTF-8 file")
    parser.add_argument("--seconds", type=float, help="length of the motions (default: %(default)s, the model's usual)")
    parser.add_argument("--samples", type=int, default=1, help="motions for each sentence (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed and sentence give the same motion")
    parser.add_argument("--steps", type=int, help="denoising steps (default: the model's)")
    parser.add_argument("--cfg", type=float, metavar="W", help="classifier-free guidance scale (default: the model's)")
    parser.add_argument("--scheduler", choices=("ddim", "ddpm", "dpm", "unipc"), help="sampler (default: the model's)")
    _add_guidance(parser)
    parser.add_argument("--checkpoint", type=Path, help="a .ckpt or a folder of weights (default: the shipped ones)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: auto)")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("motion.gif"), metavar="OUT",
        help="format by suffix: .gif .mp4 .html .png .bvh .npy (default: motion.gif)",
    )  # fmt: skip


def _add_guidance(parser: argparse.ArgumentParser) -> None:
    """The options of guidance; those that were not given stay None, and the library's own defaults count."""
    group = parser.add_argument_group("guidance by a reward")
    group.add_argument(
        "--guidance", choices=("none", "reward", "best-of"), default="none",
        help="reward: steer every step by its gradient; best-of: keep the best of N motions (default: none)",
    )  # fmt: skip
    group.add_argument("--mu", type=float, metavar="M", help="weight of the likeness to the sentence (default: 1)")
    group.add_argument("--eta", type=float, metavar="E", help="weight of the likeness to a real motion (default: 0)")
    group.add_argument("--reward", type=Path, metavar="CHECKPOINT", help="a reward's .ckpt or folder of weights")
    group.add_argument("--index", type=Path, metavar="DIR", help="index made with the reward, for --eta")
    group.add_argument("--candidates", type=int, metavar="N", help="motions that best-of chooses from (default: 4)")
    group.add_argument(
        "--through-decoder", action="store_true", default=None,
        help="judge decoded motions: a reward on features for a generator in latents (slow)",
    )  # fmt: skip


def _guidance_options(options: argparse.Namespace) -> dict[str, Any]:
    """The options of guidance that were given.

    Raises:
        InputError: Some were given without a guidance that they belong to.
    """
    ways = {
        "mu": ("reward", "best-of"), "eta": ("reward", "best-of"), "reward": ("reward", "best-of"),
        "index": ("reward", "best-of"), "candidates": ("best-of",), "through_decoder": ("reward",),
    }  # fmt: skip
    given = {name: getattr(options, name) for name in ways if getattr(options, name) is not None}
    for name in given:
        if options.guidance not in ways[name]:
            raise InputError(
                f"--{name.replace('_', '-')} says nothing with --guidance {options.guidance}; add --guidance "
                f"{' or '.join(ways[name])}, or leave it out."
            )
    return given


def run(options: argparse.Namespace) -> None:
    """Generate and write."""
    from realign.motion.render import check_suffix, save_motions
    from realign.pipeline import TextToMotion, read_sentences

    check_suffix(options.output)  # a wrong name must not cost a sampling run
    texts = read_sentences(options.text, options.file)
    guided_by = _guidance_options(options)
    model = TextToMotion.from_pretrained(options.checkpoint, device=options.device)
    guidance = None if options.guidance == "none" else model.load_guidance(options.guidance, **guided_by)
    clips = model.generate(
        texts,
        seconds=options.seconds,
        samples=options.samples,
        seed=options.seed,
        steps=options.steps,
        guidance_scale=options.cfg,
        scheduler=options.scheduler,
        guidance=guidance,
    )
    for path in save_motions(options.output, clips):
        print(path)
