"""Familiarity of captions and probabilities of hits, from `realign calibrate` to generation and search."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from index_parts import write_model

from realign import TextToMotion
from realign.cli import main
from realign.data.store import PackedMotions
from realign.errors import InputError, InputWarning
from realign.index.library import MotionLibrary
from realign.inference import MotionSearch, pretrained_folder
from realign.inference.calibrate import Held, named_actions
from realign.inference.known import KnownCaptions
from realign.motion.familiarity import Familiarity
from realign.nn import Embedder
from realign.text import MiniLMEncoder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, a prepared set without and with actions, and an index, calibrated and not."""
    root = tmp_path_factory.mktemp("known")
    write_model(root / "model", root / "data")
    where = ["--checkpoint", str(root / "model"), "--data", str(root / "data"), "--device", "cpu"]
    assert main(["index", "build", *where, "-o", str(root / "index")]) == 0
    shutil.copytree(root / "index", root / "plain")
    name_actions(root / "data", root / "named")
    where[-3] = str(root / "named")
    assert main(["calibrate", "--index", str(root / "index"), *where, "-o", str(root / "report.json")]) == 0
    return root


def name_actions(data: Path, named: Path) -> None:
    """A copy of a set whose clips are of two contents: those that raise a hand, and others."""
    shutil.copytree(data, named)
    packed = PackedMotions.open(data)
    captions = [packed.captions(row)[0] for row in range(len(packed))]
    texts = [f"{'raise' if 'raising' in text else 'other'}, {text.split()[2]}".encode() for text in captions]
    np.save(named / "actions.npy", np.frombuffer(b"".join(texts), np.uint8))
    np.save(named / "action_offsets.npy", np.cumsum([0, *map(len, texts)]).astype(np.int64))


@pytest.fixture(scope="module")
def model(home: Path) -> MotionSearch:
    return MotionSearch.from_pretrained(home / "index", home / "model", device="cpu")


def test_likeness_is_the_mean_cosine_of_the_ten_nearest_captions(model: MotionSearch) -> None:
    texts = ["a person walks forward", "a person swims"]
    captions = sorted({text for item in model.library.motions.items for text in item.captions})
    encoder = MiniLMEncoder()
    cosines = (encoder(texts).pooled @ encoder(captions).pooled.T).numpy()
    for text, row, found in zip(texts, cosines, model.familiarity(texts), strict=True):
        assert found is not None and found.caption == text
        assert found.likeness == pytest.approx(np.sort(row)[-10:].mean(), abs=5e-3)
        assert found.nearest[0] in {captions[place] for place in np.argsort(-row)[:3]} and len(found.nearest) == 3
        assert float(found) == found.probability


def test_known_and_other_captions_are_told_apart(model: MotionSearch, home: Path) -> None:
    walks, swims = model.familiarity(["a person walks and turns right", "a person swims in a lake"])
    assert walks is not None and walks.is_known and walks.told() is None
    assert swims is not None and not swims.is_known and "swims" in swims.new_words
    about = json.loads((home / "report.json").read_text())
    assert about["known"]["auroc"] > 0.97 and about["right_is"] == "same content"
    assert sum(each["size"] for each in about["right"]["curve"]) == pytest.approx(1)


def test_probabilities_of_hits_fall_with_the_score_and_with_the_likeness(model: MotionSearch) -> None:
    texts = ["a person walks and turns right", "qwertz uiop lkjh"]
    with pytest.warns(InputWarning, match="nothing like 'qwertz uiop lkjh' was in training"):
        known, unknown = model.by_text(texts, k=5)
    curve = model.known.captions.calibration.right  # type: ignore[union-attr]
    judged = model.familiarity(texts)[0]
    expected = curve(np.array([[hit.score, judged.likeness] for hit in known]))  # type: ignore[union-attr]
    np.testing.assert_allclose([hit.probability for hit in known], expected, rtol=1e-6)
    assert max(hit.probability or 0 for hit in unknown) < min(hit.probability or 0 for hit in known)


def test_hits_are_right_by_content_or_by_style_too(home: Path) -> None:
    packed, library = PackedMotions.open(home / "named"), MotionLibrary.load(home / "index")
    embedder = Embedder.load(home / "model")
    rows = {packed.id(row): row for row in range(len(packed))}
    found = {}
    for style in (False, True):
        actions = named_actions(packed, style)
        held = Held.measure(embedder, library, packed, "val", ["it rains"], actions, lambda *_: None)
        assert held.count == len(held.texts) - 1 and not held.right[-1].any()
        for text, right in zip(held.texts[:-1], held.right, strict=False):
            ids = library.motions.search(embedder.embed_captions([text]).detach(), 10).ids[0]
            own = {packed.action(row) for row in rows.values() if text in packed.captions(row)
                   and row in packed.select("val")}  # fmt: skip
            hits = [packed.action(rows[name]) for name in ids]
            expected = [
                hit in own if style else hit.split(",")[0] in {each.split(",")[0] for each in own} for hit in hits
            ]
            assert right.tolist() == expected
        found[style] = held.right.sum()
    assert found[True] < found[False]


def test_without_a_calibration_nothing_is_said(home: Path) -> None:
    plain = MotionSearch.from_pretrained(home / "plain", home / "model", device="cpu")
    assert plain.familiarity(["a person swims"]) == [None] and plain.notes(["a person swims"]) == []
    assert plain.by_text(["a person swims"], k=1)[0][0].probability is None


