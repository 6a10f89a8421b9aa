"""What a second of sampling buys: curves of an evaluation's rows over the time that they took.

    realign evaluate ... --setting "name=10 steps=10" --setting "name=g10 steps=10 guidance=default" ... -o steps.json
    python benchmarks/compute_curves.py steps.json -o compute.png

Rows are joined by their method (unguided, guided, best of several), from the fastest to the slowest; a point's label is
the number of steps, or of candidates. R@1 and FID are of each evaluator of the file.
"""

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path

from realign.evaluation.results import Results, Row

METHODS: Mapping[str, tuple[str, str]] = {
    "none": ("unguided", "C0"), "reward": ("guided", "C1"), "best-of": ("best of several", "C2")
}  # fmt: skip


def milliseconds(row: Row) -> float:
    """Median time of a clip over the replications."""
    return statistics.median(1000 * each["seconds"] / each["clips"] for each in row.replications)


def points(results: Results) -> dict[str, list[tuple[Row, str]]]:
    """Rows and labels by method, the fastest first."""
    found: dict[str, list[tuple[Row, str]]] = {}
    for row in results.rows:
        if row.setting is None:
            continue
        method, steps = row.setting["guidance"], row.setting["steps"]
        label = f"{row.setting['candidates']} x {steps}" if method == "best-of" else str(steps)
        found.setdefault(method, []).append((row, label))
    return {method: sorted(rows, key=lambda each: milliseconds(each[0])) for method, rows in found.items()}


def draw(results: Results, path: Path) -> None:
    """R@1 (above) and FID (below) over the time of a clip, one column for each evaluator."""
    from matplotlib.figure import Figure

    methods = points(results)
    figure = Figure(figsize=(5.5 * len(results.evaluators), 7), layout="constrained")
    for column, evaluator in enumerate(results.evaluators):
        for line, measure in enumerate(("R@1", "FID")):
            axes = figure.add_subplot(2, len(results.evaluators), line * len(results.evaluators) + column + 1)
            for method, rows in methods.items():
                name, color = METHODS[method]
                found = [(milliseconds(row), row.estimate(measure, evaluator), label) for row, label in rows]
                places = [(x, each.mean, label) for x, each, label in found if each is not None]
                axes.plot([x for x, _, _ in places], [y for _, y, _ in places], "-o", color=color, label=name)
                for x, y, label in places:
                    axes.annotate(label, (x, y), textcoords="offset points", xytext=(4, 5), fontsize=7, color=color)
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:.0f}")
            axes.set(xlabel="ms of sampling per clip", ylabel=f"{measure}, by {evaluator}")
    figure.axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("compute.png"))
    options = parser.parse_args()
    draw(Results.load(options.results), options.output)


if __name__ == "__main__":
    main()
