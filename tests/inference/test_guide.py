"""Guidance and lengths in Python and on the command line, with matching untrained models."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
import yaml

from realign.cli import build, main
from realign.errors import InputError, Renamed
from realign.guidance.config import GuidanceConfig, Word
from realign.index import MotionIndex, MotionItem
from realign.inference import TextToMotion
from realign.motion.clip import MotionClip
from realign.seeding import mix_seed
from realign.tasks.checkpoint import load_task, save_pretrained

ROOT = Path(__file__).parents[2]
STRONG = asdict(GuidanceConfig.plain(norm="normalize", mu=2.0, eta=0.5))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a generator, a reward of its space and noise, and an index of three motions by that reward."""
    folder = tmp_path_factory.mktemp("shelf")
    for name, config in (("generator", "generator_mdm"), ("reward", "reward_feature")):
        options = ["--config", str(ROOT / f"configs/tiny/{config}.yaml"), f"--data.init_args.folder={folder / 'data'}"]
        cli = build(options)
        cli.model.normalizer.fit(*cli.datamodule.statistics)
        cli.model.hparams["skeleton"] = "humanml3d"
        save_pretrained(cli.model, folder / name)
    task = load_task(folder / "reward")
    texts = ["a person walks", "a person runs", "a person bows"]
    items = [MotionItem(text) for text in texts]
    MotionIndex.build(task.embed_captions(texts), items, fingerprint=task.fingerprint).save(folder / "index")
    rng = np.random.default_rng(3)
    frames = (4 * rng.integers(3, 75, 60) + 1).tolist()  # no mean of two of them is halfway between multiples of four
    items = [MotionItem(str(number), frames=length) for number, length in enumerate(frames)]
    vectors = rng.normal(size=(60, task.model.embedding)) + 2 * task.embed_captions(["walk"]).detach().numpy()
    MotionIndex.build(vectors, items, fingerprint=task.fingerprint).save(folder / "lengths")
    return folder


@pytest.fixture(scope="module")
def model(shelf: Path) -> TextToMotion:
    return TextToMotion.from_pretrained(shelf / "generator", device="cpu")


@pytest.mark.parametrize("method", ["reward", "best-of"])
def test_guided_motions_differ_and_do_not_depend_on_their_batch(model: TextToMotion, shelf: Path, method: str) -> None:
    texts = ["walk", "run"]
    guidance = model.load_guidance(reward=shelf / "reward", index=shelf / "index", **STRONG | {"method": method})
    guided = model.generate(texts, seconds=2, samples=4, guidance=guidance)
    plain = model.generate(texts, seconds=2, samples=4)
    assert any(not np.allclose(one.joints, other.joints, atol=1e-3) for one, other in zip(guided, plain, strict=True))
    for one, other in zip(guided[4:], model.generate(["run"], seconds=2, samples=4, guidance=guidance), strict=True):
        np.testing.assert_allclose(one.joints, other.joints, atol=1e-4)


def test_no_weights_and_one_candidate_are_the_unguided_motion(model: TextToMotion, shelf: Path) -> None:
    plain = model.generate(["walk"], seconds=2)[0].joints
    for method, options in (("reward", {"mu": 0.0}), ("best-of", {"candidates": 1})):
        guidance = model.load_guidance(method, shelf / "reward", **options)
        np.testing.assert_array_equal(model.generate(["walk"], seconds=2, guidance=guidance)[0].joints, plain)


def test_a_reward_of_other_noise_guides_at_clean_samples(shelf: Path, model: TextToMotion, tmp_path: Path) -> None:
    options = ["--config", str(ROOT / "configs/tiny/reward_feature.yaml"), f"--data.init_args.folder={shelf / 'data'}"]
    cli = build([*options, "--model.scheduler.init_args.beta_schedule=linear"])
    cli.model.normalizer.fit(*cli.datamodule.statistics)
    cli.model.hparams["skeleton"] = "humanml3d"
    other = save_pretrained(cli.model, tmp_path / "other")
    model.load_guidance("reward", other, point="x0")
    with pytest.raises(InputError, match="noise schedule"):
        model.load_guidance("reward", other, point="x_t")


