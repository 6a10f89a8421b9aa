"""R@1 against the timestep, as numbers in a file and as one picture; several runs beside each other."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from lightning import Callback, LightningModule, Trainer

from realign.callbacks.gallery import log_folder, log_picture
from realign.errors import InputError, optional_packages
from realign.files import atomic_path

Curve = dict[str, float]
"""R@1 by timestep: ``clean``, and ``t05`` for the tenth of the schedule around 5 %."""


class RecallByNoise(Callback):
    """Writes ``recall_by_noise.json``, ``.csv`` and ``.png`` after every validation and test of a reward model.

    The picture is logged, too, by loggers of pictures.

    Args:
        folder: Where to write; the log folder of the run when None.
        label: What this run is called in the picture.
        beside: Files of other runs to draw beside it, by label, such as one without the timestep token; several files
            of one label, separated by commas, make a curve of their mean and a band of their range.
    """

    def __init__(
        self, folder: str | None = None, label: str = "this run", beside: dict[str, str] | None = None
    ) -> None:
        self.folder, self.label, self.beside = folder, label, beside or {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what the validation found."""
        self._write(trainer, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what the test found."""
        self._write(trainer, "test")

    def _write(self, trainer: Trainer, stage: str) -> None:
        start = f"{stage}/r1_"
        curve = {
            name.removeprefix(start): round(float(value), 6)
            for name, value in trainer.callback_metrics.items()
            if name.startswith(start)
        }
        if not curve or trainer.sanity_checking:
            return
        folder = Path(self.folder) if self.folder else log_folder(trainer)
        if not trainer.is_global_zero:
            return
        about = {"label": self.label, "stage": stage, "step": trainer.global_step, "epoch": trainer.current_epoch}
        with atomic_path(folder / "recall_by_noise.json") as path:
            path.write_text(json.dumps(about | {"r1": curve}, indent=1))
        with atomic_path(folder / "recall_by_noise.csv") as path, open(path, "w", newline="") as file:
            csv.writer(file).writerows([("timestep", "r1"), *curve.items()])
        others = {
            label: [read_curve(name.strip()) for name in names.split(",")] for label, names in self.beside.items()
        }
        picture = draw_recall(folder / "recall_by_noise.png", {self.label: [curve], **others})
        log_picture(trainer, f"{stage}/recall_by_noise", picture)


def read_curve(path: str | Path) -> Curve:
    """R@1 by timestep from a file that `RecallByNoise` wrote, JSON or CSV.

    Raises:
        InputError: The file is missing or something else.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        rows: Any = json.loads(text)["r1"].items() if text.startswith("{") else list(csv.reader(text.splitlines()))[1:]
        return {str(timestep): float(value) for timestep, value in rows}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path} is not a curve of recall by noise ({error}); give a file of that callback."
        ) from error


def draw_recall(path: str | Path, curves: Mapping[str, Sequence[Curve]]) -> Path:
    """Draw R@1 against the timestep, in percent of the schedule; clean motions are left of 0.

    Args:
        path: The picture, in a format that matplotlib writes.
        curves: Runs by label; of several runs the mean is drawn, within a band from the lowest to the highest.

    Returns:
        The path.
    """
    with optional_packages():
        from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for label, runs in curves.items():
        timesteps = sorted(runs[0], key=_place)
        values = [[100 * run[timestep] for run in runs] for timestep in timesteps]
        (line,) = axes.plot(
            list(map(_place, timesteps)), [mean(each) for each in values], marker="o", markersize=4, label=label
        )
        if len(runs) > 1:
            low, high = [min(each) for each in values], [max(each) for each in values]
            axes.fill_between(list(map(_place, timesteps)), low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set_xticks([_place("clean"), *range(0, 101, 20)], ["clean", *map(str, range(0, 101, 20))])
    axes.set(xlabel="timestep, % of the schedule", ylabel="R@1, text to motion (%)", ylim=(0, 102))
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
    return Path(path)


def _place(timestep: str) -> float:
    """Position of a timestep on the axis."""
    return -8.0 if timestep == "clean" else float(timestep.lstrip("at"))
