"""Evaluation in Python and on the command line, with matching untrained models."""

import argparse
import csv
import json
import shutil
import time
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import scipy.stats
import torch
import yaml
from evaluate_parts import make_shelf, open_file, refuse
from launch_parts import torchrun
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from torch.nn.functional import pad

from realign.batch import TextFeatures
from realign.cli import main
from realign.commands import evaluate as evaluate_command
from realign.distributed import launch
from realign.errors import InputError, Renamed
from realign.evaluation.clips import EvaluationClips
from realign.evaluation.estimate import Estimate, student_quantile
from realign.evaluation.evaluation import Evaluation
from realign.evaluation.load import load_evaluation
from realign.evaluation.models import load_evaluator
from realign.evaluation.results import Results, Row
from realign.evaluation.sampling import SettingSampler, recorded
from realign.evaluation.settings import PROTOCOLS, Setting, default_settings
from realign.evaluation.speed import measure_speed
from realign.evaluation.sweep import write_sweep
from realign.evaluation.tables import draw, latex, markdown, write_tables
from realign.files import model_path, named_path
from realign.guidance.config import GuidanceConfig, Word
from realign.index import MotionIndex, MotionItem
from realign.inference import MotionSearch, TextToMotion
from realign.inference.common import pretrained_folder
from realign.metrics.generation import Gaussian, frechet_distance, matching_batches, mm_dist
from realign.motion.cleaning import clean_features
from realign.seeding import mix_seed
from realign.tasks.checkpoint import load_task, save_pretrained
from realign.tasks.generator import GeneratorTask
from realign.text.cache import CachedTextEncoder
from realign.text.hashing import HashingEncoder

CPU = torch.device("cpu")
PLAIN, GUIDED = Setting(steps=2), Setting.parse("guidance=reward steps=2 strength=3 norm=normalize")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture(scope="module")
def evaluation(shelf: Path) -> Evaluation:
    return evaluate(shelf, ["evaluator", "second"])