def test_the_command_writes_guided_motions(shelf: Path, tmp_path: Path) -> None:
    words = ["generate", "a person walks", "--seconds", "1", "--checkpoint", str(shelf / "generator")]
    reward = ["--reward", str(shelf / "reward"), "--index", str(shelf / "index"), "--eta", "20", "--mu", "50"]
    runs = {"none": [], "reward": reward, "best-of": [*reward, "--candidates", "8"]}
    for name, options in runs.items():
        assert main([*words, "--guidance", name, *options, "-o", str(tmp_path / f"{name}.npy")]) == 0
    assert not np.array_equal(np.load(tmp_path / "none.npy"), np.load(tmp_path / "reward.npy"))


DEFAULT = {"reward": "reward", "index": "index", "mu": 3.0, "eta": 0.5, "anchors": 2}
DEFAULT_OPTIONS = {"strength": 40.0, "profile": "signal", "start": 0.2, "interval": 2, "point": "x_t"}


@pytest.fixture(scope="module")
def guided_shelf(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder, with a default guidance beside the generator's weights."""
    folder = tmp_path_factory.mktemp("guided") / "shelf"
    shutil.copytree(shelf, folder)
    text = yaml.safe_dump(DEFAULT | {"options": DEFAULT_OPTIONS})  # as the first version wrote it
    (folder / "generator/guidance.yaml").write_text(text, encoding="utf-8")
    return folder


def usual_frames(shelf: Path, text: str) -> int:
    """The median length of the ten motions of highest cosine, from 40 to 196, as a multiple of four."""
    task, index = load_task(shelf / "reward"), MotionIndex.load(shelf / "lengths")
    with torch.no_grad():
        cosines = index.vectors(range(60)) @ task.embed_captions([text])[0].numpy()
    ten = sorted(index.items[i].frames for i in np.argsort(-cosines)[:10])
    middle = (ten[4] + ten[5]) / 2
    return min(range(40, 200, 4), key=lambda frames: abs(frames - middle))


SENTENCES = ["walk", "a person runs and turns left", "a person bows", "a person waves the right hand", "jump"]


def test_every_caption_gets_its_own_usual_length_in_any_batch(shelf: Path) -> None:
    parts = {"reward": shelf / "reward", "index": shelf / "lengths"}
    model = TextToMotion.from_pretrained(shelf / "generator", "cpu", **parts)
    together = model.generate(SENTENCES, samples=2, steps=10, batch_size=7)
    lengths = [len(clip) for clip in together]
    assert lengths == [usual_frames(shelf, text) for text in SENTENCES for _ in range(2)] and len(set(lengths)) > 2
    for place, text in enumerate(SENTENCES):
        alone = model.generate([text], samples=2, steps=10)
        for one, other in zip(alone, together[2 * place : 2 * place + 2], strict=True):
            np.testing.assert_allclose(one.joints, other.joints, atol=1e-4)
    assert {len(clip) for clip in model.generate(SENTENCES, seconds=2, steps=2)} == {40}


@pytest.mark.parametrize(("frames", "expected"), [((11, 30), 40), ((197, 199), 196), ((90, 93), 92), ((0, 0), 100)])
def test_usual_lengths_stay_within_those_trained_on(
    shelf: Path, tmp_path: Path, frames: tuple[int, int], expected: int
) -> None:
    task = load_task(shelf / "reward")
    items = [MotionItem(str(number), frames=each) for number, each in enumerate(frames)]
    vectors = np.random.default_rng(0).normal(size=(2, task.model.embedding))
    MotionIndex.build(vectors, items, fingerprint=task.fingerprint).save(tmp_path / "two")
    model = TextToMotion.from_pretrained(shelf / "generator", "cpu", shelf / "reward", tmp_path / "two")
    assert model.frames("walk") == expected


def test_a_generator_without_an_index_has_one_usual_length(model: TextToMotion) -> None:
    assert model.guide is None and model.frames("walk") == model.frames("a person bows") == 100


def test_guided_motions_of_mixed_lengths_do_not_depend_on_their_batch(shelf: Path) -> None:
    model = TextToMotion.from_pretrained(shelf / "generator", "cpu", shelf / "reward", shelf / "lengths")
    for method in ("reward", "best-of"):
        guidance = model.load_guidance(method, eta=0.5, strength=500.0, profile="signal")
        assert guidance.objective.reward is model.guide.reward and guidance.objective.index is model.guide.index
        together = model.generate(SENTENCES[:3], steps=10, guidance=guidance)
        plain = model.generate(SENTENCES[:3], steps=10, guidance=None)
        assert len({len(clip) for clip in together}) > 1
        assert max(np.abs(one.joints - other.joints).max() for one, other in zip(together, plain, strict=True)) > 1e-3
        for text, other in zip(SENTENCES, together, strict=False):
            (one,) = model.generate([text], steps=10, guidance=guidance)
            np.testing.assert_allclose(one.joints, other.joints, atol=1e-4)


def test_a_default_guidance_is_used_unless_overridden(guided_shelf: Path, model: TextToMotion) -> None:
    own = TextToMotion.from_pretrained(guided_shelf / "generator", device="cpu")
    by_hand = model.load_guidance(
        "reward", guided_shelf / "reward", guided_shelf / "index", mu=3.0, eta=0.5, anchors=2, **DEFAULT_OPTIONS
    )  # fmt: skip
    take = {"seconds": 2, "steps": 10}
    expected = model.generate(["walk"], guidance=by_hand, **take)[0].joints
    plain = model.generate(["walk"], **take)[0].joints
    assert np.abs(expected - plain).max() > 1e-3
    np.testing.assert_array_equal(own.generate(["walk"], **take)[0].joints, expected)
    np.testing.assert_array_equal(own.generate(["walk"], guidance=None, **take)[0].joints, plain)
    changed = own.load_guidance(eta=0.25, strength=7.0)
    expected = DEFAULT_OPTIONS | {"mu": 3.0, "eta": 0.25, "anchors": 2, "strength": 7.0}
    assert changed.config == GuidanceConfig(**expected)


def test_guidance_options_are_the_same_in_python_and_the_command(
    guided_shelf: Path, model: TextToMotion, tmp_path: Path
) -> None:
    own = TextToMotion.from_pretrained(guided_shelf / "generator", device="cpu")
    take, made = {"seconds": 2, "steps": 10}, {}
    for method in get_args(Word):
        made[method] = own.generate(["walk"], guidance=method, **take)[0].joints
        given = ["--checkpoint", str(guided_shelf / "generator"), "--device", "cpu", "--seconds", "2", "--steps", "10"]
        assert main(["generate", "walk", *given, "--guidance", method, "-o", str(tmp_path / "x.npy")]) == 0
        np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), made[method], method)
    np.testing.assert_array_equal(made["none"], own.generate(["walk"], guidance=None, **take)[0].joints)
    np.testing.assert_array_equal(made["default"], made["reward"])
    assert np.abs(made["none"] - made["reward"]).max() > 1e-3 and np.abs(made["none"] - made["best-of"]).max() > 1e-3
    np.testing.assert_array_equal(model.generate(["walk"], guidance="default", **take)[0].joints, made["none"])
    for other in ("nothing", "", "None", True, 3):
        with pytest.raises(InputError, match=r"guidance .*choose one of default, none, reward, best-of"):
            own.generate(["walk"], guidance=other, **take)
    with pytest.warns(Renamed, match="cfg is now called guidance_scale"):
        scaled = own.generate(["walk"], guidance="none", cfg=4.0, **take)[0].joints
    expected = own.generate(["walk"], guidance="none", guidance_scale=4.0, **take)[0].joints
    np.testing.assert_array_equal(scaled, expected)


