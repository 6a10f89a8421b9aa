"""Key maps, safe reading and the command, without any reference files."""

import argparse
import collections
import datetime
import os
import pathlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from realign.checkpoint.inert import read_inert
from realign.checkpoint.official.key_map import KeyMap
from realign.checkpoint.official.published import Published
from realign.checkpoint.tensors import read_tensors
from realign.cli import main
from realign.errors import InputError

KEYS = KeyMap({"stack.*.norm1.*": "layers.*.first.*", "out.*": "write.*", "lone": "alone"}, ("clip.*", "*.pe"))


def test_a_key_map_translates_in_both_directions() -> None:
    names = ["stack.0.norm1.weight", "stack.11.norm1.bias", "out.weight", "lone"]
    found, surplus = KEYS.rename(
        dict.fromkeys([*names, "clip.visual.x", "a.pe", "lone.more", "stack.0.norm2.weight"], 1)
    )
    assert list(found) == ["layers.0.first.weight", "layers.11.first.bias", "write.weight", "alone"]
    assert surplus == ["lone.more", "stack.0.norm2.weight"]
    assert [KEYS.published(name) for name in found] == names and KEYS.published("of.ours") == "of.ours"


class Foreign:
    """A class of a program that is not installed."""

    def __init__(self) -> None:
        self.value = [1]


def old_lightning(folder: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Path:
    """Content of an old trainer's file: options as objects, states of optimisers and callbacks."""
    monkeypatch.setattr(Foreign, "__module__", "gone_program")
    monkeypatch.setitem(sys.modules, "gone_program", argparse.Namespace(Foreign=Foreign))
    content = {
        "state_dict": collections.OrderedDict(weight=torch.arange(6.0).reshape(2, 3), half=torch.ones(2).half()),
        "hyper_parameters": {
            "cfg": Foreign(),
            "options": argparse.Namespace(lr=1),
            "place": pathlib.PurePosixPath("/x"),
        },
        "optimizer_states": [{"state": {0: {"step": 3, "exp_avg": torch.ones(3)}}, "kinds": {1, 2}}],
        "callbacks": {"best": np.float64(0.5), "when": datetime.datetime(2022, 1, 1), "rows": np.arange(3)},
        "counts": collections.defaultdict(list, {"a": [1]}),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        **more,
    }
    torch.save(content, folder / "old.ckpt")
    torch.save(content, folder / "legacy.ckpt", _use_new_zipfile_serialization=False)
    monkeypatch.delitem(sys.modules, "gone_program")
    return folder


@pytest.mark.parametrize("name", ["old.ckpt", "legacy.ckpt"])
def test_tensors_of_old_lightning_files_are_read(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = old_lightning(tmp_path, monkeypatch) / name
    with pytest.raises(InputError, match="holds Python objects, which are never executed"):
        read_tensors(path, "checkpoint", "take another")
    state = Published.read("mld", path, ("state_dict",)).state
    assert list(state) == ["weight", "half"] and torch.equal(state["weight"], torch.arange(6.0).reshape(2, 3))
    assert torch.equal(read_inert(path)["parameter"], torch.ones(2))


class Harm:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple:
        return self.function, self.arguments


class ByState:
    """Changes functions that a later reader of files would call."""

    def __reduce__(self) -> tuple:
        return torch._utils._rebuild_tensor_v2, (), {"__defaults__": (1,)}


HARM = {
    "a shell": lambda mark: Harm(os.system, f"touch {mark}"),
    "a process": lambda mark: Harm(subprocess.Popen, ["touch", str(mark)]),
    "a method": lambda mark: Harm(Path.touch, mark),
    "code": lambda mark: Harm(eval, f"open({str(mark)!r}, 'w')"),
    "an attribute": lambda mark: Harm(getattr, mark, "touch"),
    "an import": lambda mark: Harm(__import__, "antigravity"),
    "pickled again": lambda mark: Harm(pickle.loads, pickle.dumps(Harm(os.system, f"touch {mark}"))),
    "a function of torch": lambda mark: ByState(),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", HARM)
def test_pickled_code_is_refused_and_not_executed(
    tmp_path: Path, name: str, zipped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "mark"
    content = {"state_dict": {"weight": torch.ones(2)}, "callbacks": HARM[name](mark)}
    torch.save(content, tmp_path / "x.ckpt", _use_new_zipfile_serialization=zipped)
    defaults = torch._utils._rebuild_tensor_v2.__defaults__
    with pytest.raises(InputError, match=r"asks to run \w+\.[\w.]+, and pickled code is never executed|damaged|is not"):
        read_tensors(tmp_path / "x.ckpt", "checkpoint", "take another", old=True)
    assert main(["import", "guo", str(tmp_path / "x.ckpt"), "--glove", str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not mark.exists() and not (tmp_path / "out").exists()
    assert torch._utils._rebuild_tensor_v2.__defaults__ == defaults


@pytest.mark.parametrize("cut", [0, 10, 500, -30])
def test_a_truncated_file_is_reported(tmp_path: Path, cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("old.ckpt", "legacy.ckpt"):
        path = old_lightning(tmp_path, monkeypatch) / name
        path.write_bytes(path.read_bytes()[:cut])
        with pytest.raises(InputError, match="damaged or cut short|never executed"):
            Published.read("mld", path, ("state_dict",))


def test_bad_arguments_of_the_command_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"temporal_decoder_blocks.0.sa_block.query.weight": torch.ones(2)}, tmp_path / "x.pt")
    for words, message in (
        (["what", str(tmp_path / "x.pt")], "There is no importer for 'what'; choose one of mdm"),
        (["mdm"], "Importing mdm needs its published file"),
        (["guo", str(tmp_path), "--mode", "M1T0"], "does not take --mode, but --glove --meta"),
        (["guo", str(tmp_path)], "give their folder by --glove"),
    ):
        assert main(["import", *words, "-o", str(tmp_path / "out")]) == 2
        told = capsys.readouterr().err
        assert message in told and len(told.splitlines()) == 1, told
    with pytest.raises(InputError, match="or import this one as motiondiffuse, which it looks like"):
        Published.read("mdm", tmp_path / "x.pt").shape("out.weight")
    assert not (tmp_path / "out").exists()