def evaluate(shelf: Path, evaluators: list[str], reward: bool = True, **options: object) -> Evaluation:
    return load_evaluation(
        shelf / "data",
        generator=shelf / "generator",
        evaluators=[str(shelf / name) for name in evaluators],
        reward=shelf / "reward" if reward else None,
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def results(evaluation: Evaluation) -> Results:
    return evaluation.run([PLAIN, GUIDED], replications=2, time_captions=2)


def test_real_motions_come_first_and_every_evaluator_and_measure_is_there(results: Results) -> None:
    assert [row.name for row in results.rows] == ["real", "unguided steps=2", GUIDED.name]
    for row in results.rows:
        assert len(row.replications) == 2 and row.excluded == 0
        for evaluator in ("evaluator", "second"):
            for measure in ("R@1", "R@2", "R@3", "FID", "MM-Dist", "Diversity"):
                assert row.estimate(measure, evaluator) is not None
        assert row.estimate("reward") is not None and row.estimate("jerk_m_s3") is not None
    real, plain, guided = results.rows
    assert real.estimate("FID", "evaluator").mean < 0.1 * plain.estimate("FID", "evaluator").mean
    assert guided.estimate("reward").mean != plain.estimate("reward").mean
    assert real.speed is None and plain.speed["sentences"] == 2
    assert 0 < plain.speed["p50_s"] <= plain.speed["p95_s"] and plain.speed["text_p50_s"] > 0


def test_measures_agree_with_one_motion_after_the_other(shelf: Path, evaluation: Evaluation, results: Results) -> None:
    evaluator, clips = load_evaluator(shelf / "evaluator"), EvaluationClips(shelf / "data")
    text, motion, real = [], [], []
    with torch.no_grad():
        for batch in clips.batches(clips.places, 0, 1):
            text.append(evaluator.embed_captions(batch.captions))
            shown = pad(batch.motion, (0, 0, 0, 196 - batch.motion.shape[1]))
            motion.append(evaluator.embed_motions(shown, batch.lengths))
        for batch in clips.batches(clips.places, "real", 1):
            shown = pad(batch.motion, (0, 0, 0, 196 - batch.motion.shape[1]))
            real.append(evaluator.embed_motions(shown, batch.lengths))
    evaluation = evaluate(shelf, ["evaluator"])
    evaluation.replicator.protocol = PROTOCOLS["mld"]  # all motions count, except for R-precision
    found = evaluation.replicator.measure(["real"], recorded("real", CPU), 0, lambda _: None)["real"]
    table = found["evaluators"]["evaluator"]
    assert table["MM-Dist"] == pytest.approx(float(mm_dist(torch.cat(text), torch.cat(motion))), rel=1e-5)
    assert table["FID"] == pytest.approx(float(frechet_distance(Gaussian.of(torch.cat(real)), torch.cat(motion))), 1e-4)
    assert found["clips"] == len(clips) == 36


def test_a_motion_of_the_same_first_caption_counts_where_the_protocol_says_so(shelf: Path) -> None:
    evaluation = evaluate(shelf, ["evaluator"], protocol="mocap")
    clips, models = evaluation.clips, evaluation.replicator.models
    first = {
        clips.ids[place]: clips.packed.captions(row)[0] for place, row in enumerate(clips.motions.indices.tolist())
    }
    assert clips.actions(clips.ids) == list(first.values()) and len(set(first.values())) < len(first)
    found = evaluation.replicator.measure(["real"], recorded("real", CPU), 0, lambda _: None)["real"]
    batch = next(clips.batches(clips.places, 0, len(clips)))
    rows = [sorted(batch.ids).index(name) for name in batch.ids]
    order = sorted(range(len(batch)), key=lambda i: rows[i])
    chosen = matching_batches(len(batch), 32, mix_seed(mix_seed(0, 0), "batches"))[0].tolist()
    kept = [order[i] for i in chosen]
    text = models.text("evaluator", [batch.captions[i] for i in kept])
    motion = models.motions("evaluator", batch.motion, batch.lengths)[kept]
    hits = 0
    for row in range(32):
        nearest = min(range(32), key=lambda column: float((text[row] - motion[column]).norm()))
        hits += first[batch.ids[kept[nearest]]] == first[batch.ids[kept[row]]]
    assert found["evaluators"]["evaluator"]["R@1"] == pytest.approx(hits / 32)


def test_a_clip_of_the_same_action_counts_though_captions_differ(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = evaluate(shelf, ["evaluator"], protocol="mocap")
    clips = evaluation.clips
    monkeypatch.setattr(type(clips.packed), "action", lambda packed, row: "walk, happy")
    assert clips.actions(clips.ids) == ["walk, happy"] * len(clips)
    found = evaluation.replicator.measure(["real"], recorded("real", CPU), 0, lambda _: None)
    table = found["real"]["evaluators"]["evaluator"]
    assert table["R@1"] == 1, "every motion is right"


def test_each_kind_of_clips_is_measured_as_if_alone(shelf: Path, evaluation: Evaluation, results: Results) -> None:
    assert evaluation.clips.kinds(evaluation.clips.ids).count("composed") == 3, "too few to be measured apart"
    assert [row.kinds for row in results.rows] == [["recorded"]] * 3
    alone = evaluate(shelf, ["evaluator", "second"], kind="recorded").run([PLAIN, GUIDED], replications=2)
    assert all(row.kinds == [] for row in alone.rows)
    for row, other in zip(results.rows, alone.rows, strict=True):
        for record, known in zip(row.replications, other.replications, strict=True):
            part = record["kinds"]["recorded"]
            assert part["clips"] == known["clips"] == 33
            assert part["measures"] == pytest.approx(known["measures"], rel=1e-4, abs=1e-5)
            for name in ("evaluator", "second"):
                assert part["evaluators"][name] == pytest.approx(known["evaluators"][name], rel=1e-3, abs=1e-4)
        mean = other.estimate("FID", "evaluator").mean
        assert row.estimate("FID", "evaluator", "recorded").mean == pytest.approx(mean, rel=1e-3, abs=1e-4)
    text = markdown(results)
    assert text.count("; recorded clips apart") == 3 and "composed" not in text


def test_batches_do_not_matter(shelf: Path, results: Results) -> None:
    other = evaluate(shelf, ["evaluator", "second"], batch_size=5).run([PLAIN], replications=1)
    for row, expected in zip(other.rows, results.rows, strict=False):
        record, known = row.replications[0], expected.replications[0]
        assert record["evaluators"]["evaluator"] == pytest.approx(known["evaluators"]["evaluator"], rel=1e-3, abs=1e-4)
        assert record["measures"] == pytest.approx(known["measures"], rel=1e-3, abs=1e-4)


def test_a_killed_evaluation_is_continued(evaluation: Evaluation, results: Results, tmp_path: Path) -> None:
    file = tmp_path / "results.json"

    def kill(label: str, done: int, total: int) -> None:
        if label.startswith(GUIDED.name):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluation.run([PLAIN, GUIDED], replications=2, output=file, watch=kill)
    kept = Results.load(file)
    assert [len(row.replications) for row in kept.rows] == [1, 1, 0]
    told: list[tuple[str, int, int]] = []
    evaluation.run([PLAIN], replications=1, output=file, watch=lambda *words: told.append(words))
    assert not told, "what is there is not done again"
    final = evaluation.run([PLAIN, GUIDED], replications=2, output=file, watch=lambda *words: told.append(words))
    assert told[-1][1:] == (108, 108), "36 motions of the guided setting twice, of the other once"
    for row, expected in zip(final.rows, results.rows, strict=True):
        for record, known in zip(row.replications, expected.replications, strict=True):
            assert {**record, "seconds": 0} == {**known, "seconds": 0}
    assert json.loads(file.read_text())["rows"][1]["summary"]["evaluator/FID"]["mean"] == pytest.approx(
        results.rows[1].estimate("FID", "evaluator").mean
    )


def test_results_of_something_else_are_not_continued(shelf: Path, evaluation: Evaluation, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    Results({**evaluation.about(), "seed": 7}).save(file)
    with pytest.raises(InputError, match=r"another seed \(7, now 0\)"):
        evaluation.run([PLAIN], output=file)
    file.write_text("{}")
    with pytest.raises(InputError, match="no results of an evaluation"):
        evaluation.run([PLAIN], output=file)
    known = Results(evaluation.about())
    known.row("a", {"steps": 1})
    known.save(file)
    with pytest.raises(InputError, match="other settings under 'a'"):
        evaluation.run([Setting("a", steps=2)], output=file)


def test_half_precision_is_close_and_kept_apart(shelf: Path, results: Results, tmp_path: Path) -> None:
    half = evaluate(shelf, ["evaluator", "second"], precision="bf16")
    file = tmp_path / "results.json"
    found = half.run([PLAIN, GUIDED], replications=1, output=file)
    assert found.rows[0].replications[0]["evaluators"] == results.rows[0].replications[0]["evaluators"]
    for row, expected in zip(found.rows[1:], results.rows[1:], strict=True):
        for name, measures in row.replications[0]["evaluators"].items():
            known = expected.replications[0]["evaluators"][name]
            assert measures != known
            for measure in ("FID", "MM-Dist", "Diversity"):
                assert measures[measure] == pytest.approx(known[measure], rel=0.05)
    assert "sampled in bf16" in markdown(found) and "sampled in fp32" in markdown(results)
    with pytest.raises(InputError, match=r"another precision \(bf16, now fp32\)"):
        evaluate(shelf, ["evaluator", "second"]).run([PLAIN], output=file)
    with pytest.raises(InputError, match="precision 'fp8'"):
        evaluate(shelf, ["evaluator"], precision="fp8")


def test_motions_with_nan_are_counted_and_left_out(evaluation: Evaluation) -> None:
    spoiled = {"number": 0}

    def make(batch: object, _: object) -> dict[str, torch.Tensor]:
        motion = batch.motion.clone()  # type: ignore[attr-defined]
        if spoiled["number"] < 2:
            motion[0, 3, 5] = spoiled.get("as", torch.nan if spoiled["number"] else torch.inf)
            spoiled["number"] += 1
        return {"broken": motion}

    def measure() -> dict[str, object]:
        return evaluation.replicator.measure(["broken"], make, 0, lambda _: None)["broken"] | {"seconds": 0}

    record = measure()
    assert record["excluded"] == 2 and record["clips"] == 34
    spoiled["number"], spoiled["as"] = 0, 1e30  # finite, but too large to measure
    assert measure() == record
    assert all(value == value for value in [*record["measures"].values(), *record["evaluators"]["evaluator"].values()])
    results = Results(evaluation.about())
    results.row("real", None).replications.append(record)
    assert "real (1, 2 with NaN left out)" in markdown(results)
    with pytest.raises(InputError, match="'void' are free of NaN"):
        evaluation.replicator.measure(["void"], lambda batch, _: {"void": batch.motion * torch.nan}, 0, lambda _: None)


def test_multimodality_has_replications_of_its_own(evaluation: Evaluation) -> None:
    usual = evaluation.replicator.protocol
    evaluation.replicator.protocol = replace(usual, captions=4, samples=3, caption_pairs=2)
    try:
        found = evaluation.run([PLAIN], replications=1, multimodality=2)
        again = evaluation.replicator.diversify(["real"], recorded("real", CPU), 0, lambda _: None)["real"]
    finally:
        evaluation.replicator.protocol = usual
    assert len(found.rows[1].multimodality) == 2 and not found.rows[0].multimodality
    assert found.rows[1].estimate("MModality", "evaluator").mean > 0.001
    assert again["evaluators"] == pytest.approx({"evaluator": 0.0, "second": 0.0}, abs=1e-5), "recorded motions are one"
    assert again["excluded"] == 0 and found.rows[1].excluded_multimodality == 0
    found.rows[1].multimodality[0]["excluded"] = 3
    assert "(1, 3 with NaN left out of MModality)" in markdown(found)


def test_tables_and_picture(results: Results, tmp_path: Path) -> None:
    text = markdown(results)
    assert text.index("| real (2)") < text.index("| unguided steps=2 (2)")
    assert "Evaluator: second" in text and "AITS" in text and "MModality" not in text
    assert latex(results).count(r"\\") == 2 * 3 * 4, "all clips, then the recorded ones"
    files = write_tables(tmp_path / "results.json", results)
    assert [path.suffix for path in files] == [".md", ".tex", ".png"]
    assert files[2].read_bytes().startswith(b"\x89PNG")


def test_differences_are_taken_replication_by_replication() -> None:
    def row(name: str, *values: float) -> Row:
        return Row(
            name, {}, [{"evaluators": {"evaluator": {"FID": value}}, "measures": {}, "excluded": 0} for value in values]
        )

    base, guided = row("unguided", 5.0, 9.0, 7.0), row("guided", 4.0, 8.0)
    assert guided.difference(base, "FID", "evaluator") == Estimate(-1.0, 0.0)  # though the rows' own intervals overlap
    assert guided.estimate("FID", "evaluator").interval > 1 and guided.difference(base, "R@1", "evaluator") is None
    results = Results({"evaluators": {"evaluator": ""}, "data": {"kind": None, "clips": 3, "split": "test"}, "seed": 0,
                       "precision": "fp32", "protocol": {"name": "guo"}}, [row("real", 0.0), base, guided])  # fmt: skip
    results.rows[0].setting = None
    assert "| guided | -1.000 ± 0.000 |" in markdown(results) and "Less unguided" in markdown(results)


def test_sampling_time_excludes_text_encoding() -> None:
    class Slow(HashingEncoder):
        def forward(self, texts: list[str]) -> TextFeatures:
            time.sleep(0.2)
            return super().forward(texts)

    generator, reward = (torch.nn.Module() for _ in range(2))
    generator.text_encoder, generator.device = CachedTextEncoder(Slow(8), memory_mb=0), torch.device("cpu")
    generator.text_encoder._disk = False
    reward.text_encoder = Slow(8)

    def sample(number: int) -> None:
        generator.text_encoder(["a caption", ""])
        reward.text_encoder(["a caption"])
        time.sleep(0.05)

    found = measure_speed(generator, ["a", "b", "c"], sample, reward)
    assert 0.05 <= found["p50_s"] <= found["p95_s"] < 0.2 <= found["text_p50_s"]


@pytest.mark.parametrize("count", [2, 3, 19, 20, 40])
@pytest.mark.parametrize("difference", [False, True])
def test_an_interval_is_the_papers_from_twenty_replications_on_and_students_below(count: int, difference: bool) -> None:
    values = np.random.default_rng(count).normal(3, 2, count)
    found = Estimate.of(values.tolist(), difference)
    if count >= 20 and not difference:
        expected, method = 1.96 * values.std() / count**0.5, "papers"
    else:
        low, high = scipy.stats.t.interval(0.95, count - 1, values.mean(), scipy.stats.sem(values))
        expected, method = (high - low) / 2, "student"
    assert (found.mean, found.interval) == (pytest.approx(values.mean()), pytest.approx(expected))
    assert found.method == method


def test_quantiles_of_student_are_exact() -> None:
    for freedom in (*range(1, 60), 199, 1000):
        assert student_quantile(freedom) == pytest.approx(scipy.stats.t.ppf(0.975, freedom), abs=1e-9)


def measured(count: int, many: int = 0, excluded: int = 0) -> Results:
    """Results of two settings after some replications; the second has FID 1 higher and R@1 0.25 higher."""
    about = {"evaluators": {"evaluator": ""}, "data": {"kind": None, "clips": 3, "split": "test"}, "seed": 0,
             "precision": "fp32", "protocol": {"name": "guo"}}  # fmt: skip
    results = Results(about)
    for name, above in (("real", -1), ("unguided", 0), ("guided", 1)):
        setting = None if name == "real" else asdict(Setting(name, guidance="none" if name == "unguided" else "reward"))
        row = results.row(name, setting)
        for number in range(count):
            measured = {"FID": 5 + above + 0.1 * number, "R@1": 0.5 + above / 4 + 0.01 * number}
            plain = {"foot_skating": 0.1, "reward": 0.2 + 0.01 * number}
            row.replications.append({"evaluators": {"evaluator": measured}, "measures": plain, "excluded": excluded})
        row.multimodality += [{"evaluators": {"evaluator": 1.0 + k}, "excluded": 0} for k in range(many)]
    return results


def test_one_replication_shows_no_interval_anywhere(tmp_path: Path) -> None:
    results = measured(1, many=1)
    files = [*write_tables(tmp_path / "r.json", results), *write_sweep(tmp_path / "s.csv", results)]
    results.save(tmp_path / "r.json")
    texts = {path.suffix: path.read_text() for path in (*files, tmp_path / "r.json") if path.suffix != ".png"}
    assert "| unguided (1) | 0.500 | 5.000 |" in texts[".md"] and "±" not in texts[".md"]
    assert "| guided | +0.250 | +1.000 |" in texts[".md"] and "interval" not in texts[".md"]
    assert "\\pm" not in texts[".tex"] and "unguided (1) & 0.500 & 5.000" in texts[".tex"]
    (line, *_) = list(csv.DictReader(texts[".csv"].splitlines()))
    assert line["FID"] == "4.0" and line["FID interval"] == line["interval method"] == ""
    kept = json.loads(texts[".json"])["rows"][1]["summary"]
    assert kept["evaluator/FID"] == {"mean": 5.0, "interval": None, "method": None}


def test_a_picture_draws_existing_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: (drawn.append(self), Path(path).touch()))
    for count, ends in ((1, 0), (2, 2)):
        draw(tmp_path / "r.png", measured(count))
        axes = drawn[-1].axes[0]
        assert len(axes.patches) == 2 and len([c for c in axes.containers if isinstance(c, ErrorbarContainer)]) == ends


def test_tables_state_their_kind_of_interval() -> None:
    papers, student = "papers' interval, 1.96 s/sqrt(n)", "Student's t"
    for count, many, told in (
        (20, 0, f"({papers})"),
        (5, 0, f"({student})"),
        (20, 3, f"{papers}, and below 20 {student}"),
    ):
        head = markdown(measured(count, many)).splitlines()[0]
        assert f"± half of a 95 % interval{':' if many else ''} {told}" in head
        assert ("(3 of MModality)" in head) == bool(many)
        assert told in latex(measured(count, many)).splitlines()[0]
    text = markdown(measured(20))
    title = next(line for line in text.splitlines() if "differences" in line)
    assert f"({student}; above 0 is better where ↑, worse where ↓, and neither where →)" in title
    assert "| guided | +0.250 ± 0.000 | +1.000 ± 0.000 |" in text and "gain" not in text


def test_results_of_the_first_version_are_read_and_continued(tmp_path: Path) -> None:
    results = measured(1)
    results.save(tmp_path / "r.json")
    content = json.loads((tmp_path / "r.json").read_text())
    for row in content["rows"]:
        row["summary"]["evaluator/FID"] = {"mean": 5.0, "interval": 0.0}
        if row["setting"] is not None:
            row["setting"]["cfg"] = row["setting"].pop("guidance_scale")
    old = {"name": "unguided cfg=3.0", "cfg": 3.0}
    content["rows"][1] |= {"name": old["name"], "setting": content["rows"][1]["setting"] | old}
    (tmp_path / "r.json").write_text(json.dumps(content))
    found = Results.load(tmp_path / "r.json")
    assert found.row("guided", results.rows[2].setting) is found.rows[2] and "±" not in markdown(found)
    setting = Setting(guidance_scale=3.0)
    assert found.row(setting.name, asdict(setting)) is found.rows[1]


def test_options_reach_the_settings_they_apply_to() -> None:
    parser = argparse.ArgumentParser()
    evaluate_command.add_parser(parser.add_subparsers())
    words = "evaluate --data x --guidance none reward best-of --strength 2 --candidates 3 --mu 0.5 --steps 4"
    found = evaluate_command.settings_of(parser.parse_args(words.split()))
    assert [each.name for each in found] == [
        "unguided steps=4", "reward mu=0.5 strength=2.0 steps=4", "best-of mu=0.5 candidates=3 steps=4",
    ]  # fmt: skip
    assert found[2].config == GuidanceConfig(method="best-of", mu=0.5, eta=1.0, candidates=3)
    own = yaml.safe_load((pretrained_folder("generator") / "guidance.yaml").read_text("utf-8"))
    own = {name: value for name, value in own.items() if name not in ("reward", "index", "known")}
    assert found[1].config == GuidanceConfig(**own | {"mu": 0.5, "strength": 2.0})


def test_clean_motions_are_rows_of_their_own() -> None:
    parser = argparse.ArgumentParser()
    evaluate_command.add_parser(parser.add_subparsers())

    def settings(words: str) -> list[Setting]:
        return evaluate_command.settings_of(parser.parse_args(f"evaluate --data x --steps 4 {words}".split()))

    found = settings("--guidance none reward --clean")
    assert [each.clean for each in found] == [False, False, True, True]
    assert [each.name for each in found[2:]] == [f"{each.name} clean" for each in found[:2]]
    assert found[2] == settings("--setting guidance=none --setting clean=true")[1]
    assert found[2].told() == found[0].told() | {"name": "unguided steps=4 clean", "clean": True}
    assert "clean" not in found[0].told()  # results of earlier versions go on


def test_the_clean_row_measures_the_clean_motions_of_the_same_noise(shelf: Path) -> None:
    evaluation = evaluate(shelf, ["evaluator"], reward=False)
    raw, clean = (SettingSampler(each, evaluation.generator) for each in (PLAIN, PLAIN.cleaned()))
    batch = next(evaluation.clips.batches(evaluation.clips.places[:3], 0, 3))
    seeds = torch.tensor([1, 2, 3])
    with torch.no_grad():
        said, found = raw(batch, seeds), clean(batch, seeds)
    for row, frames in enumerate(batch.lengths.tolist()):
        expected = clean_features(said[row, :frames])
        torch.testing.assert_close(found[row, :frames], expected)
        assert (found[row, :frames] - said[row, :frames]).abs().max() > 1e-3
        torch.testing.assert_close(found[row, frames:], said[row, frames:])


def test_raw_and_clean_rows_are_sampled_once(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = evaluate(shelf, ["evaluator"], reward=False)
    evaluation.replicator.protocol = replace(evaluation.protocol, captions=4, samples=3, caption_pairs=2)
    alone = [evaluation.run([each], replications=1, multimodality=1).rows[1] for each in (PLAIN, PLAIN.cleaned())]
    sampled: list[str] = []
    sample = evaluation.generator.sample
    monkeypatch.setattr(
        evaluation.generator, "sample", lambda captions, *rest, **more: (
            sampled.extend(captions), sample(captions, *rest, **more))[1],
    )  # fmt: skip
    file = tmp_path / "results.json"
    evaluation.run([PLAIN], replications=1, output=file)
    assert len(sampled) == 36
    told: list[tuple[int, int]] = []
    evaluation.run(
        [PLAIN, PLAIN.cleaned(), replace(PLAIN, name="again")], replications=1, multimodality=1, output=file,
        watch=lambda _, *numbers: told.append(numbers),
    )  # fmt: skip
    assert len(sampled) == 36 + 36 + 12, "once for the rows that were not measured, and once for MModality of all"
    assert told[-1] == (36 * 2 + 12 * 3,) * 2
    _, raw, clean, again = Results.load(file).rows
    for row, expected in ((raw, alone[0]), (clean, alone[1]), (again, alone[0])):
        for kept in ("replications", "multimodality"):
            pairs = zip(getattr(row, kept), getattr(expected, kept), strict=True)
            assert all({**each, "seconds": 0} == {**other, "seconds": 0} for each, other in pairs)


def test_settings_are_read_from_strings() -> None:
    words, scale = "guidance=reward strength=2 steps=20 through_decoder=true update=additive", {"guidance_scale": 3.0}
    made = Setting.parse(words, scale)
    assert made.config == GuidanceConfig(strength=2.0, through_decoder=True, update="additive")
    assert made.steps == 20 and made.guidance_scale == 3
    assert Setting.parse("strength=1e3 eta=5e-05").config.strength == 1000
    assert Setting().name == "unguided" and "strength=2.0" in made.name
    for words, match in {
        "depth=3": "not understood", "steps=2.5": "whole number", "guidance=magic": "magic",
        "guidance_scale=nan": "guidance_scale=nan is not a finite number",
        "guidance=reward strength=inf": "strength=inf is not a finite",
        "strength=-2": "strength=-2.0 is too small", "through_decoder=maybe": "true or false",
        "clean=perhaps": "clean=perhaps does not fit; give true or false",
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=match):
            Setting.parse(words)


def test_the_old_name_of_the_scale_works_with_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    new = Setting(guidance_scale=2.5)
    for old in (lambda: Setting(cfg=2.5), lambda: Setting.parse("cfg=2.5"), lambda: Setting.parse("", {"cfg": 2.5})):
        with pytest.warns(Renamed, match="cfg=? is now called guidance_scale"):
            assert old() == new
    with pytest.warns(Renamed):
        assert new.cfg == 2.5
    assert replace(new, name="", steps=3) == Setting(steps=3, guidance_scale=2.5)
    for command in (["evaluate", "--data", "nowhere"], ["generate", "walk", "--checkpoint", "nowhere"]):
        assert main([*command, "--cfg", "2", "--device", "cpu"]) == 2
        told = capsys.readouterr().err.splitlines()
        assert "note: --cfg is now called --guidance-scale" in told[0] and len(told) == 2 and "nowhere" in told[1]
        assert main([*command, "--guidance-scale", "2", "--device", "cpu"]) == 2
        assert "note" not in capsys.readouterr().err


def test_the_old_name_of_the_number_of_timed_captions_works_with_a_note(evaluation: Evaluation) -> None:
    with (
        pytest.warns(Renamed, match="sentences is now called time_captions"),
        pytest.raises(InputError, match="-1 cap"),
    ):
        evaluation.run([PLAIN], sentences=-1)


def test_methods_of_guidance_have_the_same_names_everywhere() -> None:
    assert get_args(Word) == ("default", "none", "reward", "best-of")
    assert Setting(guidance=None) == Setting(guidance="none") == Setting()
    for other in ("None", "nothing", "", "Reward", True, False, 0, ["none"]):
        for refused in (
            lambda method=other: Setting(guidance=method),
            lambda method=other: Setting.parse("", {"guidance": method}),
        ):
            with pytest.raises(InputError, match="choose one of default, none, reward, best-of"):
                refused()


OWN = "{reward: mine, index: found, mu: 2, eta: 0.5, options: {strength: 7, start: 0, stop: 0.6, norm: normalize}}"


@pytest.fixture(scope="module")
def guided_shelf(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator with a default guidance, beside the reward and the index that it names."""
    folder = tmp_path_factory.mktemp("guided")
    shutil.copytree(shelf / "generator", folder / "generator")
    shutil.copytree(shelf / "reward", folder / "mine")
    (folder / "generator/guidance.yaml").write_text(OWN, encoding="utf-8")
    task = load_task(folder / "mine")
    items = [MotionItem("walk"), MotionItem("run")]
    vectors = task.embed_captions(["walk", "run"])
    MotionIndex.build(vectors, items, fingerprint=task.fingerprint).save(folder / "found")
    return folder


def test_the_default_guidance_is_measured_beside_unguided(shelf: Path, guided_shelf: Path, tmp_path: Path) -> None:
    words = ["evaluate", "--data", str(shelf / "data"), "--evaluator", str(shelf / "evaluator"), "--device", "cpu",
             "--replications", "1", "--limit", "32"]  # fmt: skip
    runs = {"own": guided_shelf / "generator", "none": shelf / "generator"}
    for name, generator in runs.items():
        assert main([*words, "--generator", str(generator), "-o", str(tmp_path / f"{name}.json")]) == 0
    own, none = (Results.load(tmp_path / f"{name}.json") for name in runs)
    assert [row.name for row in own.rows] == ["real", "unguided", "reward"]
    assert [row.name for row in none.rows] == ["real", "unguided"]
    told = own.rows[2].setting
    assert (told["mu"], told["eta"], told["strength"], told["stop"]) == (2, 0.5, 7, 0.6)
    evaluation = load_evaluation(
        shelf / "data", generator=guided_shelf / "generator", evaluators=[shelf / "evaluator"], limit=32
    )
    file = tmp_path / "own.json"
    assert evaluation.run(replications=1, output=file, watch=lambda *_: pytest.fail("the same rows")).rows == own.rows
    by_word = [Setting("a", guidance="default"), Setting(guidance="default", steps=3)]
    resolved = [each.resolved(evaluation.default) for each in by_word]
    assert replace(resolved[0], name="reward") == default_settings(evaluation.default)[1]
    assert resolved[1] == Setting("reward steps=3", guidance=evaluation.default, steps=3)
    found = evaluation.run(by_word[:1], replications=1)
    assert found.rows[1].replications[0]["evaluators"] == own.rows[2].replications[0]["evaluators"]
    assert default_settings(None) == [Setting()] and Setting(guidance="default").resolved(None) == Setting()


def test_an_evaluator_may_be_a_path(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = Path("runs/x")
    runs.mkdir(parents=True)
    places = [runs / "epoch=3-step=200.ckpt", Path("epoch=3-step=200.ckpt"), Path("a=b")]
    for place in places:
        shutil.copytree(shelf / "evaluator", place)
        assert named_path(str(place)) == (None, place)
    assert named_path("runs/y/epoch=1.ckpt") == (None, Path("runs/y/epoch=1.ckpt")), "a folder is not a name"
    assert named_path(f"my-evaluator={places[0]}") == ("my-evaluator", places[0])
    named = [str(places[0]), f"second={places[1]}"]
    evaluation = load_evaluation("data" if Path("data").exists() else shelf / "data", generator=shelf / "generator",
                                 evaluators=named, limit=32)  # fmt: skip
    assert evaluation.replicator.evaluators == ["epoch=3-step=200", "second"]


def test_a_generator_is_guided_by_its_own_reward_by_default(shelf: Path, tmp_path: Path) -> None:
    shutil.copytree(shelf / "generator", tmp_path / "generator")
    shutil.copytree(shelf / "reward", tmp_path / "mine")
    (tmp_path / "generator/guidance.yaml").write_text("{reward: mine, index: found}", encoding="utf-8")
    task = load_task(tmp_path / "mine")
    vectors = task.embed_captions(["walk"])
    MotionIndex.build(vectors, [MotionItem("walk")], fingerprint=task.fingerprint).save(tmp_path / "found")
    parts = {"generator": tmp_path / "generator", "evaluators": [str(shelf / "evaluator")]}
    guided = load_evaluation(shelf / "data", **parts, guided=True)
    assert guided.reward.fingerprint == task.fingerprint and guided.index is None
    assert len(load_evaluation(shelf / "data", **parts, guided=True, anchored=True).index) == 1
    assert load_evaluation(shelf / "data", **parts, guided=False).reward is None
    assert load_evaluation(shelf / "data", **parts).reward.fingerprint == task.fingerprint, "which run() measures"


def test_guidance_is_measured_as_the_generator_uses_it(shelf: Path, tmp_path: Path) -> None:
    shutil.copytree(shelf / "generator", tmp_path / "generator")
    own = "{eta: 0.5, anchors: 3, options: {strength: 7, start: 0, stop: 0.6, profile: noise}}"
    (tmp_path / "generator/guidance.yaml").write_text(own, encoding="utf-8")
    parser = argparse.ArgumentParser()
    evaluate_command.add_parser(parser.add_subparsers())

    def settings(*words: str) -> list[Setting]:
        common = ["evaluate", "--data", "x", "--generator", str(tmp_path / "generator")]
        return evaluate_command.settings_of(parser.parse_args([*common, *words]))

    plain, guided, best = settings("--guidance", "none", "reward", "best-of")
    assert plain == Setting()
    expected = GuidanceConfig(eta=0.5, anchors=3, strength=7.0, start=0.0, stop=0.6, profile="noise")
    assert guided.config == expected and best.config == GuidanceConfig(method="best-of", eta=0.5, anchors=3)
    assert (guided.name, best.name) == ("reward", "best-of")
    (other,) = settings("--eta", "0.25", "--setting", "guidance=reward strength=9 mu=0")
    assert other.config == replace(expected, mu=0.0, eta=0.25, strength=9.0)
    own, text = settings("--setting", "guidance=reward", "--setting", "guidance=reward eta=0 steps=5")
    assert (own.name, text.name, text.config.eta) == ("reward", "reward eta=0.0 steps=5", 0)
    (foreign,) = settings("--guidance", "reward", "--reward", "elsewhere")
    assert replace(foreign, name="") == replace(guided, name="")


def test_rows_of_another_index_are_not_continued(shelf: Path, tmp_path: Path) -> None:
    task = load_task(shelf / "reward")
    vectors = task.embed_captions(["walk", "run"])
    parts = {"generator": shelf / "generator", "evaluators": [str(shelf / "evaluator")], "reward": shelf / "reward"}
    guided = Setting.parse("name=g guidance=reward eta=1 steps=2")
    for count in (1, 2):
        items = [MotionItem(str(k)) for k in range(count)]
        MotionIndex.build(vectors[:count], items, fingerprint=task.fingerprint).save(tmp_path / str(count))
        evaluation = load_evaluation(shelf / "data", **parts, index=tmp_path / str(count), limit=32)
        with pytest.raises(InputError, match="other settings under 'g'") if count == 2 else nullcontext():
            evaluation.run([guided], replications=1, output=tmp_path / "r.json")


def test_shipped_weights_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = model_path("reward")
    assert shipped == pretrained_folder("reward") and shipped.is_absolute()
    assert model_path("runs/reward") == Path("runs/reward") and model_path("unknown") == Path("unknown")
    assert model_path(Path("reward")) == shipped and model_path("./reward") == Path("reward") != shipped
    named = TextToMotion.from_pretrained("generator_features", "cpu", "retriever", "index")
    assert named.default is not None and named.guide.paths == (model_path("retriever"), model_path("index"))
    assert named.load_guidance("best-of", reward="retriever", index="index").objective.index is named.guide.index
    search = MotionSearch.from_pretrained("reward_index", "reward", device="cpu")
    assert search.embedder.fingerprint == load_task("reward").fingerprint
    assert MotionIndex.load("reward_index").digest == search.library.motions.digest
    assert load_evaluator("evaluator").skeleton == "humanml3d"
    assert named_path("mine=evaluator") == ("mine", pretrained_folder("evaluator"))
    Path("reward").mkdir()
    assert model_path("reward") == Path("reward"), "what is there wins"


def test_bad_input_is_one_sentence(shelf: Path, evaluation: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="20 clips do not fill one batch of 32"):
        evaluate(shelf, ["evaluator"], limit=20)
    with pytest.raises(InputError, match="shares weights with the reward"):
        evaluate(shelf, ["reward"])
    save_pretrained(load_task(shelf / "reward"), tmp_path / "half", half=True)
    with pytest.raises(InputError, match="called 'reward'"):
        Evaluation(
            load_task(shelf / "generator", GeneratorTask),
            evaluation.clips,
            {"reward": load_evaluator(shelf / "evaluator")},
        )
    with pytest.raises(InputError, match="half shares weights with the reward"):
        evaluate(shelf, [str(tmp_path / "half")])
    with pytest.raises(InputError, match="holds a generator, but an evaluator"):
        evaluate(shelf, ["generator"])
    with pytest.raises(InputError, match="protocol 'gou' is unknown"):
        evaluate(shelf, ["evaluator"], protocol="gou")
    with pytest.raises(InputError, match="called 'evaluator'"):
        evaluate(shelf, ["evaluator", "evaluator"])
    with pytest.raises(InputError, match="has no name"):
        load_evaluation(shelf / "data", generator=shelf / "generator", evaluators=[f"={shelf / 'evaluator'}"])
    with pytest.raises(InputError, match="there already"):
        evaluation.run([PLAIN, PLAIN])
    with pytest.raises(InputError, match="0 replications cannot be made; ask for at least 1"):
        evaluation.run([PLAIN], replications=0)
    with pytest.raises(InputError, match="-1 replications of MModality cannot"):
        evaluation.run([PLAIN], multimodality=-1)
    with pytest.raises(InputError, match="needs a reward"):
        evaluate(shelf, ["evaluator"], reward=False).run([GUIDED])
    clips = EvaluationClips(shelf / "data")
    generator = load_task(shelf / "generator", GeneratorTask)
    for spoil, match in (
        (lambda evaluator: evaluator.normalizer.fitted.fill_(False), "odd has no statistics"),
        (lambda evaluator: setattr(evaluator, "_skeleton", "kit"), "odd reads the skeleton 'kit'"),
        (
            lambda evaluator: setattr(evaluator.normalizer, "mean", torch.zeros(251)),
            "odd reads motions of 251 features",
        ),
        (lambda evaluator: evaluator.normalizer.mean.fill_(torch.nan), "odd makes NaN of captions or recorded motions"),
        (
            lambda evaluator: next(evaluator.parameters()).fill_(torch.nan),
            "odd makes NaN of captions or recorded motions",
        ),
    ):
        evaluator = load_evaluator(shelf / "evaluator")
        spoil(evaluator)
        with pytest.raises(InputError, match=match):
            Evaluation(generator, clips, {"odd": evaluator})


def test_the_command_writes_continues_and_refuses(shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["evaluate", "--generator", str(shelf / "generator"), "--data", str(shelf / "data"), "--device", "cpu"]
    words += ["--evaluator", f"own={shelf / 'evaluator'}", "--reward", str(shelf / "reward"), "--replications", "1"]
    words += ["--steps", "2", "-o", str(tmp_path / "r.json")]
    assert main([*words, "--guidance", "none", "reward", "--strength", "3"]) == 0
    assert "Evaluator: own" in capsys.readouterr().out
    assert main([*words, "--guidance", "none", "--setting", "name=four guidance=best-of candidates=2"]) == 0
    rows = Results.load(tmp_path / "r.json").rows
    assert rows[3].estimate("reward").mean > rows[1].estimate("reward").mean, "the better of two by the reward"
    assert [row.name for row in rows] == ["real", "unguided steps=2", "reward strength=3.0 steps=2", "four"]
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md", ".tex", ".png"}
    assert main([*words, "--eta", "1"]) == 2 and "--eta has no effect" in capsys.readouterr().err
    assert main([*words, "--guidance", "reward", "--candidates", "2"]) == 2
    assert "--candidates has no effect with --guidance reward" in capsys.readouterr().err
    assert main([*words, "--guidance", "reward", "--eta", "1"]) == 2 and "index" in capsys.readouterr().err
    assert main([*words[:-1], str(tmp_path / "r.csv")]) == 2 and ".json" in capsys.readouterr().err


def test_two_processes_give_the_results_of_one(shelf: Path, tmp_path: Path) -> None:
    words = ["evaluate", "--generator", str(shelf / "generator"), "--data", str(shelf / "data"), "--device", "cpu"]
    words += ["--evaluator", str(shelf / "evaluator"), "--replications", "1", "--steps", "2", "--batch-size", "16"]
    for devices in (1, 2):
        assert main([*words, "--devices", str(devices), "-o", str(tmp_path / f"{devices}.json")]) == 0
    done = torchrun(2, ["realign.cli", *words, "-o", str(tmp_path / "joined.json")])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Protocol guo") == done.stdout.count("joined.json") == 1  # the first process alone prints
    one, *others = (Results.load(tmp_path / f"{name}.json") for name in ("1", "2", "joined"))
    for other in others:  # bit for bit, except times
        for row, parallel in zip(one.rows, other.rows, strict=True):
            assert row.replications[0] | {"seconds": 0} == parallel.replications[0] | {"seconds": 0}


def test_errors_of_a_process_are_one_sentence() -> None:
    with pytest.raises(InputError, match="^too few clips$"):
        launch(refuse, 2, torch.device("cpu"), "too few clips")
    with pytest.raises(InputError, match=r"no file or folder .*nowhere"):
        launch(open_file, 2, torch.device("cpu"), "/nowhere/at/all")
    with pytest.raises(InputError, match="999 devices"):
        launch(refuse, 999, torch.device("cpu"), "never asked")
