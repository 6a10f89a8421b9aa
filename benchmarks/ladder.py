"""The gain of guidance against how good the generator is: one training measured at several of its checkpoints.

    python benchmarks/ladder.py runs/generator_mdm_mocap/stage*.ckpt --reward runs/reward_feature_mocap/last.ckpt \
        --index runs/reward_feature_mocap/index --evaluator contrastive=runs/evaluator_contrastive_mocap/last.ckpt \
        --data prepared/mocap -o ladder/diffusion
    python benchmarks/ladder.py --draw ladder/*.csv -o ladder

For every checkpoint the strength is chosen on the val split by the rule of `realign tune-guidance`, then the test split
is measured unguided and guided with it. Writes ladder/diffusion/NAME-val.json and NAME-test.json, ladder/diffusion.csv
and ladder/diffusion.png; the same command continues after a kill. The second command draws several trainings together.
The pictures hold the generators of ReAlign's table (arXiv 2511.19217), too.
"""

import argparse
import csv
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from realign.evaluation.load import load_evaluation
from realign.evaluation.results import Results, Row
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


MEASURES = ("R@1", "R@3", "FID", "MM-Dist")
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


def climb(options: argparse.Namespace, generator: Path) -> list[dict[str, object]]:
    """Choose the strength of one checkpoint on val and measure it on the test split: one line for each evaluator."""
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
    base, best = rows["unguided"], rows[guided[strength].name]
    chosen = {"generator": generator.stem, "strength": strength, "qualifies": not verdicts[strength].worse}
    return [{**chosen, **line(rows["real"], base, best, evaluator)} for evaluator in found.evaluators]


def line(real: Row, base: Row, best: Row, evaluator: str) -> dict[str, object]:
    """What one evaluator says of recordings, of unguided motions, and of the difference by guidance."""
    told: dict[str, object] = {"evaluator": evaluator}
    for name in MEASURES:
        for label, row in ((f"real {name}", real), (name, base), (f"guided {name}", best)):
            estimate = row.estimate(name, evaluator)
            told[label] = None if estimate is None else estimate.mean
        difference = best.difference(base, name, evaluator)
        told[f"+- {name}"] = None if difference is None else difference.interval
    return told


def read(path: Path) -> dict[str, list[Rung]]:
    """The rungs of a table, by evaluator."""
    ladders: dict[str, list[Rung]] = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            changes = (float(row[f"guided {name}"]) / float(row[name]) - 1 for name in ("R@1", "FID"))
            rung = Rung(row["generator"], float(row["R@1"]), float(row["real R@1"]), *changes)
            ladders.setdefault(row["evaluator"], []).append(rung)
    return ladders


def draw(path: Path, tables: Sequence[Path]) -> None:
    """Relative rise of R@1 and fall of FID over the unguided R@1 as a fraction of that of real motions."""
    from matplotlib.figure import Figure

    ladders = {table.stem: read(table) for table in tables}
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    for axes, measure_name, field in zip(figure.subplots(1, 2), ("R@1", "FID"), ("r1", "fid"), strict=True):

        def place(rung: Rung, field: str = field) -> tuple[float, float]:
            return rung.start / rung.real, 100 * getattr(rung, field)

        for color, (name, ladder) in enumerate(ladders.items()):
            for style, (evaluator, rungs) in zip(cycle(("-o", "--^", ":v")), ladder.items(), strict=False):
                places = sorted(place(each) for each in rungs)
                axes.plot(*zip(*places, strict=True), style, color=f"C{color}", label=f"{name}, by {evaluator}")
        published = sorted((place(each), each.name) for each in PAPER)
        squares = zip(*(at for at, _ in published), strict=True)
        axes.scatter(*squares, marker="s", color="black", label="ReAlign's table", zorder=3)
        for step, (at, name) in enumerate(published):  # in R@1 most lie near one another: names in steps, on leaders
            axes.annotate(
                name,
                at,
                xytext=(-14, 14 + 11 * step) if field == "r1" else (7, -3),
                textcoords="offset points",
                fontsize=7,
                arrowprops={"arrowstyle": "-", "linewidth": 0.4} if field == "r1" else None,
            )
        axes.margins(x=0.14)
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set(xlabel="unguided R@1 / that of real motions", ylabel=f"{measure_name}, change by guidance (%)")
    figure.axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generators", nargs="*", type=Path)
    parser.add_argument("--draw", nargs="+", type=Path, metavar="CSV", help="only draw tables of earlier runs together")
    parser.add_argument("--reward", type=Path)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--evaluator", action="append")
    parser.add_argument("--data", type=Path)
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
    if options.draw:
        return draw(options.output.with_suffix(".png"), options.draw)
    missing = [each for each in ("generators", "reward", "index", "evaluator", "data") if not getattr(options, each)]
    if missing:
        parser.error(f"give {', '.join(missing)}, or --draw and tables of earlier runs")
    options.output.mkdir(parents=True, exist_ok=True)
    table = options.output.with_suffix(".csv")
    with open(table, "w", encoding="utf-8", newline="") as file:
        writer = None
        for generator in options.generators:
            for told in climb(options, generator):
                if writer is None:
                    writer = csv.DictWriter(file, told.keys())
                    writer.writeheader()
                writer.writerow(told)
                print(*told.values(), flush=True)
            file.flush()
    draw(options.output.with_suffix(".png"), [table])


if __name__ == "__main__":
    main()
