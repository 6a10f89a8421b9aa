"""The search for a generator's guidance: its rule on invented measures, and the command on small models."""

from argparse import Namespace
from pathlib import Path

import pytest
from evaluate_parts import make_shelf

from realign.cli import main
from realign.commands import tune_guidance
from realign.evaluation.results import Results, Row
from realign.evaluation.settings import Setting
from realign.evaluation.tuning import Search, judge, search, write_guidance
from realign.guidance.config import GuidanceConfig
from realign.guidance.own import OwnGuidance
from realign.hub import HubName


def row(name: str, r1: float, fid: float, skating: float, second: tuple[float, float] | None = None) -> Row:
    """A row of one replication, by one evaluator or two."""
    tables = {"one": {"R@1": r1, "FID": fid}} | (
        {"two": dict(zip(("R@1", "FID"), second, strict=True))} if second else {}
    )
    record = {"measures": {"foot_skating": skating}, "evaluators": tables, "excluded": 0}
    return Row(name, {"name": name}, [record])


def results(*rows: Row) -> Results:
    return Results({"evaluators": dict.fromkeys(rows[0].replications[0]["evaluators"])}, list(rows))


def test_a_setting_qualifies_if_no_measure_of_any_evaluator_is_worse() -> None:
    base = row("unguided", 0.5, 10.0, 0.2, (0.4, 20.0))
    better = row("better", 0.6, 8.0, 0.2, (0.44, 18.0))
    verdict = judge(results(base, better), better, base, 0.01)
    assert verdict.worse == () and verdict.gain == pytest.approx((0.2 + 0.2 + 0.1 + 0.1) / 2)
    for worse, told in (
        (row("w", 0.49, 1.0, 0.1, (0.9, 1.0)), "R@1 by one"),
        (row("w", 0.9, 1.0, 0.1, (0.9, 20.5)), "FID by two"),
        (row("w", 0.9, 1.0, 0.203, (0.9, 1.0)), "foot skating"),
    ):
        assert judge(results(base, worse), worse, base, 0.01).worse == (told,)
        assert judge(results(base, worse), worse, base, 0.03).worse == ()
        assert verdict.rank > judge(results(base, worse), worse, base, 0.01).rank


def measured(best: float, skating: float = 0.2):
    """Runs settings of a generator whose R@1 rises until a strength, at x_t and in the window 0.3 to 1 most."""
    rows: dict[str, Row] = {}

    def run(settings: list[Setting]) -> Results:
        for each in settings:
            guidance = each.config
            if guidance.method == "none":
                rows[each.name] = row(each.name, 0.5, 10.0, 0.2)
                continue
            near = 1 / (1 + abs(guidance.strength / best - 1))
            near *= {"x_t": 1.0, "x0": 0.5}[guidance.point] * (1.0 if guidance.start == 0.3 else 0.8)
            rows[each.name] = row(each.name, 0.5 + 0.3 * near, 10 - 3 * near, skating)
        return results(*rows.values())

    return run


def test_the_search_climbs_to_the_best_setting() -> None:
    plan = Search(GuidanceConfig(eta=1.0, start=0.0), Setting(steps=10))
    guidance, verdicts = search(plan, measured(best=420.0))
    assert (guidance.point, guidance.start, guidance.stop, guidance.strength) == ("x_t", 0.3, 1.0, 420.0)
    assert guidance.eta == 1.0 and verdicts[0].name == "x_t 0.3-1 every 2 strength 420"
    assert verdicts == sorted(verdicts, key=lambda verdict: verdict.gain, reverse=True)
    assert all(each.setting is None or each.setting["name"] for each in measured(1.0)([plan.unguided()]).rows)


def test_where_every_setting_is_worse_there_is_no_guidance(tmp_path: Path) -> None:
    plan = Search(GuidanceConfig(), Setting())
    guidance, verdicts = search(plan, measured(best=420.0, skating=0.3))
    assert guidance.method == "none" and all(verdict.worse == ("foot skating",) for verdict in verdicts)
    write_guidance(tmp_path / "guidance.yaml", guidance, "reward", "index")
    assert OwnGuidance.read(tmp_path).config == GuidanceConfig(method="none")


def test_the_file_is_the_guidance_of_the_generator_beside_it(tmp_path: Path) -> None:
    guidance = GuidanceConfig(eta=1.0, strength=420.0, start=0.3, point="x_t")
    (tmp_path / "generator").mkdir()
    write_guidance(tmp_path / "generator" / "guidance.yaml", guidance, "my_reward", "my_index")
    own = OwnGuidance.read(tmp_path / "generator")
    assert own == OwnGuidance(tmp_path / "my_reward", tmp_path / "my_index", guidance)
    write_guidance(tmp_path / "generator" / "guidance.yaml", guidance, "my_reward", "my_index", "index")
    known = OwnGuidance.read(tmp_path / "generator")
    assert known is not None and known.known == tmp_path / "index"


def test_names_of_repositories_stay_and_absent_folders_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = Namespace(reward=HubName("org/reward"), index=HubName("org/index@v1"), eta=1.0, generator=None)
    reward, index = tune_guidance._names(given)
    assert (reward, index) == ("hub:org/reward", "hub:org/index@v1")
    output = tmp_path / "generator" / "guidance.yaml"
    (tmp_path / "reward").mkdir()
    tune_guidance.tell_absent(output, {"reward": "reward", "index": index})
    assert capsys.readouterr().err == ""
    tune_guidance.tell_absent(output, {"reward": "last.ckpt"})
    assert f"names the reward 'last.ckpt', which is not at {tmp_path / 'last.ckpt'}" in capsys.readouterr().err


def test_the_command_writes_guidance_that_generate_can_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shelf = make_shelf(tmp_path)
    words = ["tune-guidance", "--generator", str(shelf / "generator"), "--data", str(shelf / "data"), "--split", "test"]
    words += ["--evaluator", str(shelf / "evaluator"), "--replications", "1", "--steps", "2", "--tolerance", "100"]
    assert main(words) == 2 and "Give --reward" in capsys.readouterr().err
    words += ["--reward", str(shelf / "reward")]
    assert main(words) == 2 and "Give --index" in capsys.readouterr().err
    words += ["--eta", "0", "--strengths", "1", "10", "--windows", "0,1", "--points", "x0"]
    assert main(words) == 0
    told = capsys.readouterr().out
    own = OwnGuidance.read(shelf / "generator")
    assert own is not None and own.reward == shelf / "reward" and own.config.point == "x0"
    assert f"strength {own.config.strength:g}" in told.splitlines()[0]
    kept = Results.load(shelf / "generator" / "guidance.json")
    assert [each.name for each in kept.rows][:2] == ["real", "unguided"] and len(kept.rows) == 2 + 2 + 4 + 1
