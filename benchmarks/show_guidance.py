"""What guidance changes: pictures chosen by a rule, and how often it helps.

It writes guided.md, guided.gif, guided.png and compare.png.

python benchmarks/show_guidance.py prepared/mocap -o docs
"""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from realign.data.store import PackedMotions
from realign.inference import TextToMotion, pretrained_folder
from realign.inference.common import UNIT
from realign.interfaces import MotionTextModel
from realign.motion.clip import MotionClip
from realign.motion.features import clips_to_features
from realign.motion.skeleton import get_skeleton
from realign.render.comparison import save_comparison
from realign.render.strip import draw_strip
from realign.tasks import EvaluatorTask, load_task

OTHERS = 31  # captions beside its own that a motion is compared with: batches of 32, as in R-precision
FILMED, SHOWN, SENTENCES = 1, 2, 10  # in guided.gif, in guided.png, and in compare.png
MOST_BYTES = 1_500_000  # of guided.gif

PAGE = """# Guidance by eye

`realign generate --compare` shows what guidance changes. These pictures and figures are of `{generator}` with its
default guidance and {steps} denoising steps, for {captions} captions of the test split and {seeds} seeds of each.
`benchmarks/show_guidance.py` makes this page.

An evaluator that shares nothing with the reward compares each motion with its caption and {others} other captions. A
motion is right if its own caption is the nearest.

| of {motions} pairs | |
|---|---|
| guided right, unguided wrong: guidance helps | {better:.1%} |
| both right | {right:.1%} |
| both wrong | {wrong:.1%} |
| unguided right, guided wrong: guidance harms | {worse:.1%} |
| guided nearer to its caption, by the evaluator | {nearer:.1%} |
| guided has the higher reward | {higher:.1%} |
| guided has the higher reward and is wrong | {fooled:.1%} |

The mean reward is {reward[0]:.3f} unguided and {reward[1]:.3f} guided; relative to the hips, joints move by
{moved:.1f} cm on average. A reward can rise for a detail that no one would call the caption, so it does not measure
itself.

## Where it helps most

{rule} The film
shows the first, the strips show both. An earlier rule, the farthest joints, was left after a look at its picks:
see the rates above for what to expect, and the ten captions below. With 50 steps, the default, guidance changes less.

![Unguided and guided from the same noise](guided.gif)

![Unguided and guided as strips of poses](guided.png)

```bash
{commands}
```

## Ten captions that nobody chose

The first ten captions of the draw, unguided on the left and guided on the right:

![Ten captions, unguided and guided from the same noise](compare.png)
"""

CHOSEN = """Of the pairs in which the guided motion is right and the unguided one wrong, these are the {shown} of
different captions that changed most by the evaluator: in the distance to the own caption less that to the nearest other
one."""
NONE = """In no pair is the guided motion right and the unguided one wrong. Of all pairs, these are the {shown} of
different captions that changed most by the evaluator: in the distance to the own caption less that to the nearest other
one."""


@dataclass(frozen=True)
class Judged:
    """A guided motion with its unguided one, by the evaluator.

    Attributes:
        clip: The guided motion.
        seed: Its seed.
        own: Distances of the unguided and the guided motion to their caption.
        margins: The same, less the distance to the nearest other caption; below 0 a motion is right.
    """

    clip: MotionClip
    seed: int
    own: tuple[float, float]
    margins: tuple[float, float]

    @property
    def right(self) -> tuple[bool, bool]:
        """Whether the unguided and the guided motion are right."""
        return self.margins[0] < 0, self.margins[1] < 0

    @property
    def moved(self) -> float:
        """Distance (m) that joints moved relative to the hips, on average over joints and frames."""
        if self.clip.unguided is None:
            return 0.0
        poses = [clip.joints - clip.joints[:, :1] for clip in (self.clip, self.clip.unguided)]
        return float(np.linalg.norm(poses[0] - poses[1], axis=-1).mean())


def draw_captions(data: str, count: int) -> list[str]:
    """First captions of test clips in a random order, one of each action, or all different if the set names none."""
    packed = PackedMotions.open(data)
    found: dict[str, str] = {}
    for row in np.random.default_rng(0).permutation(packed.select("test", one_per_motion=True)).tolist():
        caption = packed.caption(row)
        if caption not in found.values():
            found.setdefault(packed.action(row) or caption, caption)
    return list(found.values())[:count]


