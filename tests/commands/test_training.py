"""Training commands: one sentence for every fault that a user can correct, and no loss of earlier runs."""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
import yaml
from lightning import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

import realign.commands.training as early
from realign.cli import main
from realign.configuration import read_config
from realign.errors import InputError, explain
from realign.launcher import check_launcher
from realign.motion.clip import MotionClip
from realign.tasks.checkpoint import load_task, save_pretrained
from realign.trainer import check_numbers

ROOT = Path(__file__).parents[2]
VAE = ROOT / "configs/tiny/vae.yaml"
COMPOSED = yaml.safe_dump(read_config(VAE))
QUICK = [
    *("--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1"),
    *("--trainer.limit_predict_batches=2", "--trainer.enable_progress_bar=false"),
    *("--trainer.enable_model_summary=false", "--trainer.logger=false"),
]
KEEP = [
    "--trainer.callbacks=lightning.pytorch.callbacks.ModelCheckpoint",
    *("--trainer.callbacks.dirpath=kept", "--trainer.callbacks.filename=last"),
    "--trainer.callbacks.enable_version_counter=false",
]
BARE = [*QUICK, "--trainer.callbacks=null"]


class Stop(Callback):
    """Interrupts a run."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        raise KeyboardInterrupt


class Terminate(Callback):
    """Does what Lightning does after a SIGTERM."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        raise SIGTERMException


class Evil:
    """Reports when it is executed."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REALIGN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def trained(cache: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("trained"))
        assert main(["fit", "--config", str(VAE), *QUICK, *KEEP]) == 0
        return Path("kept/last.ckpt").absolute()


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The error message of a command line."""
    assert main(args) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("realign: ")]
    assert len(lines) == 1 and "Traceback" not in lines[0], lines
    return lines[0]


