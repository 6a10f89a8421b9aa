"""The rows of configs/paper, and published figures beside measured ones."""

import argparse
import json
import re
from pathlib import Path

import pytest
import torch
from evaluate_parts import make_shelf

from realign.batch import MotionTextBatch
from realign.checkpoint.load import load_model
from realign.cli import main, parse
from realign.commands.evaluate import settings_of
from realign.data.dataset import MotionTextDataset
from realign.data.store import PackedMotions
from realign.evaluation.published import read_figures
from realign.evaluation.results import LEARNED, Results
from realign.evaluation.retrieval import MEASURES
from realign.interfaces import MotionTextModel
from realign.metrics.retrieval import retrieval_protocols, similarity_matrix

ROOT = Path(__file__).parents[2]
ROWS = sorted((ROOT / "configs/paper").glob("*.yaml"))
GENERATORS, RETRIEVAL = ([p for p in ROWS if p.stem.startswith("retrieval") == r] for r in (False, True))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained parts under the names of the paper's rows."""
    folder = make_shelf(tmp_path_factory.mktemp("paper"))
    for name, place in (
        ("data", "prepared/humanml3d"), ("generator", "imported/mdm_humanml3d"), ("reward", "imported/spm_humanml3d"),
        ("evaluator", "imported/guo_humanml3d"),
    ):  # fmt: skip
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).symlink_to(folder / name)
    words = ["--checkpoint", str(folder / "reward"), "--data", str(folder / "data")]
    assert main(["index", "build", *words, "-o", str(folder / "indexes/spm_humanml3d")]) == 0
    return folder


def parsed(path: Path) -> argparse.Namespace:
    return parse(["evaluate", "--config", str(path)])


