"""The script that runs benchmarks on a GPU, the table that it makes, and what draws evaluations."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from realign.evaluation.results import Results, Row

FOLDER = Path(__file__).parents[1] / "benchmarks"


def test_ratios_become_one_table(tmp_path: Path) -> None:
    code = (
        f"import os, sys\nsys.path.insert(0, {str(FOLDER)!r})\nfrom pathlib import Path\nfrom table import *\n"
        f"os.environ[FILE] = {str(tmp_path / 'rows')!r}\nsys.argv[0] = 'bench_x.py'\n"
        "report('speed, small', 0.954, 'at least 0.9')\nreport('cost', 1.2)\n"
        "print_table(Path(os.environ[FILE]), 'cpu')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["= speed, small: 0.95 (aim: at least 0.9)", "= cost: 1.20"]
    assert lines[-2:] == ["| bench_x | speed, small | 0.95 | at least 0.9 |", "| bench_x | cost | 1.20 |  |"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_script_runs_what_there_is_and_refuses_other_words() -> None:
    script = FOLDER / "run_gpu.sh"
    done = subprocess.run(["bash", str(script), "--fast"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("usage: ")
    called = re.findall(r"^run .*python (benchmarks/\w+\.py) --device", script.read_text(), re.MULTILINE)
    assert len(called) >= 5 and all((FOLDER.parent / name).is_file() for name in called)
    for name in called:
        assert '"--device"' in (FOLDER.parent / name).read_text(), f"{name} has no --device"


def results(tmp_path: Path) -> Path:
    """Two replications of recordings and of motions at 5 and 10 steps, guided and unguided, and of the best of two."""

    def row(name: str, setting: dict | None, rank: float, seconds: float) -> Row:
        records = [
            {
                "clips": 4, "excluded": 0, "seconds": seconds, "measures": {},
                "evaluators": {"own": {"R@1": rank + shift, "R@3": 0.9, "FID": 1 / rank, "MM-Dist": 2.0}},
            }
            for shift in (0.0, 0.02)
        ]  # fmt: skip
        return Row(name, setting, records)

    rows = [
        row("real", None, 0.8, 1.0),
        row("u10", {"steps": 10, "guidance": "none"}, 0.4, 2.0),
        row("u5", {"steps": 5, "guidance": "none"}, 0.2, 1.0),
        row("g10", {"steps": 10, "guidance": "reward"}, 0.6, 2.4),
        row("best", {"steps": 10, "guidance": "best-of", "candidates": 2}, 0.5, 4.0),
    ]
    Results({"evaluators": {"own": "x"}}, rows).save(tmp_path / "results.json")
    return tmp_path / "results.json"


def test_curves_go_from_the_fastest_row_to_the_slowest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    import compute_curves

    found = compute_curves.points(Results.load(results(tmp_path)))
    assert {method: [label for _, label in rows] for method, rows in found.items()} == {
        "none": ["5", "10"], "reward": ["10"], "best-of": ["2 x 10"]
    }  # fmt: skip
    assert compute_curves.milliseconds(found["reward"][0][0]) == pytest.approx(600)  # ms of each of four clips
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "results.json"), "-o", str(tmp_path / "curves.png")])
    compute_curves.main()
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_ladder_compares_guided_with_unguided_by_every_evaluator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    import ladder

    rows = {row.name: row for row in Results.load(results(tmp_path)).rows}
    told = {"generator": "stage7", **ladder.line(rows["real"], rows["u10"], rows["g10"], "own")}
    assert told["R@1"] == pytest.approx(0.41) and told["guided R@1"] == pytest.approx(0.61)
    assert told["+- R@1"] == pytest.approx(0)  # paired: both replications differ alike
    with open(tmp_path / "one.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, told.keys())
        writer.writeheader()
        writer.writerow(told)
    (rung,) = ladder.read(tmp_path / "one.csv")["own"]
    assert rung.start / rung.real == pytest.approx(0.41 / 0.81)
    assert (rung.r1, rung.fid) == pytest.approx((0.61 / 0.41 - 1, 0.4 / 0.6 - 1))
    monkeypatch.setattr(sys, "argv", ["x", "--draw", str(tmp_path / "one.csv"), "-o", str(tmp_path / "all")])
    ladder.main()
    assert (tmp_path / "all.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(sys, "argv", ["x", "stage7.ckpt", "--data", "set"])
    with pytest.raises(SystemExit):
        ladder.main()
    assert "give reward, index, evaluator, or --draw" in capsys.readouterr().err