@torch.no_grad()
def distances(evaluator: MotionTextModel, clips: Sequence[MotionClip], captions: Sequence[str]) -> np.ndarray:
    """Distance of every motion to every caption."""
    skeleton, rows = get_skeleton(evaluator.skeleton), []
    text = evaluator.embed_captions(captions)
    for start in range(0, len(clips), 32):
        joints = [torch.from_numpy(clip.joints) for clip in clips[start : start + 32]]
        features = [each[: len(each) // UNIT * UNIT] for each in clips_to_features(joints, skeleton)]
        lengths = torch.tensor([len(each) for each in features])
        motion = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
        rows.append(torch.cdist(evaluator.embed_motions(motion, lengths), text))
    return torch.cat(rows).numpy()


def judge(evaluator: MotionTextModel, clips: Sequence[MotionClip], captions: Sequence[str], seed: int) -> list[Judged]:
    """The motions of all captions: each is compared with its own and with those that follow it in the draw."""
    plain = [clip.unguided for clip in clips if clip.unguided is not None]
    found = []
    both = distances(evaluator, plain, captions), distances(evaluator, clips, captions)
    for place, clip in enumerate(clips):
        others = (place + 1 + np.arange(OTHERS)) % len(captions)
        own = tuple(float(each[place, place]) for each in both)
        margins = tuple(float(each[place, place] - each[place, others].min()) for each in both)
        found.append(Judged(clip, seed, own, margins))
    return found


def choose(judged: Sequence[Judged]) -> tuple[list[Judged], str]:
    """The pairs to show, of different captions, and the rule that chose them."""
    helped = [each for each in judged if each.right == (False, True)]
    best: dict[str, Judged] = {}
    for each in sorted(helped or judged, key=lambda each: each.margins[1] - each.margins[0]):
        best.setdefault(each.clip.caption, each)
    shown = list(best.values())[:SHOWN]
    return shown, (CHOSEN if helped else NONE).format(shown=len(shown))


def rates(judged: Sequence[Judged]) -> dict[str, object]:
    """The figures of the page."""
    before, after = np.array([each.right for each in judged]).T
    rewards = np.array([(each.clip.unguided.reward, each.clip.reward) for each in judged])  # type: ignore[union-attr]
    own, higher = np.array([each.own for each in judged]), rewards[:, 1] > rewards[:, 0]
    return {
        "better": (~before & after).mean(), "right": (before & after).mean(), "wrong": (~before & ~after).mean(),
        "worse": (before & ~after).mean(), "nearer": (own[:, 1] < own[:, 0]).mean(), "higher": higher.mean(),
        "fooled": (higher & ~after).mean(), "reward": rewards.mean(0),
        "moved": 100 * float(np.mean([each.moved for each in judged])),
    }  # fmt: skip


def command(judged: Judged, generator: str, steps: int) -> str:
    """What makes a pair again."""
    given = ["--checkpoint", generator, "--seed", str(judged.seed), "--steps", str(steps)]
    return shlex.join(["realign", "generate", judged.clip.caption, *given, "--compare", "-o", "both.html"])


def write_page(folder: Path, judged: Sequence[Judged], generator: str, steps: int, captions: int, seeds: int) -> None:
    """Write all files of the page."""
    shown, rule = choose(judged)
    page = PAGE.format(
        generator=generator, steps=steps, captions=captions, seeds=seeds, others=OTHERS, motions=len(judged), rule=rule,
        commands="\n".join(command(each, generator, steps) for each in shown), **rates(judged),
    )  # fmt: skip
    clips = [each.clip for each in shown]
    write_film(folder / "guided.gif", clips[:FILMED])
    save_comparison(folder / "guided.png", clips, size=200, poses=7)
    with Image.open(folder / "guided.png") as strips:
        compress(folder / "guided.png", strips.convert("RGB"))
    compress(folder / "compare.png", sheet([each.clip for each in judged[:SENTENCES]]))
    (folder / "guided.md").write_text(page, encoding="utf-8")


def write_film(path: Path, clips: Sequence[MotionClip]) -> None:
    """A film as large and smooth as fits into `MOST_BYTES`."""
    for size, every in ((360, 1), (300, 1), (300, 2), (260, 2), (220, 2), (180, 2), (160, 4)):
        thin = [replace(thinned(clip, every), unguided=thinned(clip.unguided, every)) for clip in clips]
        save_comparison(path, thin, size=size)
        if path.stat().st_size <= MOST_BYTES:
            return


def thinned(clip: MotionClip, every: int) -> MotionClip:
    """Every n-th frame of a clip."""
    return replace(clip, joints=clip.joints[::every], fps=clip.fps / every)


def sheet(clips: Sequence[MotionClip]) -> Image.Image:
    """Strips of unguided motions on the left, of guided ones on the right."""
    plain = [clip.unguided for clip in clips if clip.unguided is not None]
    sides = []
    for word, each in (("unguided", plain), ("guided", clips)):
        labels = [f"{word}, reward {clip.reward:.2f}" for clip in each]
        sides.append(draw_strip(each, size=130, poses=6, labels=labels))
    image = Image.new("RGB", (sides[0].width + sides[1].width, sides[0].height), "white")
    image.paste(sides[0], (0, 0))
    image.paste(sides[1], (sides[0].width, 0))
    return image


def compress(path: Path, image: Image.Image) -> None:
    """Write a picture in 256 colours, which these drawings do not exceed visibly."""
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="a prepared set, whose test split gives the captions")
    parser.add_argument("--generator", default="generator_features")
    parser.add_argument("--evaluator", default=pretrained_folder("evaluator"))
    parser.add_argument("--captions", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=10, help="denoising steps (default: 10, as in docs/results.md)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs"))
    options = parser.parse_args()
    captions = draw_captions(options.data, options.captions)
    if len(captions) <= OTHERS:
        parser.error(f"{len(captions)} captions are too few; give at least {OTHERS + 1}")
    model = TextToMotion.from_pretrained(options.generator, options.device)
    evaluator = load_task(options.evaluator, EvaluatorTask)
    judged = []
    for seed in range(options.seeds):
        clips = model.generate(captions, seed=seed, steps=options.steps, compare=True)
        judged += judge(evaluator, clips, captions, seed)
    write_page(options.output, judged, options.generator, options.steps, len(captions), options.seeds)
    print((options.output / "guided.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
