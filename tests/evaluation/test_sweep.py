"""The sweep in Python and on the command line, with matching untrained models."""

import csv
from pathlib import Path

import pytest
from evaluate_parts import make_shelf
from matplotlib.figure import Figure

from realign.cli import main
from realign.errors import InputError
from realign.evaluation.results import Results
from realign.evaluation.settings import Setting
from realign.evaluation.sweep import draw_sweep, sweep_settings, write_sweep
from realign.guidance.config import GuidanceConfig


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture(scope="module")
def swept(shelf: Path) -> tuple[Path, list[str]]:
    """Results of a sweep that was run once, and again with one more strength."""
    words = ["sweep", "--data", str(shelf / "data"), "--generator", str(shelf / "generator"), "--evaluator",
             str(shelf / "evaluator"), "--reward", str(shelf / "reward"), "--replications", "2", "--steps", "1", "2",
             "--common", "norm=normalize", "--limit", "33", "-o", str(shelf / "sweep.csv")]  # fmt: skip
    assert main([*words, "--strength", "3"]) == 0
    return shelf / "sweep.csv", words


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_grid_is_every_combination_and_one_unguided_run_per_sampling_method() -> None:
    grid = {"strength": [0.0, 1.0, 2.0], "steps": [10, 50], "mu": [1.0, 0.5], "window": [(0.0, 1.0), (0.25, 0.75)]}
    found = sweep_settings(grid, "profile=signal guidance_scale=2.5")
    plain, guided = found[:2], found[2:]
    assert [(each.config.method, each.steps, each.guidance_scale) for each in plain] == [
        ("none", 10, 2.5),
        ("none", 50, 2.5),
    ]
    assert all(
        each.config.method == "reward" and each.config.profile == "signal" and each.guidance_scale == 2.5
        for each in guided
    )
    points = {(e.config.strength, e.steps, e.config.mu, e.config.start, e.config.stop) for e in guided}
    assert len(guided) == len(points) == len({each.name for each in found}) - 2 == 2 * 2 * 2 * 2
    assert (2.0, 50, 0.5, 0.25, 0.75) in points


def test_missing_options_are_the_generators_own() -> None:
    own = GuidanceConfig(eta=1.0, strength=7.0, stop=0.6)
    found = sweep_settings({"strength": [0.0, 2.0], "eta": [0.0, 1.0]}, own=own)
    assert [each.name for each in found] == ["unguided", "reward eta=0.0 strength=2.0", "reward strength=2.0"]
    assert {each.config.stop for each in found[1:]} == {0.6} and found[0] == Setting()


@pytest.mark.parametrize(
    ("grid", "common", "reason"),
    [
        ({"strength": []}, "", "give at least one"),
        ({"strength": [1.0]}, "profil=signal", "'profil=signal' is not understood"),
        ({"strength": [1.0], "window": [(0.9, 0.1)]}, "", r"window \[0.9, 0.1\]"),
    ],
)
def test_bad_grids_are_refused(grid: dict, common: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        sweep_settings(grid, common)


def test_the_csv_holds_the_measures_of_every_setting(swept: tuple[Path, list[str]]) -> None:
    lines, results = table(swept[0]), Results.load(swept[0].with_suffix(".json"))
    assert [(line["guidance"], line["steps"], line["strength"]) for line in lines] == [
        ("", "", ""), ("none", "1", "0.0"), ("none", "2", "0.0"), ("reward", "1", "3.0"), ("reward", "2", "3.0")
    ]  # fmt: skip
    assert lines[0]["name"] == "real" and lines[3]["norm"] == "normalize" and lines[3]["mu"] == "1.0"
    for line, row in zip(lines, results.rows, strict=True):
        assert line["evaluator"] == "evaluator" and line["replications"] == "2"
        for measure, evaluator in (
            ("R@1", "evaluator"),
            ("FID", "evaluator"),
            ("foot_skating", None),
            ("reward", None),
        ):
            estimate = row.estimate(measure, evaluator)
            assert float(line[measure]) == estimate.mean and float(line[f"{measure} interval"]) == estimate.interval


def test_further_strengths_are_added_to_existing_results(swept: tuple[Path, list[str]]) -> None:
    path, words = swept
    before = table(path)
    assert main([*words, "--strength", "0", "1"]) == 0
    after = table(path)
    assert after[: len(before)] == before and [line["strength"] for line in after[len(before) :]] == ["1.0", "1.0"]


def test_the_picture_has_one_point_per_setting(
    swept: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, drawn = Results.load(swept[0].with_suffix(".json")), []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **options: drawn.append(self) or save(self, *args, **options)
    )
    assert draw_sweep(tmp_path / "x.png", results).read_bytes()[:4] == b"\x89PNG"
    (axes,) = drawn[0].axes
    points = {tuple(point) for line in axes.lines for point in line.get_xydata().tolist()}
    marked = {tuple(point) for group in axes.collections for point in group.get_offsets().tolist()}
    places = {row.name: tuple(row.estimate(m, "evaluator").mean for m in ("FID", "R@1")) for row in results.rows}
    guided = {place for name, place in places.items() if name.startswith("reward")}
    assert points == guided and marked == set(places.values()) - guided
    names = axes.get_legend_handles_labels()[1]
    assert {"real", "unguided steps=1", "unguided steps=2"} < set(names) and len(
        axes.lines
    ) == 2  # one a number of steps


def test_a_sweep_goes_into_a_csv_file(swept: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*swept[1][:-1], "sweep.json", "--strength", "1"]) == 2
    assert "'sweep.json': end the name with one of .csv" in capsys.readouterr().err


def test_two_evaluators_make_two_lines_and_two_panels(tmp_path: Path) -> None:
    measured = {"R@1": 0.5, "FID": 1.0}
    results = Results({"evaluators": {"one": "1", "two": "2"}})
    record = {"measures": {}, "evaluators": {"one": measured, "two": measured}, "excluded": 0}
    results.row("real", None).replications.append(record)
    written = write_sweep(tmp_path / "two.csv", results)
    assert [line["evaluator"] for line in table(written[0])] == ["one", "two"] and written[1].is_file()
    assert [line["reward"] for line in table(written[0])] == ["", ""]
