"""Captions in sequence in Python and on the command line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from steer_parts import generator

from realign.cli import build, main
from realign.errors import InputError
from realign.inference import LONGEST, TextToMotion, pretrained_folder
from realign.inference.sequence import OVERLAP, read_part, read_parts, write_script
from realign.interfaces import TextToMotionModel
from realign.metrics.seams import near_seams, velocity_jumps
from realign.motion.features import features_to_joints
from realign.nn import FeatureSpace, LatentSpace, SkipTransformerVAE
from realign.tasks import save_pretrained


@pytest.fixture(scope="module")
def model() -> TextToMotion:
    return TextToMotion(generator(steps=3))


def test_a_sequence_has_the_times_asked_for(model: TextToMotion) -> None:
    first, second = model.generate_sequence([("a person  walks", 4), ("a person bows", 12.4), "a person runs"], 2)
    assert first.joints.shape == (80 + 248 + 100, 22, 3) and np.isfinite(first.joints).all()
    assert first.caption == "a person walks; a person bows; a person runs"
    assert not np.array_equal(first.joints, second.joints)


def test_captions_times_and_seed_decide(model: TextToMotion) -> None:
    parts = [("walk", 2), ("run", 3)]
    first = model.generate_sequence(parts, samples=3, seed=1)
    again = model.generate_sequence(parts, samples=3, seed=1, batch_size=2)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_allclose(one.joints, other.joints, atol=1e-4)
    for other_parts, seed in (([("walk", 3), ("run", 2)], 1), ([("run", 2), ("walk", 3)], 1), (parts, 2)):
        other = model.generate_sequence(other_parts, seed=seed)[0]
        assert np.abs(other.joints[:40] - first[0].joints[:40]).max() > 1e-3


def test_a_sequence_of_one_part_is_the_motion_of_its_caption(model: TextToMotion) -> None:
    one = model.generate_sequence([("walk", 3)], samples=2, seed=4)
    for made, plain in zip(one, model.generate(["walk"], seconds=3, samples=2, seed=4), strict=True):
        np.testing.assert_array_equal(made.joints, plain.joints)


def test_no_window_exceeds_what_generators_are_trained_on() -> None:
    for units in range(5, 600):
        script = write_script([("walk", units / 5), ("run", 1)], lambda text, seconds: round(20 * seconds), 20)
        assert script.plan is not None and script.frames == [4 * units, 20]
        assert max(script.plan.window_lengths) <= LONGEST and script.plan.lengths == [4 * units + 20]
        assert len(script.windows) == len(script.plan.rows)
        assert min(script.plan.fades[0][1], script.plan.fades[-1][0]) >= 16 and OVERLAP % 8 == 0


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([], "No caption"),
        ([(" ", 3)], "blank"),
        ([("walk", 0.5), ("run", 2)], "A motion of 0.5 s"),
        ([("walk", float("nan"))], "nan s cannot"),
        ([("walk", float("inf"))], "inf s cannot"),
        ([("walk", 400), ("run", 400)], "800 s together"),
        ("walk", "is a list"),
    ],
)
def test_sequences_that_cannot_be_made_are_refused(model: TextToMotion, parts: list, told: str) -> None:
    with pytest.raises(InputError, match=told):
        model.generate_sequence(parts)


def test_generators_that_cannot_join_motions_are_refused() -> None:
    task = generator()
    task.space = LatentSpace(SkipTransformerVAE(263, 4, 1, 1, 2, 8))
    with pytest.raises(InputError, match="stand for a whole motion"):
        TextToMotion(task).generate_sequence([("walk", 2), ("run", 2)])

    class Other(TextToMotionModel):
        skeleton, device = "humanml3d", torch.device("cpu")

        def sample(self, captions: list[str], lengths: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(captions), int(lengths.max()), 263)

    with pytest.raises(InputError, match="made by a diffusion, but the generator is a Other"):
        TextToMotion(Other()).generate_sequence([("walk", 2), ("run", 2)])
    assert len(TextToMotion(Other()).generate_sequence([("walk", 2)])[0]) == 40


def test_parts_are_read_from_arguments_and_files(tmp_path: Path) -> None:
    assert (
        read_part("a: b:2.5") == ("a: b", 2.5) and read_part("a: b") == ("a: b", None) and read_part("a") == ("a", None)
    )
    expected = [("a, b: c", 3.0), ("d", None)]
    files = {
        "parts.csv": 'caption,seconds\n"a, b: c",3\n\nd,\n',
        "bare.csv": '"a, b: c",3\nd\n',
        "parts.yaml": "- {caption: 'a, b: c', seconds: 3}\n- d\n",
        "parts.json": '[["a, b: c", 3], {"caption": "d"}]',
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        assert read_parts([str(tmp_path / name)]) == expected, name
    wrong = {"a.yaml": "caption: a", "b.json": "[[1, 2]]", "c.csv": "a,b\n", "d.yaml": "[a", "e.csv": "a,1,2\n"}
    for name, text in wrong.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=name):
            read_parts([str(tmp_path / name)])
    with pytest.raises(InputError, match="cannot be read"):
        read_parts([str(tmp_path / "none.csv")])


def test_the_command_makes_sequences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(__file__).parents[2] / "configs/tiny/generator_mdm.yaml"
    cli = build(["--config", str(config), f"--data.init_args.folder={tmp_path / 'data'}"])
    cli.model.normalizer.fit(*cli.datamodule.statistics)
    cli.model.hparams["skeleton"] = "humanml3d"
    folder = save_pretrained(cli.model, tmp_path / "generator")
    given = ["generate", "--checkpoint", str(folder), "--device", "cpu", "-o", str(tmp_path / "x.npy"), "--steps", "2"]
    main([*given, "--sequence", "a person: walks:2", "run:10", "--seconds", "1"])
    assert np.load(tmp_path / "x.npy").shape == (240, 22, 3)
    assert main([*given, "walk", "--sequence", "run:2"]) == 2
    assert "leave TEXT and --file out" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["generator", "generator_features"])
def test_seams_are_as_smooth_as_the_motion_around_them(name: str) -> None:
    model = TextToMotion.from_pretrained(pretrained_folder(name), device="cpu")
    parts = [("a person walks forward", 3), ("a person waves with the right hand", 3), ("a person walks backward", 3)]
    near, inside = near_seams(180, [60, 120], 6), ~near_seams(180, [60, 120], 12)

    def ratio(joints: torch.Tensor, near: torch.Tensor) -> float:
        jumps = velocity_jumps(joints, 20)
        return float(jumps[:, near].mean() / jumps[:, inside].mean())

    clips = model.generate_sequence(parts, samples=6, steps=20, guidance="none")
    assert ratio(torch.tensor(np.stack([clip.joints for clip in clips])), near) < 1.2
    texts = [text for text, _ in parts]
    alone = model.task.sample(2 * texts, torch.tensor([60] * 6), torch.arange(6), steps=10)
    joined = features_to_joints(alone.reshape(2, 180, -1))  # one motion after the other, as a control
    assert ratio(joined, near_seams(180, [60, 120], 1)) > 2


def test_feature_spaces_of_fixed_frames_bound_their_windows() -> None:
    task = generator(steps=2)
    task.space = FeatureSpace(frames=196)
    clip = TextToMotion(task).generate_sequence([("walk", 15), ("run", 1)])[0]
    assert len(clip) == 320
