"""Results that several processes write to one file."""

import json
import sys
from pathlib import Path

import pytest
from kill_parts import end, start

from realign.errors import InputError
from realign.evaluation.results import Results, Row, open_results

ABOUT = {"seed": 0, "evaluators": {"evaluator": "x"}, "clips": (1, 2)}


def record(value: float) -> dict:
    return {"clips": 32, "excluded": 0, "measures": {}, "evaluators": {"evaluator": {"FID": value}}, "seconds": 1.0}


def opened(file: Path, *names: str) -> list[Row]:
    results = open_results(file, ABOUT)
    return [results, *(results.row(name, {"steps": name}) for name in names)]  # type: ignore[list-item]


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    first, shared, mine = opened(file, "shared", "mine")
    second, same, theirs = opened(file, "shared", "theirs")
    for number in range(3):
        shared.replications.append(record(number))
        first.save(file)
        theirs.replications.append(record(10 + number))
        theirs.multimodality.append({"excluded": 0, "evaluators": {"evaluator": 1.0}})
        second.save(file)
    same.replications.append(record(0))
    same.speed = {"p50_s": 1.0}
    second.save(file)
    mine.replications.append(record(20))
    first.save(file)
    found = {row.name: row for row in Results.load(file).rows}
    assert list(found) == ["shared", "mine", "theirs"]
    assert [each["evaluators"]["evaluator"]["FID"] for each in found["shared"].replications] == [0, 1, 2]
    assert found["shared"].speed == {"p50_s": 1.0} and len(found["mine"].replications) == 1
    assert len(found["theirs"].replications) == len(found["theirs"].multimodality) == 3
    summaries = {row["name"]: row["summary"] for row in json.loads(file.read_text())["rows"]}
    assert summaries["shared"]["evaluator/FID"]["mean"] == 1 and summaries["theirs"]["evaluator/FID"]["mean"] == 11
    assert len(shared.replications) == 3 and first.rows == [shared, mine], "what a run works on stays its own"
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")
def test_many_processes_write_at_once(tmp_path: Path) -> None:
    file = tmp_path / "results.json"

    def write(name: str) -> None:
        results, own, shared = opened(file, name, "shared")
        for number in range(15):
            own.replications.append(record(number))
            if len(shared.replications) == number:  # as an evaluation does
                shared.replications.append(record(number))
            results.save(file)

    children = [start(lambda name=name: write(name)) for name in "abcd"]  # type: ignore[misc]
    assert [end(child) for child in children] == [0] * 4
    found = {row.name: len(row.replications) for row in Results.load(file).rows}
    assert found == {"a": 15, "b": 15, "c": 15, "d": 15, "shared": 15}


def test_results_that_do_not_match_are_refused_at_every_save(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    first, _ = opened(file, "a")
    other = Results({**ABOUT, "seed": 7})
    other.row("b", None)
    other.save(file)
    with pytest.raises(InputError, match=r"another seed \(7, now 0\)"):
        first.save(file)
    assert Results.load(file).rows[0].name == "b"
    file.unlink()
    first.save(file)
    same = Results(ABOUT)
    same.row("a", {"steps": 2})
    with pytest.raises(InputError, match="other settings under 'a'"):
        same.save(file)


def test_an_output_that_cannot_be_written_is_refused_before_measuring(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="A file is where a folder is needed"):
        open_results(tmp_path / "file" / "results.json", ABOUT)
    with pytest.raises(InputError, match="holds no results"):
        open_results(tmp_path, ABOUT)
    with pytest.raises(IsADirectoryError, match="choose another for the file"):
        Results(ABOUT).save(tmp_path)
    assert open_results(tmp_path / "new" / "results.json", ABOUT).rows == []
    assert [path.name for path in tmp_path.rglob("*")] in (["file", "new"], ["new", "file"])
