"""Search: from a built index to hits, in Python and on the command line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from index_parts import ROOT, write_model

from realign.cli import build, main
from realign.data.store import PackedMotions
from realign.errors import InputError
from realign.inference import MotionSearch
from realign.motion.bvh import write_bvh
from realign.motion.clip import MotionClip
from realign.motion.skeleton import HUMANML3D, KIT
from realign.nn import Embedder
from realign.tasks import save_pretrained
from realign.text import HashingEncoder
from realign.text.base import TokenLimit


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, another model, a prepared set, an index with and one without motions, and queries."""
    root = tmp_path_factory.mktemp("search")
    write_model(root / "model", root / "data")
    write_model(root / "other", root / "data", "--seed_everything=5")
    config = ["--config", str(ROOT / "configs/tiny/generator_mdm.yaml"), "--model.init_args.skeleton=humanml3d"]
    generator = build(config).model
    generator.normalizer.fit(torch.zeros(263), torch.ones(263))
    save_pretrained(generator, root / "generator")
    index = ["index", "build", "--checkpoint", str(root / "model"), "--data", str(root / "data"), "--device", "cpu"]
    assert main([*index, "-o", str(root / "index"), "--split", "all", "--with-motions"]) == 0
    assert main([*index, "-o", str(root / "small"), "--split", "test"]) == 0
    clip(root, 30).save(root / "clip.npy")
    np.save(root / "features.npy", PackedMotions.open(root / "data").motion(30))
    write_bvh(root / "clip.bvh", clip(root, 30).joints, HUMANML3D, 20)
    np.save(root / "short.npy", clip(root, 30).joints[:4])
    np.save(root / "wide.npy", np.zeros((40, 264), np.float32))
    kit = 200 * np.random.default_rng(0).normal(size=(40, KIT.num_joints, 3))
    np.save(root / "kit.npy", kit.astype(np.float32))
    broken = clip(root, 30).joints.copy()
    broken[3, 2, 1] = np.nan
    np.save(root / "nan.npy", broken)
    return root


@pytest.fixture(scope="module")
def model(home: Path) -> MotionSearch:
    return MotionSearch.from_pretrained(home / "index", home / "model", device="cpu")


def clip(home: Path, row: int) -> MotionClip:
    from realign.motion.features import features_to_joints

    features = torch.from_numpy(PackedMotions.open(home / "data").motion(row).copy())
    return MotionClip(features_to_joints(features).numpy(), 20.0)


def command(home: Path, *words: str) -> list[str]:
    return ["search", *words, "--index", str(home / "index"), "--checkpoint", str(home / "model"), "--device", "cpu"]


def test_a_motion_finds_itself(model: MotionSearch, home: Path) -> None:
    for row in (0, 30, 71):
        (hits,) = model.by_motion([clip(home, row)], k=3)
        assert hits[0].position == row and hits[0].score > 0.999
        assert hits[0].score >= hits[1].score >= hits[2].score
    item = model.library.motions.items[71]
    assert (hits[0].id, hits[0].captions, hits[0].frames) == (item.id, item.captions, item.frames)
    assert hits[0].seconds == item.frames / 20


def test_another_frame_rate_finds_it_too(model: MotionSearch, home: Path) -> None:
    whole = clip(home, 40)
    times = np.arange(0, len(whole) - 1, 1 / 3)  # 60 frames a second, linearly between the frames
    before = times.astype(int)
    weight = (times - before)[:, None, None]
    fine = whole.joints[before] * (1 - weight) + whole.joints[before + 1] * weight
    (hits,) = model.by_motion([MotionClip(fine, 60.0)], k=1)
    assert hits[0].position == 40


def test_sentences_rank_motions_and_motions_rank_captions_by_cosine(model: MotionSearch, home: Path) -> None:
    index, captions = model.library.motions, model.library.captions
    assert captions is not None
    vectors = index.vectors(np.arange(len(index)))
    text = model.embed_texts(["a person runs"]).numpy()
    (hits,) = model.by_text(["a person runs"], k=5)
    assert [hit.position for hit in hits] == np.argsort(-(vectors @ text[0]), kind="stable")[:5].tolist()
    (found,) = model.captions_for([clip(home, 30)], k=4)
    scores = model.embed_texts([item.id for item in captions.items]).numpy() @ vectors[30]
    np.testing.assert_allclose([hit.score for hit in found], np.sort(scores)[::-1][:4], atol=5e-3)
    by_text = dict(zip((item.id for item in captions.items), scores, strict=True))
    np.testing.assert_allclose([by_text[hit.caption] for hit in found], [hit.score for hit in found], atol=5e-3)


