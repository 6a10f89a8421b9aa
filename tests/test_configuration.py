"""Configurations that build on others."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from realign.callbacks import EMA
from realign.cli import build, main
from realign.configuration import compose_arguments, configs_folder, find_config, merge, read_config
from realign.errors import InputError, Renamed
from realign.files import local_path, local_set
from realign.hub import HubName, HubSet, is_hub_name


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_files_override_bases_and_later_bases_win(tmp_path: Path) -> None:
    write(tmp_path, "base/one.yaml", "let: {width: 1}\na: {x: 1, y: 1}\nlist: [1, 2]\n")
    write(tmp_path, "base/two.yaml", "base: one.yaml\na: {y: 2, z: '${width}'}\n")
    top = write(
        tmp_path, "kind/top.yaml", "base: [../base/two.yaml]\nlet: {width: 3}\nlist: [3]\nname: runs/${config}\n"
    )
    assert read_config(top) == {"a": {"x": 1, "y": 2, "z": 3}, "list": [3], "name": "runs/kind_top"}


def test_another_class_drops_the_arguments_of_the_first() -> None:
    below = {"part": {"class_path": "A", "init_args": {"size": 1}}, "kept": 1}
    same = merge(below, {"part": {"class_path": "A", "init_args": {"other": 2}}})
    assert same["part"] == {"class_path": "A", "init_args": {"size": 1, "other": 2}}
    assert merge(below, {"part": {"class_path": "B"}}) == {"part": {"class_path": "B"}, "kept": 1}
    assert below["part"]["init_args"] == {"size": 1}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: ${nothing}\n", "nothing"),
        ("let: {a: '${b}', b: '${a}'}\nx: ${a}\n", "which no let sets"),
        ("base: absent.yaml\n", "absent.yaml"),
        ("base: bad.yaml\n", "its own base"),
        ("a: [\n", "not YAML"),
        ("just words\n", "no names"),
    ],
)
def test_a_fault_is_one_sentence_that_names_the_file(tmp_path: Path, text: str, told: str) -> None:
    path = write(tmp_path, "bad.yaml", text)
    with pytest.raises(InputError, match=told) as caught:
        read_config(path)
    assert "bad.yaml" in str(caught.value)


def test_shipped_configurations_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config("tiny/vae") == find_config("tiny/vae.yaml")
    assert read_config("tiny/vae")["model"]["class_path"] == "realign.tasks.VAETask"
    with pytest.raises(InputError, match="tiny/vae"):
        find_config("tiny/vea")


def test_folders_that_configurations_name_are_never_repositories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(value: Any, key: str = "") -> set[str]:
        if isinstance(value, Mapping):
            return {name for below, each in value.items() for name in named(each, below)}
        if isinstance(value, list):
            return {name for each in value for name in named(each)}
        places = ("data", "checkpoint", "generator", "reward", "index", "retriever", "evaluator", "dirpath", "folder")
        return {value.split("=")[-1]} if isinstance(value, str) and key in places else set()

    whole = [path for path in configs_folder().rglob("*.yaml") if path.parent.name not in ("base", "ablation")]
    folders = set().union(*(named(read_config(path)) for path in whole))
    monkeypatch.chdir(tmp_path)
    read_as_repositories = {name for name in folders if is_hub_name(name)}
    assert {Path(name).parts[0] for name in read_as_repositories} == {"prepared", "imported", "indexes", "runs"}
    for name in sorted(read_as_repositories):
        assert local_path(name) == local_set(name) == Path(name)
        assert isinstance(local_path(f"{name}@main"), HubName) and isinstance(local_set(f"{name}@main"), HubSet)


def test_only_configurations_of_a_command_line_are_replaced(tmp_path: Path) -> None:
    path = write(tmp_path, "top.yaml", "let: {n: 2}\na: {b: '${n}'}\n")
    words = compose_arguments(["fit", "--config", str(path), f"--config={path}", "--a.b", "3"])
    assert [words[0], *words[5:]] == ["fit", "--a.b", "3"]
    assert [yaml.safe_load(each) for each in (words[2], words[4])] == [{"a": {"b": 2}}] * 2
    assert compose_arguments(words) == words  # as processes do that Lightning starts


def test_a_base_is_a_relative_file_or_one_of_the_package(tmp_path: Path) -> None:
    path = write(tmp_path, "mine/own.yaml", "base: [tiny/vae, base/features.yaml]\nlet: {features: 7}\n")
    found = read_config(path)
    assert found == read_config("tiny/vae") | found and found["model"]["class_path"] == "realign.tasks.VAETask"
    assert "runs/mine_own" in str(found) and "tiny_vae" not in str(found["trainer"])
    write(tmp_path, "mine/tiny/vae", "model: 1\n")
    assert read_config(path)["model"] == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("base: tiny/vea\n", "tiny/vae"),
        ("base: ../base/generater.yaml\n", "base/generator"),
        ("base: [3]\n", "names the base 3"),
        ("base: {tiny: vae}\n", "names the base {'tiny': 'vae'}"),
        ("base: /tiny/vae\n", "comes with realign is tiny/vae"),
        ("let: [a]\n", "sets let to"),
    ],
)
def test_a_missing_base_is_reported_with_similar_names(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        read_config(write(tmp_path, "own.yaml", text))


def test_a_key_with_a_plus_adds_to_the_list_below() -> None:
    add = {"list+": [3]}
    assert merge({"list": [1, 2]}, add) == {"list": [1, 2, 3]}
    assert merge({"list": 1}, {"list+": 2}) == {"list": [1, 2]}
    assert merge({"list": None}, add) == {"list": [3]}
    assert merge({}, add) == add  # for an earlier --config
    assert merge(add, {"list+": [4]}) == {"list+": [3, 4]}
    assert merge(add, {"list": [5]}) == {"list": [5]}


@pytest.mark.parametrize("words", [["--config", "own.yaml"], ["-c=own.yaml"], ["--config=tiny/vae", "-c", "add.yaml"]])
def test_lists_are_extended_on_a_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    add = "trainer: {callbacks+: [{class_path: realign.callbacks.EMA, init_args: {decay: 0.5}}]}\n"
    write(tmp_path, "add.yaml", add)
    write(tmp_path, "own.yaml", f"base: tiny/vae\n{add}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["fit", *words, "--print_config"])
    callbacks = yaml.safe_load(capsys.readouterr().out)["trainer"]["callbacks"]
    assert end.value.code == 0
    assert [each["class_path"].rpartition(".")[2] for each in callbacks] == ["ModelCheckpoint", "SampleWriter", "EMA"]
    callbacks = build(words).trainer.callbacks
    assert [each.decay for each in callbacks if isinstance(each, EMA)] == [0.5]


def test_a_configuration_is_printed_without_its_data_and_wrong_names_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["fit", "--config", "generator/mdm_humanml3d", "--print_config=skip_null"])
    assert yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]["data"] == "prepared/humanml3d"
    assert main(["fit", "--config=tiny/vae", "--config", "generator/mdm_humanml", "--print_config"]) == 2
    assert "generator/mdm_humanml3d" in capsys.readouterr().err
    # the folder of the first configuration is kept if the second only changes the batch size
    write(tmp_path, "small.yaml", "data: {init_args: {batch_size: 2}}\n")
    assert main(["fit", "--config", "generator/mdm_humanml3d", "--config", "small.yaml"]) == 2
    assert "realign prepare" in capsys.readouterr().err


def test_old_options_of_guidance_are_gathered_with_a_note(tmp_path: Path) -> None:
    old = "reward: r, mu: 0.5, eta: 1.0, best_of: 3, options: {strength: 7.0}"
    text = f"trainer: {{callbacks: [{{class_path: realign.callbacks.RewardGuidedSampling, init_args: {{{old}}}}}]}}\n"
    with pytest.warns(Renamed, match="RewardGuidedSampling is now called its option guidance"):
        config = read_config(write(tmp_path, "kind/old.yaml", text))
    expected = {"mu": 0.5, "eta": 1.0, "strength": 7.0, "method": "best-of", "candidates": 3}
    assert config["trainer"]["callbacks"][0]["init_args"] == {"reward": "r", "guidance": expected}


@pytest.mark.parametrize(
    ("old", "new"),
    [("val_guided/r1_by_judge", "val_guided/r1_by_evaluator"), ("val_guided/judge_text", "val_guided/evaluator_text")],
)
def test_old_names_of_monitored_metrics_work(tmp_path: Path, old: str, new: str) -> None:
    kept = {"class_path": "EMA", "init_args": {"decay": 0.5, "monitor": "val/loss"}}
    config = {"trainer": {"callbacks": [{"class_path": "ModelCheckpoint", "init_args": {"monitor": old}}, kept]}}
    with pytest.warns(Renamed, match=f"{old} is now called {new}"):
        found = read_config(write(tmp_path, "kind/old.yaml", yaml.safe_dump(config)))
    assert found["trainer"]["callbacks"] == [{"class_path": "ModelCheckpoint", "init_args": {"monitor": new}}, kept]
