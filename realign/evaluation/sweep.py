"""Guidance over a grid of strengths and other settings: an evaluation of each, as CSV and as a picture."""

import csv
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realign.errors import InputError, optional_packages
from realign.evaluation.estimate import METHODS
from realign.evaluation.results import LEARNED, PLAIN, Results, Row
from realign.evaluation.settings import Setting
from realign.files import atomic_path
from realign.guidance.config import GuidanceConfig

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = ("R@1", "FID")
_SAMPLING = ("steps", "guidance_scale", "scheduler")
_GUIDING = tuple(GuidanceConfig.options())


def sweep_settings(
    grid: Mapping[str, Sequence[Any]], common: str = "", own: GuidanceConfig | None = None
) -> list[Setting]:
    """Every combination of the grid's values, and the unguided generator once for each choice of sampling options.

    Args:
        grid: Values by the words of `Setting.parse`: ``strength``, ``steps``, ``mu``, ``eta``, ``interval`` and so
            on; a strength of 0 is the unguided generator. ``window`` takes pairs (start, stop).
        common: Words for all settings, such as ``profile=signal norm=clip``.
        own: The generator's own guidance, for options that are not given.

    Raises:
        InputError: No strength, or words or values that do not fit.
    """
    if not grid.get("strength"):
        raise InputError("A sweep needs strengths; give at least one, such as 1.")
    found: dict[Setting, None] = {}  # keeps the order, and each once
    for values in product(*grid.values()):
        each = dict(zip(grid, values, strict=True))
        if "window" in each:
            each["start"], each["stop"] = each.pop("window")
        words = {name: f"{name}={value}" for name, value in each.items()}
        sampling = [words[name] for name in _SAMPLING if name in words]
        sampling += [word for word in common.split() if word.partition("=")[0] in (*_SAMPLING, "cfg")]
        found[Setting.parse(" ".join(sampling))] = None
        if each["strength"]:
            found[Setting.parse(" ".join(["guidance=reward", common, *words.values()]), own=own)] = None
    # unguided first: the others are compared with it
    return sorted(found, key=lambda setting: setting.config.method != "none")


def write_sweep(path: str | Path, results: Results) -> list[Path]:
    """Write a CSV, one line for every setting and evaluator, and a picture beside it.

    Args:
        path: The CSV file.
        results: Of the settings; others in the file are written, too.

    Returns:
        Both files.
    """
    path = Path(path)
    measures = [*LEARNED, *PLAIN]
    head = ["name", "guidance", *_GUIDING, *_SAMPLING, "evaluator", "replications", "interval method"]
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*head, *(f"{measure}{tail}" for measure in measures for tail in ("", " interval"))])
        for row in results.rows:
            for evaluator in results.evaluators:
                estimate = row.estimate("FID", evaluator)
                method = METHODS[estimate.method] if estimate is not None and estimate.method is not None else ""
                about = [*_told(row), evaluator, len(row.replications), method]
                writer.writerow([*about, *_numbers(row, evaluator)])
    return [path, draw_sweep(path.with_suffix(".png"), results)]


def draw_sweep(path: str | Path, results: Results) -> Path:
    """Draw R-precision against FID, one point a setting, joined in the order of strength; unguided and real marked.

    Args:
        path: The picture, in a format that matplotlib writes.
        results: What to draw; one panel an evaluator.

    Returns:
        The path.
    """
    with optional_packages():
        from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * len(results.evaluators), 4.8), layout="constrained")
    panels = figure.subplots(1, len(results.evaluators), squeeze=False)[0]
    for axes, evaluator in zip(panels, results.evaluators, strict=True):
        _draw_panel(axes, results, evaluator)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
    return Path(path)


def _draw_panel(axes: "Axes", results: Results, evaluator: str) -> None:
    lines: dict[str, list[Row]] = {}
    for row in results.rows:
        if (row.setting or {}).get("guidance") == "reward":
            lines.setdefault(_line(row), []).append(row)
    for name, rows in lines.items():
        rows.sort(key=_strength)
        axes.plot(*_places(rows, evaluator), marker="o", linewidth=1, label=name)
        for row, x, y in zip(rows, *_places(rows, evaluator), strict=True):
            axes.annotate(f"{_strength(row):g}", (x, y), textcoords="offset points", xytext=(4, 4), fontsize=8)
    for number, row in enumerate(
        row for row in results.rows if (row.setting or {}).get("guidance") in ("none", "best-of")
    ):
        marker = "sDv^<>"[number % 6]
        axes.scatter(*_places([row], evaluator), marker=marker, color="black", zorder=3, label=row.name)
    real = [row for row in results.rows if row.setting is None]
    axes.scatter(*_places(real, evaluator), marker="*", s=120, color="gold", edgecolor="black", zorder=3, label="real")
    axes.set(xlabel="FID (lower is better)", ylabel="R@1 (higher is better)", title=evaluator)


def _places(rows: Sequence[Row], evaluator: str) -> tuple[list[float], list[float]]:
    """FID and R@1 of rows; NaN where one was not measured."""
    y, x = ([_mean(row, measure, evaluator) for row in rows] for measure in SHOWN)
    return x, y


def _mean(row: Row, measure: str, evaluator: str) -> float:
    found = row.estimate(measure, evaluator)
    return float("nan") if found is None else found.mean


def _strength(row: Row) -> float:
    return float((row.setting or {})["strength"])


def _line(row: Row) -> str:
    """What the settings of one line have in common: everything except strength and name."""
    words = [word for word in row.name.split() if not word.startswith("strength=")]
    return " ".join(words)


def _told(row: Row) -> list[Any]:
    """The setting as the columns of the table; of real motions, the name alone."""
    if row.setting is None:
        return [row.name] + [""] * (1 + len(_GUIDING) + len(_SAMPLING))
    guiding = {"strength": 0.0} if row.setting["guidance"] == "none" else row.setting
    sampling = ["" if row.setting[name] is None else row.setting[name] for name in _SAMPLING]
    return [row.name, row.setting["guidance"], *(guiding.get(name, "") for name in _GUIDING), *sampling]


def _numbers(row: Row, evaluator: str) -> list[Any]:
    found = [row.estimate(measure, evaluator) for measure in LEARNED] + [row.estimate(measure) for measure in PLAIN]
    return [value for each in found for value in (("", "") if each is None else (each.mean, each.interval))]