def write(name: str, text: str) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def damaged(kind: str, good: Path) -> str:
    """A file, or folder, that is not a checkpoint of a training."""
    path = Path("some.ckpt")
    if kind == "cut":
        path.write_bytes(good.read_bytes()[:-1000])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("hello")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": Evil()}))
    elif kind == "executing":
        about = {"state_dict": {}, "pytorch-lightning_version": "2.6.0", "more": Evil()}
        torch.save(about, path)
    elif kind == "foreign":
        torch.save({"w": torch.zeros(3)}, path)
    elif kind == "list":
        torch.save([1, 2], path)
    elif kind == "weights named, but none":
        torch.save({"state_dict": None, "pytorch-lightning_version": "2.6.0"}, path)
    elif kind == "folder":
        path.mkdir()
        (path / "model.safetensors").touch()
    return str(path)


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
@pytest.mark.parametrize(
    "kind",
    ["absent", "cut", "empty", "text", "pickle", "executing", "foreign", "list", "weights named, but none", "folder"],
)
def test_a_foreign_file(kind: str, command: str, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if command not in ("fit", "predict") and kind not in ("absent", "executing"):
        pytest.skip("read as by the others")
    args = [command, "--config", str(VAE), *BARE, "--ckpt_path", damaged(kind, trained)]
    assert re.search("checkpoint|\\.ckpt that `realign fit` wrote", told(args, capsys))
    assert not Path("executed").exists() and not Path("checkpoints").exists()


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_folder_of_weights_is_tested_and_predicted_from_but_not_continued(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_pretrained(load_task(trained), folder := tmp_path / "exported")
    args = ["--config", str(VAE), *BARE, "--ckpt_path"]
    tables = []
    for path in (trained, folder):
        assert main(["test", *args, str(path)]) == 0
        tables.append([line for line in capsys.readouterr().out.splitlines() if "test/" in line])
    assert tables[0] == tables[1] and any("test/loss" in line for line in tables[0])
    assert "without the state of a training" in told(["fit", *args, str(folder)], capsys)
    mdm = ["--config", str(ROOT / "configs/tiny/generator_mdm.yaml"), *BARE]
    assert "does not fit the configured GeneratorTask" in told(["test", *mdm, "--ckpt_path", str(folder)], capsys)
    (folder / "model.safetensors").write_bytes(b"cut")
    assert "is damaged or cut short" in told(["predict", *args, str(folder)], capsys)


def test_a_checkpoint_in_a_configuration_of_another_task_or_that_is_absent_but_asked_for(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mdm = ["--config", str(ROOT / "configs/tiny/generator_mdm.yaml"), *BARE]
    assert "does not fit the configured GeneratorTask" in told(["test", *mdm, "--ckpt_path", str(trained)], capsys)
    entry = write("more.yaml", "ckpt_path: nowhere.ckpt\n")
    assert "no checkpoint at nowhere.ckpt" in told(["fit", "--config", str(VAE), "-c", entry, *BARE], capsys)
    assert "train first" in told(["test", "--config", str(VAE), *BARE, "--ckpt_path", "last"], capsys)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--trainer.accelerator=mps"], "no MPS device that torch can use here; take --trainer.accelerator cpu"),
        (["--trainer.accelerator=tpu"], "torch_xla"),
        (["--trainer.devices=0"], "--trainer.devices 0 names no cpu device; give a number of at least 1"),
        (["--trainer.devices=x"], "a number of at least 1"),
        (["--trainer.logger=WandbLogger"], "pip install wandb"),
        (["--trainer.logger=lightning.pytorch.loggers.MLFlowLogger"], "pip install mlflow"),
        (["--trainer.logger=NoSuchLogger"], "NoSuchLogger is not the path of a class"),
        (["--trainer.strategy=fsdp"], "requires a GPU accelerator"),
        (["--trainer.precision=fp8"], "Got value: fp8"),
        (["--trainer.accumulate_grad_batches=-1"], "--trainer.accumulate_grad_batches -1 is too small"),
        (["--trainer.max_epochs=-5"], "You passed in -5"),
        (["--seed_everything=-1"], "-1 is not in bounds"),
        (["--model.init_args.optimizer.init_args.lr=-1"], "Invalid learning rate: -1.0"),
        (["--data=realign.data.MotionDataModule", "--data.data=nowhere"], "nowhere holds no prepared set"),
        (["--data.init_args.batch_size=0"], "batch_size=0 must be at least 1"),
        (["--modle.kl_weight=1"], "did you mean model?"),
        (["--quux"], "'quux' is not an option of realign fit"),
    ],
)  # fmt: skip
def test_an_option_that_does_not_work_here(
    args: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning.pytorch.accelerators.mps.MPSAccelerator.is_available", lambda: False)
    monkeypatch.setattr(early, "find_spec", lambda name: None)
    assert words in told(["fit", "--config", str(VAE), *BARE, *args], capsys)
    assert {path.name for path in Path().iterdir()} <= {"config.yaml"}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("accumulate_grad_batches", 0, "--trainer.accumulate_grad_batches 0 is too small; give at least 1"),
        ("check_val_every_n_epoch", 0, "--trainer.check_val_every_n_epoch 0 is too small"),
        ("gradient_clip_val", -0.5, "--trainer.gradient_clip_val -0.5 is too small; give at least 0"),
        ("val_check_interval", 0.0, "never ends"),
    ],
)
def test_numbers_that_lightning_divides_by_or_loops_on(name: str, value: float, words: str) -> None:
    check_numbers(dict.fromkeys(["accumulate_grad_batches", "val_check_interval", "num_sanity_val_steps"], 1))
    with pytest.raises(InputError, match=words):
        check_numbers({name: value})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
