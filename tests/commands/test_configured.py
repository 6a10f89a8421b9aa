"""Options of `realign evaluate` from configurations."""

import argparse
import json
from pathlib import Path

import pytest

from realign.cli import main, parse, parser
from realign.commands.evaluate import expand
from realign.errors import InputError


def words_of(config: str, tmp_path: Path, *own: str) -> list[str]:
    path = tmp_path / "row.yaml"
    path.write_text(config)
    return expand(["evaluate", "--config", str(path), *own])


def options_of(config: str, tmp_path: Path, *own: str) -> argparse.Namespace:
    return parser().parse_args(words_of(config, tmp_path, *own))


def test_values_of_every_kind_of_option(tmp_path: Path) -> None:
    found = options_of(
        """
        data: prepared/x
        evaluator: [guo=a, second=b]
        guidance: [none, reward]
        setting: {name: strong, guidance: reward, strength: 600}
        through-decoder: false
        batch_mean: true
        window: .2,1
        norm_limit: 2
        mm_replications: 3
        reward: null
        published: {R@1: [0.567, 0.003], FID: 0.195}
        """,
        tmp_path,
    )
    assert str(found.data) == "prepared/x" and found.evaluator == ["guo=a", "second=b"]
    assert found.guidance == ["none", "reward"] and found.setting == ["name=strong guidance=reward strength=600"]
    assert (found.through_decoder, found.batch_mean, found.window) == (False, True, (0.2, 1.0))
    assert (found.norm_limit, found.mm_replications, found.reward, found.replications) == (2.0, 3, None, 20)
    assert found.published == {"R@1": [0.567, 0.003], "FID": 0.195}


@pytest.mark.parametrize(
    ("own", "name", "value"),
    [
        (["--steps", "7"], "steps", 7),
        (["--steps=7"], "steps", 7),
        (["--repl", "7"], "replications", 7),
        (["--no-batch-mean"], "batch_mean", False),
        (["--evaluator", "c"], "evaluator", ["c"]),
        (["--guidance", "best-of"], "guidance", ["best-of"]),
        (["-o", "b.json"], "output", Path("b.json")),
    ],
)
def test_the_command_line_wins(own: list[str], name: str, value: object, tmp_path: Path) -> None:
    config = "{data: x, steps: 5, replications: 5, evaluator: [a, b], guidance: none, output: a.json, batch_mean: true}"
    assert getattr(options_of(config, tmp_path, *own), name) == value
    path = str(tmp_path / "row.yaml")
    assert getattr(parse(["evaluate", *own, f"--conf={path}"]), name) == value


def test_bases_and_later_configurations(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("{let: {set: x}, data: 'prepared/${set}', steps: 5, published: {FID: 1}}")
    (tmp_path / "other.yaml").write_text("steps: 9")
    words = ["--config", str(tmp_path / "other.yaml")]
    found = options_of("{base: base.yaml, let: {set: y}, published: {R@1: 0.5}}", tmp_path, *words)
    assert (str(found.data), found.steps, found.published) == ("prepared/y", 9, {"FID": 1, "R@1": 0.5})


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("stepz: 5", "sets 'stepz', which is not an option of realign evaluate; did you mean steps"),
        ("trust_code: true", "sets trust_code, which only the command line can"),
        ("config: other", "sets config, which only the command line can"),
        ("no_batch_mean: true", "'no_batch_mean', which is not an option"),
        ("batch_mean: 3", "batch_mean=3 of the configuration does not fit; give true or false"),
        ("steps: [1, 2]", "steps=.1, 2. of the configuration does not fit; give one value"),
        ("[steps]", "holds no names with values"),
    ],
)
def test_what_does_not_fit_is_told(config: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        words_of(config, tmp_path)


def test_a_missing_configuration_is_told_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--config", "paper/mld_humanml"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "paper/mld_humanml3d" in error
    assert main(["evaluate", "--data", "x", "--config"]) == 2
    assert "needs the name of a configuration" in capsys.readouterr().err


@pytest.mark.parametrize("figures", ["3", "{R@9: 1}", "{R@1: high}", "{R@1: [1, 2, 3]}", "{FID: .nan}", "{FID: true}"])
def test_published_figures_are_measures_with_numbers(
    figures: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realign.data.store.read_meta", lambda folder: {})
    (tmp_path / "row.yaml").write_text(f"{{data: x, published: {figures}}}")
    assert main(["evaluate", "--config", str(tmp_path / "row.yaml")]) == 2
    assert "ublished" in capsys.readouterr().err


def test_json_of_figures(tmp_path: Path) -> None:
    assert json.loads(words_of("{published: {FID: 1}}", tmp_path)[1].partition("=")[2]) == {"FID": 1}
