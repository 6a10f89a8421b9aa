"""Configurations that build on others."""

from pathlib import Path

import pytest
import yaml

from realign.configuration import compose_arguments, find_config, merge, read_config
from realign.errors import InputError


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_bases_lie_under_and_later_ones_win(tmp_path: Path) -> None:
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
def test_a_fault_is_one_sentence_with_the_file(tmp_path: Path, text: str, told: str) -> None:
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


def test_only_the_configurations_of_a_command_line_are_replaced(tmp_path: Path) -> None:
    path = write(tmp_path, "top.yaml", "let: {n: 2}\na: {b: '${n}'}\n")
    words = compose_arguments(["fit", "--config", str(path), f"--config={path}", "--a.b", "3"])
    assert [words[0], *words[5:]] == ["fit", "--a.b", "3"]
    assert [yaml.safe_load(each) for each in (words[2], words[4])] == [{"a": {"b": 2}}] * 2