@pytest.mark.parametrize("path", GENERATORS, ids=lambda path: path.stem)
def test_a_row_of_generation_says_what_its_name_says(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realign.guidance.own.read_guidance", lambda folder: None)  # its folder is not here
    options = parsed(path)
    generator, *_, data = path.stem.split("_")
    guided = re.sub(rf"^{generator}_?|_?{data}$", "", path.stem)
    (setting,) = settings_of(options)
    assert str(options.generator) == f"imported/{generator}_{data}" and Path(options.data) == Path(f"prepared/{data}")
    assert options.evaluator == [f"guo=imported/guo_{data}"] and options.replications == 20
    config, aware = setting.config, guided == "realign" or guided.endswith("aware")
    assert config.method == ("reward" if guided else "none")
    if guided:
        terms = {"text": (1, 0), "motion": (0, 1)}.get(guided.partition("_")[0], (1, 1))
        assert (config.mu, config.eta) == terms and bool(options.index) == bool(config.eta)
        reward = f"spm_{data}" if aware else f"spm_blind_{data}"
        assert str(options.reward) == f"imported/{reward}"
        assert options.index is None or str(options.index) == f"indexes/{reward}"
        assert config.point == ("x0" if generator in ("mdm", "motiondiffuse") else "x_next")
    read_figures(options.published, LEARNED)
    assert read_figures(options.published_real, LEARNED)["R@1"].mean == {"humanml3d": 0.511, "kit": 0.427}[data]
    assert options.output == Path(f"results/paper_{path.stem}.json")


@pytest.mark.parametrize("path", RETRIEVAL, ids=lambda path: path.stem)
def test_a_row_of_retrieval_says_what_its_name_says(path: Path) -> None:
    options = parsed(path)
    _, model, data = path.stem.split("_")
    assert str(options.retriever) == f"imported/{model}_{data}" and Path(options.data) == Path(f"prepared/{data}")
    assert options.sentence_encoder == "sentence-transformers/all-mpnet-base-v2"
    assert all(0 < each.mean < 1 for each in read_figures(options.published, MEASURES).values())


def test_no_two_rows_have_the_same_figures_and_all_are_documented() -> None:
    figures = [json.dumps(parsed(path).published) for path in ROWS if parsed(path).published]
    assert len(figures) == len(set(figures)) >= 11
    page = (ROOT / "docs/reproduce.md").read_text()
    for path in ROWS:
        (line,) = [each for each in page.splitlines() if f"| `{path.stem}` |" in each]
        assert line.endswith("| – |") != bool(parsed(path).published), path.stem


def test_a_row_is_measured_with_published_figures_and_differences(
    shelf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shelf)
    (shelf / "row.yaml").write_text(
        f"{{base: {ROOT}/configs/paper/mdm_realign_humanml3d.yaml, published: {{R@1: [0.4, 0.01], FID: 2}}}}"
    )
    words = ["evaluate", "--config", "row.yaml", "--replications", "1", "--steps", "2", "--limit", "32"]
    assert main([*words, "-o", "row.json"]) == 0
    results = Results.load("row.json")
    real, row = results.rows
    measured = row.estimate("R@1", "guo").mean
    told = json.loads(Path("row.json").read_text())["rows"][1]["summary"]["published"]
    assert told["R@1"] == {"mean": 0.4, "interval": 0.01, "difference": measured - 0.4}
    assert told["FID"]["difference"] == row.estimate("FID", "guo").mean - 2 and set(told) == {"R@1", "FID"}
    assert real.published["R@1"] == 0.511 and row.setting["eta"] == 1 and row.setting["steps"] == 2
    printed = capsys.readouterr().out
    assert f"| {row.name}, published | 0.400 ± 0.010 | – | – | 2.000 |" in printed
    assert f"| {row.name}, difference | {measured - 0.4:+.3f} |" in printed
    assert main([*words, "-o", "row.json", "--published", "{}"]) == 0  # what is there stays
    assert Results.load("row.json").rows[1].published == {"R@1": [0.4, 0.01], "FID": 2}
    capsys.readouterr()
    assert main([*words, "-o", "two.json", "--guidance", "none", "reward"]) == 0
    assert "belong to one row" in capsys.readouterr().err
    assert [bool(each.published) for each in Results.load("two.json").rows] == [True, False, False]


def embedded(model: MotionTextModel, batch: MotionTextBatch) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        return model.embed_captions(batch.captions), model.embed_motions(batch.motion, batch.lengths)


def test_retrieval_is_that_of_its_protocols(
    shelf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shelf)
    base = f"{ROOT}/configs/paper/retrieval_spm_humanml3d.yaml"
    (shelf / "retrieval.yaml").write_text(f"{{base: {base}, sentence_encoder: null, retriever: reward}}")
    packed = PackedMotions.open(shelf / "data")
    motions = MotionTextDataset(packed, "test", min_frames=4, max_motion_frames=None, one_per_motion=True, pad_to=196)
    (shelf / "listed.txt").write_text("\n".join(motions.ids()[:5]) + "\n")
    words = ["evaluate", "--config", "retrieval.yaml", "--batch-size", "7", "--subset", "listed.txt", "-o", "r.json"]
    assert main(words) == 0
    found = json.loads(Path("r.json").read_text())
    batch = motions.__getitems__(range(len(motions)))
    model = load_model(shelf / "reward", MotionTextModel)
    text, motion = embedded(model, batch)
    expected = retrieval_protocols(similarity_matrix(text, motion), batch.ids, subset=batch.ids[:5])
    assert found["measures"] == pytest.approx(expected, abs=1e-6) and "dissimilar/t2m/R@1" in expected
    key = "small_batches/t2m/R@1"
    assert found["published"][key]["difference"] == pytest.approx(expected[key] - 0.6759)
    assert found["about"]["data"]["motions"] == len(motions)
    assert "| published | 67.59 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--retriever", "reward", "--generator", "generator"], "--generator has no effect here"),
        (["--retriever", "reward", "--guidance", "none"], "--guidance has no effect here"),
        (["--subset", "x.txt"], "only --retriever reads it"),
        (["--retriever", "reward", "--subset", "x.txt"], "list of the dissimilar subset x.txt cannot be read"),
        (["--retriever", "nothing"], "nothing"),
        (["--retriever", "reward", "--published", '{"R@1": 1}'], "'R@1', which is not measured"),
    ],
)
def test_bad_input_of_retrieval_is_told(
    words: list[str], told: str, shelf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shelf)
    assert main(["evaluate", "--data", "data", *words]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
