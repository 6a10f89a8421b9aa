"""An installed package holds all files of the clone, with configurations that are found from any folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from realign.configuration import configs_folder

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of a wheel, made by the build command."""
    pytest.importorskip("setuptools", "77")
    folder = tmp_path_factory.mktemp("installed")
    words = ["-q", "egg_info", "--egg-base", str(folder), "build_py", "-d", str(folder / "lib")]
    told = subprocess.run([sys.executable, "setup.py", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "would be ignored" not in told.stderr
    return folder / "lib"


def test_a_wheel_holds_every_file_of_the_package_and_every_configuration(installed: Path) -> None:
    here = {f"realign/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    here |= {str(path.relative_to(ROOT)) for path in (ROOT / "realign").rglob("*") if path.is_file()}
    missing = {path for path in here if not (installed / path).is_file()}
    assert not {path for path in missing if "__pycache__" not in path and "/." not in path}
    assert {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()} <= here


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--config", "generator/mld_humanml3d"], "prepared/humanml3d"),
        (["--config", "own.yaml"], "prepared/own"),
        (["--config", "generator/mld_humanml"], "such as generator/mld_humanml3d"),
    ],
)
def test_an_installed_command_finds_configurations_by_name(
    installed: Path, tmp_path: Path, words: list[str], told: str
) -> None:
    (tmp_path / "own.yaml").write_text("base: reward/feature_kit\nlet: {dataset: own}\n")
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "realign.cli", "fit", *words]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 2 and told in ended.stderr


def test_a_clone_and_an_editable_installation_read_the_configurations_beside_the_package() -> None:
    assert configs_folder() == ROOT / "configs"