@pytest.mark.parametrize("name", ["gpu", "cuda"])
def test_a_missing_gpu(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["fit", "--config", str(VAE), *BARE, f"--trainer.accelerator={name}"]
    assert "take --trainer.accelerator cpu or auto" in told(args, capsys)


def test_the_index_of_a_missing_device() -> None:
    from lightning.fabric.utilities.device_parser import _sanitize_gpu_ids

    with pytest.raises(lightning.fabric.utilities.exceptions.MisconfigurationException) as caught:
        _sanitize_gpu_ids([123], include_cuda=True)
    assert explain(caught.value) == (
        "--trainer.devices asks for the GPUs [123], but there are only "
        f"{list(range(torch.cuda.device_count()))}; name some of these or auto."
    )


@pytest.mark.parametrize(
    ("callback", "logged"), [("ModelCheckpoint", "val/mpjpe_mm"), ("EarlyStopping", "val/mpjpe_mm")]
)
def test_a_monitor_that_is_not_logged(callback: str, logged: str, capsys: pytest.CaptureFixture[str]) -> None:
    watch = [f"--trainer.callbacks=lightning.pytorch.callbacks.{callback}", "--trainer.callbacks.monitor=val/los"]
    sentence = told(["fit", "--config", str(VAE), *QUICK, *watch], capsys)
    assert f"{callback} monitors val/los, which this run does not log; choose one of" in sentence and logged in sentence


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SLURM_NTASKS": "4"}, "SLURM_NTASKS=4 without SLURM_NTASKS_PER_NODE"),
        ({"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2"}, "SLURM_NTASKS=4 is not SLURM_NNODES=1 times"),
        ({"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4"}, "SLURM_NTASKS=4, but --trainer.devices"),
        ({"SLURM_NTASKS": "four"}, "SLURM_NTASKS='four' is not a number"),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "3"}, "SLURM_PROCID=3 does not fit SLURM_NTASKS=1"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK=2 does not fit WORLD_SIZE=2"),
        ({"WORLD_SIZE": "2", "RANK": "0", "TORCHELASTIC_RUN_ID": "x"}, "WORLD_SIZE=2, but --trainer.devices"),
        ({"LOCAL_RANK": "x"}, "LOCAL_RANK='x' is not a number"),
    ],
)
def test_variables_of_a_launcher_that_disagree(
    variables: dict[str, str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert words in told(["fit", "--config", str(VAE), *BARE], capsys)


def test_variables_of_a_launcher_that_agree() -> None:
    check_launcher({"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "2", "SLURM_PROCID": "3"})
    check_launcher({"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "bash"})
    check_launcher({"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_PORT": "29500"})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [1\nb: {", "is not YAML (while"),
        ("trainer:\n\tmax_epochs: 1\n", "is not YAML (while"),
        ("- 1\n", "holds no names with values"),
        ("hello\n", "holds no names with values"),
        ("", "holds no names with values"),
        ("trainer: {}\n", "an entry model"),
        ("model: {class_path: realign.tasks.VAETask}\n", "an entry data"),
        (COMPOSED + "optimiser: 3\n", "'optimiser' is not an option"),
        (COMPOSED.replace("tasks.VAETask", "tasks.VAETsk"), "has no class VAETsk; did you mean VAETask?"),
        (COMPOSED.replace("realign.tasks.VAETask", "torch.nn.Linear"), "subclass of Task"),
        (COMPOSED.replace("CSVLogger", "CometLogger"), "pip install comet-ml"),
    ],
)
def test_a_configuration_that_cannot_be_used(
    content: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early, "find_spec", lambda name: None)
    assert words in told(["fit", "--config", write("some.yaml", content)], capsys)


def test_a_configuration_that_is_not_text_or_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("latin.yaml").write_bytes("# naïve\n".encode("latin-1") + VAE.read_bytes())
    assert "latin.yaml, line 1: it is not UTF-8 text" in told(["fit", "--config", "latin.yaml"], capsys)
    for folder in (".", "..", "/", str(ROOT / "configs")):
        assert "is a folder; name a file in it" in told(["fit", "--config", folder], capsys)
    assert "such as tiny/vae" in told(["fit", "--config", "tiny/vea"], capsys)


def test_faults_that_need_no_torch_are_reported_without_it() -> None:
    code = f"""
import sys
from realign.cli import main
from realign.configuration import read_config
vae = ["--config", {str(VAE)!r}]
for args in (
    ["fit", "--config", "nowhere.yaml"], ["test", *vae, "--ckpt_path=nowhere.ckpt"], ["fit", *vae, "--quux=1"],
    ["predict", *vae, "--data=realign.data.MotionDataModule", "--data.data=nowhere"],
    ["index", "build", "--data", "nowhere", "-o", "x"],
    ["index", "build", "--data", "nowhere", "-o", "x", "--checkpoint", "nowhere.ckpt"],
):
    assert main(args) == 2
sys.exit(any(name in sys.modules for name in ("torch", "lightning", "jsonargparse")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 6


def test_a_process_ends_in_one_sentence_and_exit_code_2() -> None:
    command = [sys.executable, "-m", "realign.cli", "fit", "--config", str(VAE), "--ckpt_path", "nowhere.ckpt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr == "realign: There is no checkpoint at nowhere.ckpt; check the path.\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--data.global_batch_size=4"], "global_batch_size=4 cannot be divided evenly among 3 processes; use a"),
        (["--data.global_batch_size=6", "--data.batch_size=6"], "makes a global batch of 18, but global_batch_size=6"),
    ],
)
def test_a_global_batch_that_does_not_fit_the_processes_is_refused(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    several = ["--trainer.devices=3", "--trainer.strategy=ddp_fork", "--trainer.accelerator=cpu"]
    assert sentence in told(["fit", "--config", str(VAE), *BARE, *several, *words], capsys)


@pytest.mark.parametrize("command", ["fit", "predict"])
def test_the_known_options_are_those_of_the_commands(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    found = set(re.findall(r"^ +(?:-\w, )?--(\w[\w-]*)", capsys.readouterr().out, re.MULTILINE))
    assert {"ckpt_path", "model"} <= found <= early.OPTIONS


@pytest.mark.parametrize(("callback", "status"), [("Stop", 130), ("Terminate", 143)])
def test_a_stopped_training_reports_it(callback: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", str(VAE), *QUICK, f"--trainer.callbacks={__name__}.{callback}"]) == status
    assert capsys.readouterr().err.splitlines()[-1].startswith(("realign: interrupted", "realign: stopped by a signal"))


def raised(code: str, module: str) -> BaseException:
    """The error of a piece of code in a module of that name."""
    try:
        exec(compile(code, module, "exec"), {"__name__": module, "InputError": InputError})
    except BaseException as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("code", "module", "words"),
    [
        ("raise ValueError('no such strategy')", "lightning.pytorch.x", "no such strategy; change that"),
        ("raise MemoryError('Unable to allocate 20.0 GiB for an array')", "numpy", "20.0 GiB); take a smaller"),
        ("raise RuntimeError('CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has')", "torch", "2.00 GiB); take"),
        ('raise RuntimeError("DefaultCPUAllocator: can\'t allocate memory: you tried")', "torch", "smaller batch"),
        (
            "raise RuntimeError('DataLoader worker (pid(s) 7, 8) exited unexpectedly')",
            "torch.utils.data",
            "fewer --data.init_args.num_workers",
        ),
        (
            "raise InputError('Caught InputError in worker 0.\\nOriginal Traceback (most recent call last):\\n File x"
            "\\nrealign.errors.InputError: clip 7 holds NaN; repair it.\\n')",
            "torch._utils",
            "clip 7 holds NaN; repair it.",
        ),
        ("{}['state']", "lightning.pytorch.x", None),
        ("1 / 0", "torch.x", None),
        ("raise ValueError('mine')", "my_package", None),
        ("raise ValueError('mine')", "realign.tasks.x", None),
    ],
)
def test_errors_of_libraries_are_reported_and_defects_are_not_hidden(code: str, module: str, words: str | None) -> None:
    said = explain(raised(code, module))
    assert said is None if words is None else said is not None and words in said


def test_a_component_that_misuses_a_library_is_a_defect() -> None:
    library = "def log(name):\n    raise ValueError('you cannot log here')\n"
    space = {"__name__": "lightning.pytorch.core"}
    exec(library, space)
    task = {"__name__": "my_package.task", "log": space["log"]}
    exec("def step():\n    log('x')\n", task)
    loop = {"__name__": "lightning.pytorch.loops", "step": task["step"]}
    exec("def run():\n    step()\n", loop)
    with pytest.raises(ValueError) as caught:
        loop["run"]()
    assert explain(caught.value) is None


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_fit_prints_the_weights_and_keeps_those_of_an_earlier_run(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("kept").mkdir()
    earlier = trained.read_bytes()
    for name in ("last.ckpt", "best.ckpt"):
        Path("kept", name).write_bytes(earlier)
    fit = ["fit", "--config", str(VAE), *QUICK, *KEEP, "--seed_everything=5"]
    assert main(fit) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Weights: {Path('kept/last.ckpt')}"  # of an autoencoder
    assert sorted(path.name for path in Path("kept").iterdir()) == ["best.ckpt", "last-earlier-1.ckpt", "last.ckpt"]
    assert Path("kept/last-earlier-1.ckpt").read_bytes() == earlier
    second = Path("kept/last.ckpt").read_bytes()
    assert main([*fit, "--ckpt_path", "kept/last.ckpt", "--trainer.max_epochs=2"]) == 0  # goes on: its own file
    assert Path("kept/last.ckpt").read_bytes() != second and not Path("kept/last-earlier-2.ckpt").exists()
    third = Path("kept/last.ckpt").read_bytes()
    assert main([*fit, "--ckpt_path", "kept/last-earlier-1.ckpt", "--trainer.max_epochs=2"]) == 0
    assert Path("kept/last-earlier-2.ckpt").read_bytes() == third


def test_a_run_does_not_write_over_the_configuration_of_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    mine = "# mine\n" + COMPOSED
    args = ["fit", "--config", write("config.yaml", mine), *BARE, "--trainer.enable_checkpointing=false"]
    assert "--trainer.default_root_dir" in told(args, capsys) and Path("config.yaml").read_text() == mine
    for _ in range(2):  # what it wrote itself may be replaced
        assert main([*args, "--trainer.default_root_dir=run"]) == 0
    assert yaml.safe_load(Path("run/config.yaml").read_text())["trainer"]["max_epochs"] == 1


def test_each_run_writes_its_own_predictions(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mdm = ["--config", str(ROOT / "configs/tiny/generator_mdm.yaml"), *BARE]
    for folder in ("predictions", "predictions-1"):
        assert main(["predict", *mdm, "--data.batch_size=2"]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"Predictions: {Path.cwd() / folder}"
        assert len(list(Path(folder).iterdir())) == 4
    first = sorted(Path("predictions").iterdir())[0]
    clip = MotionClip.load(first)
    assert clip.joints.shape[1:] == (22, 3) and np.isfinite(clip.joints).all()
    assert first.read_bytes() == Path("predictions-1", first.name).read_bytes()


@pytest.mark.parametrize("name", ["retriever", "evaluator_guo"])
def test_predictions_of_embeddings(name: str) -> None:
    config = ["--config", str(ROOT / f"configs/tiny/{name}.yaml"), *BARE, "--data.batch_size=2"]
    assert main(["predict", *config]) == 0
    with np.load("predictions/embeddings-0.npz", allow_pickle=False) as arrays:
        assert arrays["motion"].shape == arrays["text"].shape == (4, 32) and len(set(arrays["ids"])) == 4


def test_predictions_are_left_to_a_callback_that_writes_them() -> None:
    write_there = ["--trainer.callbacks=realign.callbacks.PredictionWriter", "--trainer.callbacks.folder=there"]
    assert main(["predict", "--config", str(VAE), *QUICK, *write_there]) == 0
    assert list(Path("there").glob("*.npy")) and not Path("predictions").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the test starts its processes by forking")
@pytest.mark.filterwarnings("ignore")  # Lightning's remarks on two processes
def test_every_process_writes_the_clips_that_it_predicts() -> None:
    two = ["--trainer.devices=2", "--trainer.strategy=ddp_fork", "--data.batch_size=1"]
    for name, written in (("vae", 4), ("retriever", 2)):
        args = ["predict", "--config", str(ROOT / f"configs/tiny/{name}.yaml"), *BARE, *two]
        assert main([*args, f"--trainer.default_root_dir={name}"]) == 0
        assert len(list(Path(name, "predictions").iterdir())) == written