def expected_rewards(shelf: Path, clips: list[MotionClip], features: torch.Tensor) -> np.ndarray:
    """Total, cosine to the caption and to the anchor, the softmax of the two nearest motions, by plain loops."""
    task, index, rows = load_task(shelf / "reward"), MotionIndex.load(shelf / "index"), []
    with torch.no_grad():
        for clip, motion in zip(clips, features, strict=True):
            (text,) = task.embed_captions([clip.caption]).double().numpy()
            made = task.embed_motions(motion[None, : len(clip)], torch.tensor([len(clip)]))[0].double().numpy()
            motions = index.vectors(range(len(index))).astype(float)
            nearest = sorted(range(len(index)), key=lambda i: -motions[i] @ text)[:2]
            weights = np.exp([motions[i] @ text / 0.1 for i in nearest])
            anchor = sum(w * motions[i] for w, i in zip(weights / weights.sum(), nearest, strict=True))
            rows.append((3.0 * (made @ text) + 0.5 * (made @ anchor), made @ text, made @ anchor))
    return np.array(rows)


def rewards_of(clips: list[MotionClip]) -> np.ndarray:
    return np.array([(clip.reward, clip.text_reward, clip.motion_reward) for clip in clips])


def test_clips_carry_their_reward_beside_the_unguided_ones(guided_shelf: Path) -> None:
    """Rewards are those of the features that were sampled; neither they nor motions depend on the batch."""
    own = TextToMotion.from_pretrained(guided_shelf / "generator", device="cpu")
    texts, take = ["a person walks", "a person bows"], {"seconds": 2, "steps": 10, "samples": 2, "seed": 4}
    clips = own.generate(texts, compare=True, **take)
    assert [clip.caption for clip in clips] == ["a person walks"] * 2 + ["a person bows"] * 2
    seeds = torch.tensor([mix_seed(4, text, number) for text in texts for number in range(2)])
    lengths, captions = torch.full((4,), 40), [text for text in texts for _ in range(2)]
    features = own.task.sample(captions, lengths, seeds, steps=10)
    plain = [clip.unguided for clip in clips]
    np.testing.assert_allclose(rewards_of(plain), expected_rewards(guided_shelf, plain, features), atol=1e-4)
    features = own.default_guidance.sample(own.task, captions, lengths, seeds, steps=10)
    np.testing.assert_allclose(rewards_of(clips), expected_rewards(guided_shelf, clips, features), atol=1e-4)
    for batch_size in (1, 3):
        again = own.generate(texts, compare=True, batch_size=batch_size, **take)
        np.testing.assert_allclose(rewards_of(again), rewards_of(clips), atol=1e-4)
    for guidance, expected in (("default", clips), ("none", plain)):
        for clip, other in zip(own.generate(texts, guidance=guidance, **take), expected, strict=True):
            np.testing.assert_array_equal(clip.joints, other.joints)
            assert clip.reward == other.reward and clip.unguided is None
    assert np.mean([clip.reward for clip in clips]) > np.mean([clip.reward for clip in plain])  # it was climbed
    (bare,) = own.generate(["walk"], seconds=2, steps=2, guidance=own.load_guidance(eta=0.0, mu=2.0))
    assert bare.reward == pytest.approx(2 * bare.text_reward) and bare.motion_reward is None


