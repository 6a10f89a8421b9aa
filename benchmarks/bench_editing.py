"""Seams of captions in sequence, and how exactly constraints are met, beside recordings.

    python benchmarks/bench_editing.py --joints clip.npy ... [--checkpoints generator generator_features] [--samples 4]

The clips are recorded joints of at least `--frames` frames, whose figure does what `--caption` says. Seams: three
scripts of three captions, and the same motions generated alone and put one after the other. Constraints: the first
second, the first and the last, the root's path and one wrist twice a second, all of each recorded clip. Prints one
table in Markdown each, means over motions, and the processor time of a motion with and without constraints.
"""

import argparse
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from realign import TextToMotion
from realign.guidance.constraints import Positions, deviations
from realign.inference.constraining import keep
from realign.metrics.seams import near_seams, velocity_jumps
from realign.motion.clip import MotionClip
from realign.motion.features import features_to_joints

SCRIPTS = (
    ("a person walks forward", "a person waves with the right hand", "a person walks backward"),
    ("a person runs", "a person walks forward", "a person bows"),
    ("a person walks forward", "a person walks forward", "a person walks forward"),
)
SECONDS, WITHIN = 3, 6
CASES: dict[str, tuple[list[str], list[str]]] = {
    "first second": (["0:20"], []),
    "first and last second": (["0:20", "-20:"], []),
    "path of the root": ([], ["pelvis"]),
    "left wrist, twice a second": ([f"{frame}" for frame in range(0, 200, 10)], ["left_wrist"]),
}


def jumps(joints: Tensor, seams: Sequence[int], within: int = WITHIN) -> tuple[float, float]:
    """Mean velocity jumps near seams and away from them (m/s)."""
    found, frames = velocity_jumps(joints, 20), joints.shape[-3]
    near, inside = near_seams(frames, seams, within), ~near_seams(frames, seams, 12)
    return float(found[..., near].mean()), float(found[..., inside].mean())


def stacked(clips: Sequence[MotionClip]) -> Tensor:
    return torch.from_numpy(np.stack([clip.joints for clip in clips]))


def show_seams(name: str, model: TextToMotion, samples: int, steps: int | None) -> None:
    frames = 20 * SECONDS
    seams = [frames, 2 * frames]
    rows: dict[str, list[tuple[float, float]]] = {}
    for script in SCRIPTS:
        parts = [(text, SECONDS) for text in script]
        for raw in (True, False):
            clips = model.generate_sequence(parts, samples=samples, steps=steps, raw=raw)
            rows.setdefault("sequence, raw" if raw else "sequence, clean", []).append(jumps(stacked(clips), seams))
        texts, lengths = list(script) * samples, torch.full((3 * samples,), frames)
        alone = model.task.sample(texts, lengths, torch.arange(3 * samples), **({"steps": steps} if steps else {}))
        joined = features_to_joints(alone.cpu().unflatten(0, (samples, 3)).flatten(1, 2))
        rows.setdefault("one after the other", []).append(jumps(joined, seams, 1))
    for kind, values in rows.items():
        near, inside = np.mean(values, 0)
        print(f"| {name} | {kind} | {near:.3f} | {inside:.3f} | {near / inside:.2f} |", flush=True)


def constraint(case: str, clip: MotionClip) -> Positions:
    ranges, joints = CASES[case]
    kept = keep(clip, [each for each in ranges if each.startswith("-") or int(each.split(":")[0]) < len(clip)], joints)
    if case == "path of the root":
        kept.kept[..., 1] = False
    return kept


def show_constraints(name: str, model: TextToMotion, clips: Sequence[MotionClip], options: argparse.Namespace) -> None:
    for case in CASES:
        off, near, inside, recorded, took = [], [], [], [], 0.0
        for clip in clips:
            kept, start = constraint(case, clip), time.process_time()
            made = model.generate([options.caption], samples=options.samples, steps=options.steps, constraints=[kept])
            took += time.process_time() - start
            off += [deviations([kept], each) for each in made]
            borders = {"first second": [20], "first and last second": [20, len(clip) - 20]}.get(case)
            if borders:
                values = jumps(stacked(made), borders, 2)
                near.append(values[0]), inside.append(values[1])
                recorded.append(jumps(torch.from_numpy(clip.joints), borders, 2)[0])
        all_off = torch.cat(off)
        smooth = f"{np.mean(near):.3f} | {np.mean(recorded):.3f} | {np.mean(inside):.3f}" if near else "– | – | –"
        print(
            f"| {name} | {case} | {100 * all_off.mean():.2f} | {100 * all_off.quantile(0.95):.2f} | {smooth} "
            f"| {took / len(clips) / options.samples:.1f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--joints", nargs="+", required=True, help="recorded clips, .npy of joints")
    parser.add_argument("--caption", default="a person walks forward")
    parser.add_argument("--frames", type=int, default=100, help="of each recorded clip")
    parser.add_argument("--checkpoints", nargs="+", default=["generator", "generator_features"])
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--only", choices=("seams", "constraints"), help="one of the two tables")
    options = parser.parse_args()
    clips = [MotionClip(MotionClip.load(path).joints[: options.frames], 20) for path in options.joints]
    models = {name: TextToMotion.from_pretrained(name) for name in options.checkpoints}
    if options.only != "constraints":
        recorded = np.mean([float(velocity_jumps(torch.from_numpy(clip.joints), 20).mean()) for clip in clips])
        print("| generator | motion | at seams (m/s) | inside (m/s) | ratio |\n|---|---|---|---|---|")
        print(f"| – | recorded | – | {recorded:.3f} | – |")
        for name, model in models.items():
            show_seams(name, model, options.samples, options.steps)
        print()
    if options.only != "seams":
        columns = ["mean (cm)", "95 % below (cm)", "at borders (m/s)", "recorded there", "inside", "CPU s a motion"]
        print(f"| generator | kept | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 2)}")
        for name, model in models.items():
            plain = time.process_time()
            model.generate([options.caption], seconds=options.frames / 20, samples=options.samples, steps=options.steps)
            plain = (time.process_time() - plain) / options.samples
            print(f"| {name} | nothing | – | – | – | – | – | {plain:.1f} |", flush=True)
            show_constraints(name, model, clips, options)


if __name__ == "__main__":
    main()