def test_hits_do_not_depend_on_the_queries_beside(model: MotionSearch, home: Path) -> None:
    texts = ["a person walks", "a person runs and turns left while raising both hands"]
    together, alone = model.by_text(texts, k=3), [model.by_text([text], k=3)[0] for text in texts]
    assert [[hit.id for hit in hits] for hits in together] == [[hit.id for hit in hits] for hits in alone]
    clips = [clip(home, 3), clip(home, 50)]
    assert [hits[0].position for hits in model.by_motion(clips, k=1)] == [3, 50]


def test_motions_of_hits_come_from_the_index_or_from_the_prepared_set(model: MotionSearch, home: Path) -> None:
    (hits,) = model.by_text(["a person walks"], k=2)
    kept, prepared = model.clips(hits), model.clips(hits, home / "data")
    for one, other in zip(kept, prepared, strict=True):
        np.testing.assert_allclose(one.joints, other.joints, atol=1e-3)
        assert one.caption == other.caption
    assert kept[0].caption.startswith("1. a person ")


def test_json_of_sentences_a_file_and_a_motion(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "queries.txt").write_text("a person runs\n\nчеловек идёт\n", encoding="utf-8")
    words = [
        "a person walks",
        "--file",
        str(tmp_path / "queries.txt"),
        "--motion",
        str(home / "features.npy"),
        "-k",
        "2",
    ]
    assert main([*command(home, *words), "--json"]) == 0
    told = capsys.readouterr()
    answers = json.loads(told.out)
    assert [answer["kind"] for answer in answers] == ["text"] * 3 + ["motion"]
    assert [answer["query"] for answer in answers[:3]] == ["a person walks", "a person runs", "человек идёт"]
    assert all(len(answer["motions"]) == 2 for answer in answers)
    told_of = {"id", "score", "captions", "frames", "seconds", "source", "position", "probability"}
    assert set(answers[0]["motions"][0]) == told_of and answers[0]["familiarity"] is None
    assert answers[3]["motions"][0]["position"] == 30
    assert len(answers[3]["captions"]) == 2
    assert [line for line in told.err.splitlines() if "English" in line and "человек идёт" in line]


