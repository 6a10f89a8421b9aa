"""Commands killed at random moments: their files are complete, and the next run ends like an uninterrupted one."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from kill_parts import kills, run
from task_parts import VAE, command

from realign.cli import build
from realign.data.prepare.run import prepare
from realign.data.procedural import write_procedural_folder
from realign.data.store import PackedMotions
from realign.evaluation.load import load_evaluation
from realign.evaluation.results import Results
from realign.evaluation.settings import Setting
from realign.evaluation.tables import write_tables
from realign.index.library import MotionLibrary
from realign.inference.build_index import build_index
from realign.tasks import RewardTask
from realign.tasks.checkpoint import load_task, save_pretrained
from realign.training import TrainingCLI

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")
CONFIGS = Path(__file__).parents[1] / "configs/tiny"
KILLS = 20


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Motions, a set of them, an untrained generator and an untrained evaluator."""
    folder = tmp_path_factory.mktemp("shelf")
    write_procedural_folder(folder / "source", 36)
    for name, config in (("generator", "generator_mdm"), ("evaluator", "retriever")):
        data = [f"--data.init_args.folder={folder / 'data'}", "--data.init_args.clips=36"]
        cli = build(["--config", str(CONFIGS / f"{config}.yaml"), *data])
        cli.model.normalizer.fit(*cli.datamodule.statistics)
        cli.model.hparams["skeleton"] = "humanml3d"
        save_pretrained(cli.model, folder / name)
    return folder


def survive(out: Path, work: Callable[[], object], read: Callable[[], object]) -> None:
    """Kill some work at random moments, and finally let it end.

    Args:
        out: Output folder, which does not exist.
        work: The work of a command after loading.
        read: Returns its output, raises if that is incomplete, and returns None if there is none yet.
    """

    def state() -> list[str]:
        return sorted(str(path.relative_to(out)) for path in out.rglob("*"))

    work()  # imported here, so that no child process has to
    expected, names = read(), state()
    assert expected is not None
    shutil.rmtree(out)
    seconds = run(work)
    shutil.rmtree(out)

    def check_whole() -> None:
        assert state() == names, "files are missing, or nobody removed them"
        assert read() == expected
        shutil.rmtree(out)

    for killed in kills(work, seconds, KILLS, seed=len(names)):
        read()
        if not killed:
            check_whole()
    run(work)
    check_whole()


def test_prepare(shelf: Path, tmp_path: Path) -> None:
    def read() -> object:
        if not (tmp_path / "out" / "set").exists():
            return None
        packed = PackedMotions.open(tmp_path / "out" / "set")
        return packed.features.tobytes(), packed.clips.tobytes(), packed.mean.tobytes(), packed.ids(range(36))

    survive(tmp_path / "out", lambda: prepare(shelf / "source", tmp_path / "out" / "set", overwrite=True), read)


def test_index_build(shelf: Path, tmp_path: Path) -> None:
    folder, evaluator = tmp_path / "out" / "index", load_task(shelf / "evaluator", RewardTask)

    def read() -> object:
        if not folder.exists():
            return None
        library = MotionLibrary.load(folder)
        joints = library.joints()
        assert library.captions is not None and joints is not None
        vectors = [index.vectors(range(len(index))).tobytes() for index in (library.motions, library.captions)]
        return vectors, library.motions.digest, joints[35].tobytes()

    survive(
        folder.parent, lambda: build_index(evaluator, shelf / "data", folder, split="all", with_motions=True), read
    )  # fmt: skip


def test_evaluate(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "out" / "results.json"
    evaluation = load_evaluation(
        shelf / "data", generator=shelf / "generator", evaluators=[f"evaluator={shelf / 'evaluator'}"], split="all"
    )
    # drawing takes longer than all the rest
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, path, **options: path.write_bytes(b"drawn"))

    def read() -> object:
        if not file.exists():
            return None
        rows = Results.load(file).rows
        return [[{**record, "seconds": 0} for record in row.replications] for row in rows]

    def work() -> None:
        write_tables(file, evaluation.run([Setting(steps=1)], replications=1, output=file))

    survive(file.parent, work, read)


@pytest.mark.filterwarnings("ignore:.*there is no last checkpoint")
def test_fit(shelf: Path, tmp_path: Path) -> None:
    data = {"class_path": "realign.data.MotionDataModule", "init_args": {"data": str(shelf / "data"), "batch_size": 12}}
    saving = {"dirpath": str(tmp_path / "out"), "filename": "last", "enable_version_counter": False}
    callback = {"class_path": "ModelCheckpoint", "init_args": {"every_n_train_steps": 1, **saving}}
    words = command(tmp_path, VAE, data, max_steps=5, max_epochs=-1, limit_val_batches=0, callbacks=[callback])

    def work() -> None:
        cli = TrainingCLI.from_args(words, run=False)
        cli.trainer.fit(cli.model, cli.datamodule, ckpt_path="last", weights_only=True)

    def read() -> object:
        told = tmp_path / "config.yaml"
        assert not told.exists() or "model" in yaml.safe_load(told.read_text())
        found = {path.name: torch.load(path, weights_only=True) for path in (tmp_path / "out").glob("*.ckpt")}
        return {name: str(content["state_dict"]) for name, content in found.items()} or None

    survive(tmp_path / "out", work, read)
