"""The gain of guidance against how good the generator is: one training measured at several of its checkpoints.

    python benchmarks/ladder.py runs/generator_mdm_mocap/stage*.ckpt --reward runs/reward_feature_mocap/last.ckpt \
        --index runs/reward_feature_mocap/index --evaluator contrastive=runs/evaluator_contrastive_mocap/last.ckpt \
        --data prepared/mocap -o ladder

For every checkpoint the strength is chosen on the val split by the rule of `realign tune-guidance`, then the test split
is measured unguided and guided with it. Writes ladder/NAME-val.json and NAME-test.json, ladder.csv and ladder.png; the
same command continues after a kill. The picture holds the generators of ReAlign's table (arXiv 2511.19217), too.
"""

import argparse
import csv
from pathlib import Path
from typing import NamedTuple

from realign.evaluation.load import load_evaluation
from realign.evaluation.results import Results
from realign.evaluation.settings import Setting
from realign.evaluation.tuning import judge
from realign.guidance.config import GuidanceConfig


class Rung(NamedTuple):
    """A generator: R@1 of it and of real motions, and relative changes by guidance."""

    name: str
    start: float
    real: float
    r1: float
    fid: float


PAPER = (  # unguided R@1 and relative changes as published, real .511 on HumanML3D and .427 on KIT-ML
    Rung("MLD", 0.481, 0.511, 0.179, -0.588),
    Rung("MLD++", 0.548, 0.511, 0.044, -0.247),
    Rung("MDM (KIT-ML)", 0.403, 0.427, 0.119, -0.445),
    # the paper's relative changes; unguided R@1 from the papers of the generators themselves
    Rung("MotionDiffuse", 0.491, 0.511, 0.088, -0.413),
    Rung("MDM", 0.320, 0.511, 0.033, -0.335),
    Rung("MotionLCM", 0.502, 0.511, 0.076, -0.102),
)


def measure(options: argparse.Namespace, generator: Path, split: str, settings: list[Setting], count: int) -> Results:
    """The rows of some settings, from the file where it holds them."""
    output = options.output / f"{generator.stem}-{split}.json"
    evaluation = load_evaluation(
        options.data, generator=generator, evaluators=options.evaluator, reward=options.reward, index=options.index,
        protocol=options.protocol, guided=True, anchored=True, batch_size=64, split=split, precision=options.precision,
    )  # fmt: skip
    return evaluation.run(settings, replications=count, output=output)


def climb(options: argparse.Namespace, generator: Path) -> tuple[Rung, list[object]]:
    """Choose the strength of one checkpoint on val and measure it on the test split."""
    unguided = Setting(name="unguided", steps=options.steps)
    guided = {
        strength: Setting(
            name=f"guided {strength:g}",
            steps=options.steps,
            guidance=GuidanceConfig(
                mu=1.0,
                eta=options.eta,
                strength=strength,
                start=options.window[0],
                stop=options.window[1],
                point=options.point,
                interval=options.interval,
            ),  # fmt: skip
        )
        for strength in options.strengths
    }
    found = measure(options, generator, "val", [unguided, *guided.values()], options.val_replications)
    rows = {row.name: row for row in found.rows}
    verdicts = {s: judge(found, rows[each.name], rows["unguided"], options.tolerance) for s, each in guided.items()}
    strength = max(verdicts, key=lambda each: verdicts[each].rank)
    found = measure(options, generator, "test", [unguided, guided[strength]], options.replications)
    rows = {row.name: row for row in found.rows}
    first = found.evaluators[0]
    base, best = rows["unguided"], rows[guided[strength].name]

    def mean(name: str, row: str) -> float:
        estimate = rows[row].estimate(name, first)
        assert estimate is not None
        return estimate.mean

    r1, fid = mean("R@1", "unguided"), mean("FID", "unguided")
    rung = Rung(
        generator.stem, r1, mean("R@1", "real"), mean("R@1", best.name) / r1 - 1, mean("FID", best.name) / fid - 1
    )
    intervals = [
        each.interval if each is not None else None
        for each in (best.difference(base, "R@1", first), best.difference(base, "FID", first))
    ]
    told = [strength, not verdicts[strength].worse, r1, mean("R@1", best.name), fid, mean("FID", best.name), *intervals]
    return rung, [generator.stem, *told]


def draw(path: Path, rungs: list[Rung]) -> None:
    """Relative rise of R@1 and fall of FID over the unguided R@1 as a fraction of that of real motions."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, measure_name, field in zip(figure.subplots(1, 2), ("R@1", "FID"), ("r1", "fid"), strict=True):
        places = [(each.start / each.real, 100 * getattr(each, field)) for each in rungs]
        axes.plot(*zip(*places, strict=True), marker="o", label="one training, this project's mocap set")
        for each, place in zip(rungs, places, strict=True):
            axes.annotate(each.name, place, textcoords="offset points", xytext=(4, 4), fontsize=7)
        published = [(each.start / each.real, 100 * getattr(each, field)) for each in PAPER]
        axes.scatter(*zip(*published, strict=True), marker="s", color="tab:orange", label="ReAlign's table")
        for each, place in zip(PAPER, published, strict=True):
            axes.annotate(each.name, place, textcoords="offset points", xytext=(4, -9), fontsize=7)
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set(xlabel="unguided R@1 / that of real motions", ylabel=f"{measure_name}, change by guidance (%)")
    figure.axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generators", nargs="+", type=Path)
    parser.add_argument("--reward", type=Path, required=True)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--evaluator", action="append", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--protocol", default="mocap")
    parser.add_argument("--strengths", nargs="+", type=float, default=[300, 1000, 2000, 4000, 8000])
    parser.add_argument("--point", default="x0")
    parser.add_argument("--window", nargs=2, type=float, default=[0.3, 1.0])
    parser.add_argument("--interval", type=int, default=2)
    parser.add_argument("--eta", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--tolerance", type=float, default=0.01)
    parser.add_argument("--val-replications", type=int, default=1)
    parser.add_argument("--replications", type=int, default=20)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("-o", "--output", type=Path, default=Path("ladder"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    rungs = []
    head = ["generator", "strength", "qualifies", "R@1", "guided R@1", "FID", "guided FID", "+- R@1", "+- FID"]
    with open(options.output.with_suffix(".csv"), "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for generator in options.generators:
            rung, told = climb(options, generator)
            rungs.append(rung)
            writer.writerow(told)
            file.flush()
            print(*told, flush=True)
    draw(options.output.with_suffix(".png"), sorted(rungs, key=lambda each: each.start))


if __name__ == "__main__":
    main()