@pytest.mark.parametrize(
    "words",
    [
        ["--motion", "clip.npy", "features.npy"],
        ["--motion", "clip.npy", "--motion", "features.npy"],
        ["a person walks", "--motion", "clip.npy", "features.npy", "-k", "1"],
        ["a person walks", "a person runs", "-k", "1", "--motion", "clip.npy", "--motion", "features.npy", "clip.bvh"],
    ],
)
def test_every_motion_that_is_named_is_searched(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.chdir(home)
    assert main(["search", *defaults(words), "--json"]) == 0
    kinds = ["motion" if word.endswith((".npy", ".bvh")) else "text" for word in words if word[:1] not in "-1"]
    answers = json.loads(capsys.readouterr().out)
    assert [answer["kind"] for answer in answers] == kinds
    names = [word for word in words if word.endswith((".npy", ".bvh"))]
    assert [answer["query"] for answer in answers if answer["kind"] == "motion"] == names


def test_tables_and_pictures(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bvh = ["--motion", str(home / "clip.bvh"), "-k", "2", "--render", str(tmp_path / "hits.png")]
    assert main(command(home, *bvh)) == 0
    told = capsys.readouterr().out
    assert "caption that fits the motion" in told and "seconds" in told and "000030" in told
    assert (tmp_path / "hits.png").stat().st_size > 1000
    small = ["--index", str(home / "small"), "--checkpoint", str(home / "model"), "--device", "cpu"]
    words = ["search", "walk [bold]", "run", "-k", "1", "--render", str(tmp_path / "x.npy"), *small]
    assert main([*words, "--data", str(home / "data")]) == 0
    assert np.load(tmp_path / "x_1.npy").shape[1:] == (22, 3)
    assert "walk [bold]" in capsys.readouterr().out
    assert main(words) == 2
    told = capsys.readouterr()
    assert "--with-motions" in told.err and not told.out  # told before the search


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([" "], "A caption is blank"),
        ([], "No caption was given"),
        (["walk", "-k", "73"], "k = 73 is not between 1 and the 72 motions"),
        (["walk", "-k", "0"], "-k 0 is too small; give 1 or more"),
        (["--motion", "wide.npy"], "shape (40, 264)"),
        (["--motion", "kit.npy"], "'humanml3d' (22 joints)"),
        (["--motion", "short.npy"], "short.npy' has 4 frames"),
        (["--motion", "nan.npy"], "NaN"),
        (["--motion", "nowhere.npy"], "nowhere.npy"),
        (["--motion", "nowhere.bvh"], "nowhere.bvh"),
        (["--motion", "clip.npy", "--fps", "1000"], "frames at 20 fps"),
        (["--motion", "clip.npy", "--fps", "0.01"], "cut out the part"),
        *(
            (["--motion", file, "--fps", rate], "--fps must be a positive number from 0.01 to 1000, not")
            for file in ("clip.npy", "clip.bvh")
            for rate in ("-1", "0", "-0.0", "nan", "inf", "1e9", "1e-9")
        ),
        (["--motion", "clip.npy", "a person walks"], "'a person walks' is not a .npy, .npz, .bvh, .glb or .gltf file"),
        (["walk", "--render", "hits.foo"], "end the name with"),
        (["walk", "--index", "empty"], "holds no index"),
        (["walk", "--index", "nowhere"], "There is no index"),
        (["walk", "--index", "cut"], "index.faiss of the index"),
        (["walk", "--index", "altered"], "items.bin of the index"),
        (["walk", "--checkpoint", "other"], "was made by the model"),
        (["walk", "--checkpoint", "index"], "no config.yaml"),
        (["walk", "--checkpoint", "generator"], "holds a generator, but a reward or retriever is needed"),
    ],
)
def test_bad_input_is_one_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    monkeypatch.chdir(home)
    (home / "empty").mkdir(exist_ok=True)
    for name, file in (("cut", "index.faiss"), ("altered", "items.bin")):
        if not (home / name).exists():
            shutil.copytree(home / "index", home / name)
            content = (home / name / file).read_bytes()
            (home / name / file).write_bytes(content[:-9] if name == "cut" else content[:-9] + bytes(9))
    assert main(["search", *defaults(words)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("realign: ")]
    assert len(lines) == 1 and told in lines[0], lines


def defaults(words: list[str]) -> list[str]:
    """The arguments, with index and model of the test folder by default."""
    index = [] if "--index" in words else ["--index", "index"]
    checkpoint = [] if "--checkpoint" in words else ["--checkpoint", "model"]
    return [*words, *index, *checkpoint, "--device", "cpu"]


def test_an_index_without_captions_is_reported(model: MotionSearch, home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "small", tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "captions")
    bare = MotionSearch.from_pretrained(tmp_path / "bare", home / "model", device="cpu")
    assert bare.by_motion([clip(home, 30)])[0]
    with pytest.raises(InputError, match="holds no captions"):
        bare.captions_for([clip(home, 30)])
    with pytest.raises(InputError, match="come as a list"):
        bare.by_motion(clip(home, 30))  # type: ignore[arg-type]
    assert len(bare.by_text(["walk"])[0]) == min(10, len(bare))


def test_an_index_of_another_model_is_refused_in_python_too(model: MotionSearch, home: Path) -> None:
    with pytest.raises(InputError, match="was made by the model"):
        MotionSearch(Embedder.load(home / "other"), model.library)


def test_a_search_loads_nothing_that_trains(home: Path) -> None:
    heavy = ("lightning", "torchmetrics", "diffusers", "transformers", "scipy", "matplotlib", "realign.tasks")
    script = (
        "import sys; from realign.cli import main\n"
        f"code = main({command(home, 'a person walks', '-k', '1')!r})\n"
        f"print(code, [name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


def test_both_commands_read_prompt_files_alike_and_note_the_same(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(HashingEncoder, "token_limit", lambda self: TokenLimit(40, lambda text: len(text.split())))
    text = "a person walks\n走る人\n" + "left right " * 25
    made, found = [], []
    marked = b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
    for name, content in {"plain": text.encode(), "mark": marked, "wide": text.encode("utf-16")}.items():
        file = tmp_path / f"{name}.txt"
        file.write_bytes(content)
        asked = ["--file", str(file)]
        generate = ["generate", *asked, "--checkpoint", str(home / "generator"), "--device", "cpu", "--seconds", "1"]
        assert main([*generate, "--steps", "2", "-o", str(tmp_path / f"{name}.npy")]) == 0
        told = capsys.readouterr().err
        assert main(command(home, *asked, "--json")) == 0
        searched = capsys.readouterr()
        assert searched.err == told and told.count("realign: note: ") == 2
        assert "may not understand '走る人'" in told and "the first 40 words of 'left right" in told
        made.append([np.load(tmp_path / f"{name}_{number}.npy") for number in range(3)])
        found.append(searched.out)
    assert found[0] == found[1] == found[2]
    for other in made[1:]:
        assert all(np.array_equal(one, two) for one, two in zip(made[0], other, strict=True))
