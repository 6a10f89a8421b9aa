"""Files that could only fail are refused before a model is loaded or a motion is written."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from made import KIT_SCALED, person

from realign import MotionSearch, TextToMotion
from realign.cli import main
from realign.files import shipped_folder
from realign.motion import HUMANML3D, KIT, MotionClip
from realign.motion.bvh import write_bvh


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose configuration says that its motions are KIT-ML's; loading any model fails the test."""

    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    for model in (TextToMotion, MotionSearch):
        monkeypatch.setattr(model, "from_pretrained", loaded)
    folder = tmp_path / "kit"
    folder.mkdir()
    config = (shipped_folder("generator") / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("skeleton: humanml3d", "skeleton: kit"))
    return folder


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_no_model_is_loaded_for_a_file_that_cannot_be_written(
    kit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> str:
        raise RuntimeError("no ffmpeg")

    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", missing)
    shutil.copytree(shipped_folder("index"), tmp_path / "index")
    shutil.rmtree(tmp_path / "index" / "joints", ignore_errors=True)
    (tmp_path / "folder.gif").mkdir()
    make, find = ["generate", "a person bows", "-o"], ["search", "a person bows", "--render"]
    for words, what in (
        ([*make, "x.npz", "--checkpoint", str(kit)], "21 joints of kit are not the first of SMPL"),
        ([*find, "x.npz", "--checkpoint", str(kit)], "21 joints of kit are not the first of SMPL"),
        ([*make, "x.mp4"], "needs ffmpeg"),
        ([*find, "x.mp4"], "needs ffmpeg"),
        ([*make, str(tmp_path / "folder.gif")], "it is a folder"),
        ([*find, str(tmp_path / "folder.gif")], "it is a folder"),
        ([*find, "x.gif", "--index", str(tmp_path / "index")], "keeps no motions"),
        ([*find, "x.gif", "--data", str(tmp_path)], "holds no prepared set"),
    ):
        assert what in told(capsys, *words), words
    assert not Path("x.npz").exists()


def test_nothing_is_written_where_one_motion_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "kit.npy", person(3, 40, KIT_SCALED).numpy() * 2 / KIT.metres / 400)
    MotionClip(person(1, 40).numpy(), 20.0).save(tmp_path / "other.npy")
    words = ["render", str(tmp_path / "other.npy"), str(tmp_path / "kit.npy"), "-o", str(tmp_path / "out.npz")]
    assert "21 joints of kit are not the first of SMPL" in told(capsys, *words)
    assert not list(tmp_path.glob("out*"))


def test_every_kind_of_motion_may_be_a_query(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    joints = person(1, 40).numpy()
    write_bvh(tmp_path / "a.bvh", joints, HUMANML3D, 20.0)
    MotionClip(joints, 20.0).save(tmp_path / "a.glb")
    np.savez(tmp_path / "a.npz", poses=np.zeros((9, 156)), trans=np.zeros((9, 3)), betas=np.zeros(16),
             gender="male", mocap_framerate=20.0)  # fmt: skip
    queries = [str(tmp_path / f"a.{suffix}") for suffix in ("bvh", "glb")]
    assert main(["search", "--motion", *queries, "-k", "1", "--json"]) == 0
    assert '"kind": "motion"' in capsys.readouterr().out
    assert "--body-models" in told(capsys, "search", "--motion", str(tmp_path / "a.npz"))