def test_best_of_compares_with_its_first_candidate(guided_shelf: Path) -> None:
    own = TextToMotion.from_pretrained(guided_shelf / "generator", device="cpu")
    clips = own.generate(SENTENCES, seconds=2, steps=5, guidance="best-of", compare=True)
    assert all(clip.reward >= clip.unguided.reward - 1e-5 for clip in clips)
    assert any(clip.reward > clip.unguided.reward + 1e-5 for clip in clips)


def test_without_a_reward_clips_carry_none(guided_shelf: Path, model: TextToMotion, tmp_path: Path) -> None:
    take = {"seconds": 2, "steps": 2}
    assert [model.generate(["walk"], **take)[0].reward, *model.anchors(["walk"])] == [None, []]
    for guidance in (None, "none", "default"):
        with pytest.raises(InputError, match="no guided motion to compare"):
            model.generate(["walk"], guidance=guidance, compare=True, **take)
    shutil.copytree(guided_shelf / "generator", tmp_path / "generator")  # its reward is missing
    alone = TextToMotion.from_pretrained(tmp_path / "generator", device="cpu")
    assert alone.generate(["walk"], guidance=None, **take)[0].reward is None
    with pytest.raises(InputError, match="no checkpoint at"):
        alone.generate(["walk"], **take)


def test_anchors_are_the_nearest_motions_of_each_caption(guided_shelf: Path) -> None:
    own = TextToMotion.from_pretrained(guided_shelf / "generator", device="cpu")
    task, index = load_task(guided_shelf / "reward"), MotionIndex.load(guided_shelf / "index")
    found = own.anchors(SENTENCES[:3])
    with torch.no_grad():
        for text, hits in zip(SENTENCES, found, strict=False):
            cosines = index.vectors(range(3)) @ task.embed_captions([text])[0].numpy()
            assert [hit.position for hit in hits] == np.argsort(-cosines)[:2].tolist()
            np.testing.assert_allclose([hit.score for hit in hits], np.sort(cosines)[:0:-1], atol=1e-5)
            assert [hit.id for hit in hits] == [index.items[hit.position].id for hit in hits]
    assert own.anchors(["walk"], guidance=None) == [[]] == own.anchors(["walk"], own.load_guidance(eta=0.0))
    with pytest.raises(InputError, match="blank"):
        own.anchors([" "])


