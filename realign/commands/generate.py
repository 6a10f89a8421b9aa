"""`realign generate`: sentences in, moving people out."""

import argparse
from pathlib import Path


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
    parser.add_argument("--checkpoint", type=Path, help="a .ckpt or a folder of weights (default: the shipped ones)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: auto)")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("motion.gif"), metavar="OUT",
        help="format by suffix: .gif .mp4 .html .png .bvh .npy (default: motion.gif)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Generate and write."""
    from realign.motion.render import check_suffix, save_motions
    from realign.pipeline import TextToMotion, read_sentences

    check_suffix(options.output)  # a wrong name must not cost a sampling run
    texts = read_sentences(options.text, options.file)
    model = TextToMotion.from_pretrained(options.checkpoint, device=options.device)
    clips = model.generate(
        texts,
        seconds=options.seconds,
        samples=options.samples,
        seed=options.seed,
        steps=options.steps,
        guidance_scale=options.cfg,
        scheduler=options.scheduler,
    )
    for path in save_motions(options.output, clips):
        print(path)
