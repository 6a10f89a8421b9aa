import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from realign.cli import build
from realign.errors import InputError
from realign.inference import TextToMotion, check_captions, read_captions
from realign.motion.cleaning import clean_motion
from realign.motion.features import features_to_joints
from realign.motion.skeleton import HUMANML3D
from realign.seeding import mix_seed
from realign.tasks.checkpoint import save_pretrained


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextToMotion:
    """An untrained generator in a folder of weights."""
    root = Path(__file__).parents[2]
    scratch = tmp_path_factory.mktemp("pipeline")
    cli = build(
        ["--config", str(root / "configs/tiny/generator_mdm.yaml"), f"--data.init_args.folder={scratch / 'data'}"]
    )
    task = cli.model
    task.normalizer.fit(*cli.datamodule.statistics)
    task.hparams["skeleton"] = "humanml3d"
    return TextToMotion.from_pretrained(save_pretrained(task, scratch / "weights"), device="cpu")


def test_clips_have_the_length_and_caption_asked_for(model: TextToMotion) -> None:
    clips = model.generate(["a person walks", "a person runs"], seconds=3, samples=2)
    assert [clip.caption for clip in clips] == ["a person walks"] * 2 + ["a person runs"] * 2
    assert all(clip.joints.shape == (60, 22, 3) and np.isfinite(clip.joints).all() for clip in clips)
    assert not np.array_equal(clips[0].joints, clips[1].joints)  # samples differ


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm", "dpm", "unipc"])
def test_a_motion_does_not_depend_on_the_batch_it_shares(model: TextToMotion, scheduler: str) -> None:
    texts = ["a person walks", "a person runs and turns left", "a person stands still"]
    together = model.generate(texts, seconds=2, seed=3, scheduler=scheduler)
    alone = [model.generate([text], seconds=2, seed=3, scheduler=scheduler)[0] for text in reversed(texts)]
    for one, other in zip(together, reversed(alone), strict=True):
        np.testing.assert_allclose(one.joints, other.joints, atol=1e-4)


def test_motions_are_cleaned_unless_they_are_to_be_raw(model: TextToMotion) -> None:
    (clean,), (raw,) = (model.generate(["a person walks"], seconds=2, raw=raw) for raw in (False, True))
    parents = list(HUMANML3D.parents[1:])

    def stretch(joints: np.ndarray) -> float:
        lengths = np.linalg.norm(joints[:, 1:] - joints[:, parents], axis=-1)
        return float(np.ptp(lengths, axis=0).max())

    assert stretch(clean.joints) < 1e-4 < 1e-2 < stretch(raw.joints)
    seed = torch.tensor([mix_seed(0, "a person walks", 0)])
    with torch.no_grad():
        features = model.task.sample(["a person walks"], torch.tensor([40]), seed)[0]
    np.testing.assert_allclose(raw.joints, features_to_joints(features).numpy(), atol=1e-4)
    np.testing.assert_allclose(clean.joints, clean_motion(features).numpy(), atol=1e-4)


def test_the_seed_decides(model: TextToMotion) -> None:
    first, again, other = (model.generate(["walk"], seconds=2, seed=seed)[0].joints for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"seconds": 0}, "A motion of 0 s"),
        ({"seconds": 3600}, "A motion of 3600 s"),
        ({"seconds": float("nan")}, "A motion of nan s"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"steps": 0}, "denoising steps"),
        ({"steps": 101}, "choose 1 to 100"),
        ({"scheduler": "magic"}, "magic"),
    ],
)
def test_numbers_out_of_range_are_refused(model: TextToMotion, options: dict[str, float], told: str) -> None:
    with pytest.raises(InputError, match=told):
        model.generate(["walk"], **options)


def test_captions_come_from_arguments_and_file(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("eine Person läuft\n\n  a person runs \n", encoding="utf-8")
    assert read_captions(["walk"], tmp_path / "texts.txt") == ["walk", "eine Person läuft", "a person runs"]
    (tmp_path / "latin.txt").write_bytes("läuft".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_captions([], tmp_path / "latin.txt")
    with pytest.raises(InputError, match="come as a list"):
        check_captions("walk")


def test_generate_writes_every_format(model: TextToMotion, tmp_path: Path) -> None:
    clip = model.generate(["walk"], seconds=1)[0]
    for suffix in (".gif", ".html", ".png", ".bvh", ".npy"):
        clip.save(tmp_path / f"x{suffix}")
        assert (tmp_path / f"x{suffix}").stat().st_size > 1000
    assert torch.from_numpy(np.load(tmp_path / "x.npy")).shape == (20, 22, 3)


def test_guided_generation_imports_nothing_that_trains(tmp_path: Path) -> None:
    heavy = ("lightning", "torchmetrics", "realign.tasks", "realign.callbacks", "scipy.stats", "matplotlib")
    words = ["generate", "a person walks", "--steps=2", "--guidance=reward", "--device=cpu", f"-o={tmp_path / 'a.npy'}"]
    script = (
        "import sys; from realign.cli import main\n"
        f"code = main({words!r})\n"
        f"print(code, [name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