def test_the_command_compares(guided_shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", "walk", "run", "--checkpoint", str(guided_shelf / "generator"), "--device", "cpu"]
    words += ["--seconds", "1", "--steps", "3", "--samples", "2", "-o", str(tmp_path / "x.npy")]
    assert main([*words, "--compare"]) == 0
    told = capsys.readouterr()
    names = [f"x_{number}_{word}.npy" for number in range(4) for word in ("unguided", "guided")]
    assert told.out.split() == [str(tmp_path / name) for name in names]
    own = TextToMotion.from_pretrained(guided_shelf / "generator", device="cpu")
    clips = own.generate(["walk", "run"], seconds=1, steps=3, samples=2, compare=True)
    for number, clip in enumerate(clips):
        np.testing.assert_array_equal(np.load(tmp_path / f"x_{number}_unguided.npy"), clip.unguided.joints)
        np.testing.assert_array_equal(np.load(tmp_path / f"x_{number}_guided.npy"), clip.joints)
        line = f"{clip.caption!r}: unguided reward {clip.unguided.reward:.3f} (caption {clip.unguided.text_reward:.3f}"
        assert line in told.err and f"guided reward {clip.reward:.3f} (caption {clip.text_reward:.3f}" in told.err
    for text, hits in zip(["walk", "run"], own.anchors(["walk", "run"]), strict=True):
        assert [f"{text!r}: anchor {hit.id}, likeness {hit.score:.3f}: -" in told.err for hit in hits] == [True, True]
    assert main(words) == 0
    assert f"'run': reward {clips[3].reward:.3f} (caption" in capsys.readouterr().err
    assert main([*words, "--guidance", "none", "--compare"]) == 2
    assert "no guided motion to compare" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("", {}),
        ("--guidance default", {}),
        ("--guidance reward", {}),
        ("--strength 90 --profile constant", {"strength": 90.0, "profile": "constant"}),
        ("--mu 9 --eta 2 --anchors 3 --interval 1", {"mu": 9.0, "eta": 2.0, "anchors": 3, "interval": 1}),
        ("--window .5,.9", {"start": 0.5, "stop": 0.9}),
        ("--guidance best-of --candidates 6", {"method": "best-of", "candidates": 6}),
        ("--guidance none", None),
        ("--strength 0", None),
    ],
)  # fmt: skip
def test_options_of_the_command_override_parts_of_the_default(
    guided_shelf: Path, model: TextToMotion, tmp_path: Path, words: str, options: dict[str, object] | None
) -> None:
    given = ["--checkpoint", str(guided_shelf / "generator"), "--device", "cpu", "--seconds", "2", "--steps", "10"]
    assert main(["generate", "walk", *given, *words.split(), "-o", str(tmp_path / "x.npy")]) == 0
    guidance = None
    if options is not None:
        parts = DEFAULT | DEFAULT_OPTIONS | options
        files = {name: guided_shelf / str(parts.pop(name)) for name in ("reward", "index")}
        guidance = model.load_guidance(**files, **parts)
    expected = model.generate(["walk"], seconds=2, steps=10, guidance=guidance)[0].joints
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), expected)


@pytest.mark.parametrize(
    "content",
    ["", "mu: much", "mou: 1", "- mu", "mu: [", "options: {profil: signal}", "options: {stop: 2}"],
)
def test_a_default_that_is_not_a_guidance_is_refused(
    shelf: Path, tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(shelf / "generator", tmp_path / "generator")
    (tmp_path / "generator/guidance.yaml").write_text(content, encoding="utf-8")
    assert main(["generate", "walk", "--checkpoint", str(tmp_path / "generator"), "--device", "cpu"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "guidance.yaml does not describe a guidance" in lines[0], lines


def test_the_command_prints_the_lengths_that_it_chose(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", "jump", "walk", "--checkpoint", str(shelf / "generator"), "--device", "cpu", "--steps", "2"]
    words += ["-o", str(tmp_path / "x.npy")]
    parts = ["--reward", str(shelf / "reward"), "--index", str(shelf / "lengths")]
    assert main([*words, *parts]) == 0
    expected = [usual_frames(shelf, text) for text in ("jump", "walk")]
    assert [len(np.load(path)) for path in capsys.readouterr().out.split()] == expected
    assert main([*words, *parts]) == 0
    notes = capsys.readouterr().err.splitlines()
    assert [f"{frames / 20:g} s" in line for frames, line in zip(expected, notes, strict=True)] == [True] * 2
    assert main([*words, "--seconds", "3"]) == 0
    told = capsys.readouterr()
    assert not told.err and [len(np.load(path)) for path in told.out.split()] == [60, 60]
    assert main([*words, *parts, "--seconds", "3"]) == 2
    assert "has no effect with --guidance none" in capsys.readouterr().err