def test_search_says_both(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search", "a person swims", "--index", str(home / "index"), "--checkpoint", str(home / "model")]
    assert main([*words, "--device", "cpu", "-k", "2", "--json"]) == 0
    said = capsys.readouterr()
    (answer,) = json.loads(said.out)
    assert answer["familiarity"]["probability"] < 0.5 and answer["familiarity"]["nearest"]
    assert 0 <= answer["motions"][0]["probability"] <= 1
    assert "like 'a person swims' was in training; nearest: '" in said.err
    assert main([*words, "--device", "cpu", "-k", "2"]) == 0
    assert "right" in capsys.readouterr().out


def test_without_actions_the_captions_of_a_split_search_its_motions(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "plain", tmp_path / "index")
    words = ["calibrate", "--index", str(tmp_path / "index"), "--checkpoint", str(home / "model")]
    assert main([*words, "--data", str(home / "data"), "--device", "cpu"]) == 0
    known = KnownCaptions.open(tmp_path / "index")
    assert known is not None and known.calibration.about["right_is"] == "own motion or same first caption"
    names = {name for name in MotionLibrary.load(tmp_path / "index").files() if name.startswith("known/")}
    assert {"known/calibration.json", "known/index.faiss", "known/meta.json"} <= names


def test_a_calibration_stays_with_the_same_index_and_is_left_out_of_another(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again, before = tmp_path / "index", (home / "index/known/calibration.json").read_bytes()
    shutil.copytree(home / "index", again)
    words = ["index", "build", "--checkpoint", str(home / "model"), "--data", str(home / "data"), "--device", "cpu"]
    assert main([*words, "-o", str(again), "--with-motions", "--without-captions"]) == 0
    assert (again / "known/calibration.json").read_bytes() == before and KnownCaptions.open(again) is not None
    assert MotionLibrary.load(again).joints() is not None and "calibrat" not in capsys.readouterr().err
    told = f"note: The calibration of {again} does not hold"
    assert main([*words, "-o", str(again), "--split", "test"]) == 0
    assert told in capsys.readouterr().err and KnownCaptions.open(again) is None
    shutil.rmtree(again)
    shutil.copytree(home / "index", again)
    assert main([*words, "-o", str(tmp_path / "other"), "--split", "test"]) == 0
    assert main(["index", "merge", str(tmp_path / "other"), str(again), "-o", str(tmp_path / "both")]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line and f"`realign calibrate --index {tmp_path / 'both'}`" in line
    assert KnownCaptions.open(tmp_path / "both") is None and KnownCaptions.open(again) is not None


@pytest.mark.parametrize("damage", ["cut", "number", "other", "gone"])
def test_a_damaged_calibration_is_named(home: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(home / "index", tmp_path / "index")
    file = tmp_path / "index/known/calibration.json"
    content = json.loads(file.read_text())
    if damage == "cut":
        file.write_text(file.read_text()[:100])
    elif damage == "number":
        file.write_text(json.dumps(content | {"known": {"weights": ["x"], "offset": 0}}))
    elif damage == "other":
        file.write_text(json.dumps(content | {"captions": "0"}))
    else:
        file.unlink()
    with pytest.raises(InputError, match="realign calibrate"):
        KnownCaptions.open(tmp_path / "index")


def test_wrong_input_is_named(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["calibrate", "--index", str(home / "plain"), "--checkpoint", str(home / "model"), "--device", "cpu"]
    data = ["--data", str(home / "data")]
    for more, told in (
        ([*data, "--split", "half"], "'half'"),
        ([*data, "--unlike", str(tmp_path / "none.txt")], "none.txt"),
        (["--data", str(tmp_path)], "prepare"),
    ):
        assert main([*words, *more]) == 2
        assert told in capsys.readouterr().err
    assert not (home / "plain/known").exists()


def test_sentences_for_the_user() -> None:
    near = ("a person walks", "a person runs")
    swims = Familiarity("a person swims", 0.03, 0.4, near, ("swims",))
    assert swims.told() == "nothing like 'a person swims' was in training; nearest: 'a person walks', 'a person runs'"
    assert (Familiarity("he hops", 0.4, 0.6, near).told() or "").startswith("hardly anything like 'he hops' was")
    half = Familiarity("a person walks and claps", 0.7, 0.7, near, ("claps",))
    assert half.is_known and "has 'claps', so 'a person walks and claps' may be followed in part" in (half.told() or "")
    assert Familiarity("a figure walks", 0.95, 0.8, near, ("figure",)).told() is None


def test_the_shipped_generator_knows_what_it_was_trained_on() -> None:
    texts = ["a person walks forward", "a person waves with the right hand", "a person swims", "asdf jkl", "一个人游泳"]
    model = TextToMotion.from_pretrained(pretrained_folder("generator"), device="cpu")
    judged = model.familiarity(texts)
    assert [each is not None and each.is_known for each in judged] == [True, True, False, False, False]
    notes = model.notes(texts, "none")
    assert len(notes) == 4 and sum("was in training" in note for note in notes) == 3
    with pytest.warns(InputWarning, match="nothing like 'a person swims' was in training"):
        (clip,) = model.generate(["a person swims"], seconds=1, steps=1, guidance="none")
    assert clip.familiarity == judged[2] and clip.nearest_captions == judged[2].nearest  # type: ignore[union-attr]
