"""Components in the working folder: found where the user names them, never where a file of others does."""

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from test_documents import blocks

from realign.checkpoint.rebuild import build_part
from realign.cli import main
from realign.configuration import read_config
from realign.errors import InputError
from realign.interfaces import RewardModel
from realign.own_code import find_own, no_package

OWN = """
from pathlib import Path
from own_helper import WIDTH
from realign.nn import TransformerReward

Path("executed").touch()

class MyReward(TransformerReward):
    "As the package's, narrower."

    def __init__(self, width: int = WIDTH, text_dim: int = 32) -> None:
        super().__init__(width, text_dim, hidden=16, layers=1, heads=2, feedforward=16, embedding=8)
"""
QUICK = [
    *("--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1"),
    *("--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a user, with a reward of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each and Path(each).resolve() != tmp_path])
    (tmp_path / "my_reward.py").write_text(OWN)
    (tmp_path / "own_helper.py").write_text("WIDTH = 263\n")
    (tmp_path / "mine.yaml").write_text("model: {init_args: {model: {class_path: my_reward.MyReward}}}\n")
    yield tmp_path
    forget(tmp_path)


def forget(folder: Path) -> None:
    """As in another process."""
    for name in ("my_reward", "my_denoiser", "own_helper"):
        sys.modules.pop(name, None)
    sys.path[:] = [each for each in sys.path if each != str(folder)]
    (folder / "executed").unlink(missing_ok=True)


def test_the_documented_component_is_trained_and_used_by_the_command_that_fit_prints(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).parents[1] / "docs/train.md"
    for name, language in (("my_denoiser.py", "python"), ("mine.yaml", "yaml")):
        (block,) = (each for each in blocks(page, language) if each.startswith(f"# {name}\n"))
        (folder / name).write_text(block)
    with open(folder / "my_denoiser.py", "a") as file:
        file.write("\nfrom pathlib import Path\nimport own_helper\nPath('executed').touch()\n")
    assert main(["fit", "--config", "mine.yaml", *QUICK]) == 0
    *_, weights, use = capsys.readouterr().out.splitlines()
    last = Path("runs") / f"{folder.name}_mine" / "last.ckpt"
    assert weights == f"Weights: {last}" and last.is_file()
    command = f'realign generate "a person bows" --checkpoint {last}'
    assert use == f"To use them: {command} --trust-code"
    forget(folder)
    words = [*shlex.split(command)[1:], "--seconds", "2", "-o", "motion.npy"]
    assert main(words) == 2 and "--trust-code" in capsys.readouterr().err
    assert not (folder / "executed").exists()  # never without being told to trust it
    assert main([*words, "--trust-code"]) == 0
    assert (folder / "executed").exists() and (folder / "motion.npy").is_file()


def test_a_folder_of_others_names_nothing_of_the_working_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"class_path": "my_reward.MyReward", "init_args": {}}
    (folder / "theirs").mkdir()
    (folder / "theirs/config.yaml").write_text(yaml.safe_dump(config))
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(1)}, folder / "theirs/model.safetensors")
    for words in (["generate", "walk", "--checkpoint", "theirs"], ["search", "walk", "--checkpoint", "theirs"]):
        assert main(words) == 2
        assert "--trust-code" in capsys.readouterr().err and not (folder / "executed").exists()
    assert "my_reward" not in sys.modules


@pytest.mark.parametrize(
    ("class_path", "told"),
    [
        ("my_rewrad.MyReward", "my_rewrad is neither an installed package nor my_rewrad.py or a folder my_rewrad in"),
        ("my_reward.MyRewrad", "my_reward has no class MyRewrad; did you mean MyReward?"),
    ],
)
def test_what_is_missing_is_named(class_path: str, told: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.yaml").write_text(f"model: {{init_args: {{model: {{class_path: {class_path}}}}}}}\n")
    assert main(["fit", "--config", "tiny/reward_feature", "--config", "mine.yaml"]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert told in error and "model" in error
    assert main(["fit", "--config", "tiny/reward_feature", f"--model.model={class_path}"]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    if "rewrad." in class_path:
        assert f"{folder}; start the command in the folder that holds it, or name that folder in PYTHONPATH" in error
        with pytest.raises(InputError, match="neither an installed package"):
            build_part({"class_path": class_path}, RewardModel, Path("x"))  # type: ignore[type-abstract]


def test_installed_packages_come_first(folder: Path) -> None:
    (folder / "yaml.py").write_text("raise SystemExit('the folder was searched first')")
    before = list(sys.path)
    find_own(["yaml.SafeLoader", "nowhere.Thing"])
    assert sys.path == before
    find_own(["my_reward.MyReward"])
    assert sys.path == [*before, str(folder)] and no_package("my_reward.MyReward") is None
    find_own(["my_reward.MyReward"])
    assert len(sys.path) == len(before) + 1


def test_every_configuration_of_the_package_passes() -> None:
    from realign.commands.sources import check_classes
    from realign.configuration import configs_folder

    for path in sorted(configs_folder().glob("*/*.yaml")):
        if path.parent.name not in ("base", "paper"):
            check_classes(read_config(path), {"trainer.max_epochs": "1", "data.data": "x", "model.optimizer": "x"})
