"""The published files: imported exactly, and refused with one sentence if they are faulty."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from guo_parts import WORDS, published_weights, write_official

from realign.checkpoint.official.guo import read_plain
from realign.checkpoint.official.importing import import_official
from realign.cli import main
from realign.data import MotionDataModule
from realign.errors import InputError
from realign.metrics.generation import euclidean_distances
from realign.tasks import EvaluatorTask, load_task


@pytest.mark.parametrize(("channels", "skeleton"), [(259, "humanml3d"), (247, "kit")])
def test_imported_files_load(tmp_path: Path, channels: int, skeleton: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder, glove = write_official(tmp_path, channels)
    assert main(["import", "guo", str(folder), "--glove", str(glove), "-o", str(tmp_path / "out")]) == 0
    assert f"evaluator of {skeleton}, {channels + 4} features" in capsys.readouterr().out
    task = load_task(tmp_path / "out", EvaluatorTask)
    assert task.skeleton == skeleton and not task.training
    for part, weights in published_weights(channels).items():
        state = getattr(task.evaluator, part).state_dict()
        assert state.keys() == weights.keys() and all(torch.equal(state[name], weights[name]) for name in weights)
    (meta,) = folder.glob("Comp_v6_*/meta")
    assert np.array_equal(task.normalizer.mean.numpy(), np.load(meta / "mean.npy"))
    vectors, rows = np.load(glove / "our_vab_data.npy"), pickle.loads((glove / "our_vab_idx.pkl").read_bytes())
    found = task.evaluator.words([[*WORDS, "nothing"]])[0][0].detach().numpy()
    expected = [vectors[rows[word]] for word in (*WORDS, "unk")]
    np.testing.assert_allclose(found, np.float32(expected))
    task.take_tokens({"a man walks": "a/DET man/NOUN walk/VERB"})
    assert task.embed_captions(["a man walks"]).shape == (1, 512)
    assert task.embed_motions(torch.randn(2, 50, channels + 4), torch.tensor([50, 44])).shape == (2, 512)


class Harm:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple:
        return Path.touch, (self.place,)


def harm_weights(folder: Path, glove: Path) -> None:
    torch.save({"movement_encoder": Harm(folder / "harm")}, folder / "text_mot_match/model/finest.tar")


def harm_words(folder: Path, glove: Path) -> None:
    (glove / "our_vab_words.pkl").write_bytes(pickle.dumps([Harm(folder / "harm")]))


def without(name: str):
    def change(folder: Path, glove: Path) -> None:
        next(folder.parent.rglob(name)).unlink()

    return change


def save_weights(change):
    def apply(folder: Path, glove: Path) -> None:
        weights = published_weights()
        change(weights)
        torch.save(weights, folder / "text_mot_match/model/finest.tar")

    return apply


def rename(weights: dict) -> None:
    weights["motion_encoder"]["gru.other"] = weights["motion_encoder"].pop("gru.bias_ih_l0")


def reshape(weights: dict) -> None:
    weights["text_encoder"]["pos_emb.weight"] = torch.zeros(300, 14)


def of_another_skeleton(weights: dict) -> None:
    weights["movement_encoder"]["main.0.weight"] = torch.zeros(512, 100, 4)


def drop_part(weights: dict) -> None:
    del weights["text_encoder"]


def empty_part(weights: dict) -> None:
    weights["text_encoder"] = 3


def cut(name: str):
    def change(folder: Path, glove: Path) -> None:
        path = next(folder.parent.rglob(name))
        path.write_bytes(path.read_bytes()[:-20])

    return change


def save_array(name: str, array: np.ndarray):
    def change(folder: Path, glove: Path) -> None:
        np.save(next(folder.parent.rglob(name)), array)

    return change


def save_index(rows: object):
    def change(folder: Path, glove: Path) -> None:
        (glove / "our_vab_idx.pkl").write_bytes(pickle.dumps(rows))

    return change


WRONG = {
    "weights that run code": (harm_weights, "never executed"),
    "words that run code": (harm_words, "pickled code is never executed"),
    "no weights": (without("finest.tar"), r"There is no .*finest\.tar"),
    "no statistics": (without("std.npy"), "evaluator's own statistics"),
    "no word vectors": (without("our_vab_idx.pkl"), "the word vectors"),
    "renamed": (
        save_weights(rename),
        r"lacks motion_encoder\.gru\.bias_ih_l0 and it holds motion_encoder\.gru\.other too",
    ),
    "reshaped": (save_weights(reshape), r"text_encoder\.pos_emb\.weight has another shape"),
    "another skeleton": (
        save_weights(of_another_skeleton),
        "makes 104 features per frame, but .*have 263",
    ),
    "a part missing": (save_weights(drop_part), "it lacks text_encoder"),
    "a part empty": (save_weights(empty_part), "it lacks text_encoder"),
    "weights cut": (cut("finest.tar"), "damaged or cut short"),
    "words cut": (cut("our_vab_words.pkl"), "damaged or not a pickle"),
    "vectors cut": (cut("our_vab_data.npy"), "cut short"),
    "statistics of another width": (save_array("mean.npy", np.zeros(251)), r"shape \(251,\), but 263"),
    "statistics with NaN": (save_array("mean.npy", np.full(263, np.nan)), "263 finite"),
    "deviations of zero": (save_array("std.npy", np.zeros(263)), "not above 0"),
    "vectors of another width": (save_array("our_vab_data.npy", np.zeros((10, 50))), r"\(10, 50\), but vectors of 300"),
    "rows beyond the vectors": (save_index({word: i + 5 for i, word in enumerate(WORDS)}), "do not belong together"),
    "no vector for unknown words": (save_index({"sos": 0}), "do not belong together"),
    "no index": (save_index([1, 2]), "must hold a list of words"),
}


@pytest.mark.parametrize("name", WRONG)
def test_faults_are_reported_in_one_sentence(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    change, message = WRONG[name]
    folder, glove = write_official(tmp_path)
    change(folder, glove)
    with pytest.raises(InputError, match=message):
        import_official("guo", folder, tmp_path / "out", glove=glove)
    assert not (tmp_path / "out").exists() and not (folder / "harm").exists()
    assert main(["import", "guo", str(folder), "--glove", str(glove), "-o", str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_old_name_of_the_command_works_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, glove = write_official(tmp_path)
    assert main(["adopt", str(folder), "--glove", str(glove), "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("realign: note: realign adopt is now called realign import;")
    assert "note: realign import FOLDER is now called realign import guo FOLDER;" in printed.err
    assert load_task(tmp_path / "out", EvaluatorTask).skeleton == "humanml3d" and "evaluator of" in printed.out


def test_plain_pickles_of_every_protocol_are_read(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, "x", None, (True,)]}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol))
        assert read_plain(tmp_path / "x.pkl") == content


PUBLISHED = {"humanml3d": ([0.511, 0.703, 0.797], 2.974, 9.503), "kit": ([0.427, 0.654, 0.783], 2.778, 10.98)}


@pytest.mark.parametrize(("skeleton", "folder"), [("humanml3d", "t2m"), ("kit", "kit")])
def test_recorded_test_motions_get_the_published_figures(tmp_path: Path, skeleton: str, folder: str) -> None:
    """R-precision, matching distance and diversity of real motions (Guo et al., CVPR 2022, tables 1 and 2)."""
    root = Path(os.environ.get("REALIGN_GUO", "nowhere"))
    if not (root / folder).is_dir() or not (root / "prepared" / skeleton).is_dir():
        pytest.skip(f"set REALIGN_GUO to a folder with {folder}, glove and prepared/{skeleton}, see docs/evaluators.md")
    import_official("guo", root / folder, tmp_path / "out", glove=root / "glove")
    task = load_task(tmp_path / "out", EvaluatorTask)
    data = MotionDataModule(str(root / "prepared" / skeleton), mirror=False)
    task.take_tokens(data.caption_tokens("test"))
    dataset = data.dataset("test", augment=True)
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))[: len(dataset) // 32 * 32]
    hits, matched, motions = torch.zeros(3), [], []
    for rows in order.view(-1, 32).tolist():
        batch = dataset.__getitems__([(row, row) for row in rows])
        text, motion = task.embed_captions(batch.captions), task.embed_motions(batch.motion, batch.lengths)
        distances = euclidean_distances(text, motion)
        rank = (distances < distances.diagonal()[:, None]).sum(1)
        hits += torch.stack([(rank < k).sum() for k in (1, 2, 3)])
        matched.append(distances.diagonal())
        motions.append(motion)
    precision, distance, spread = PUBLISHED[skeleton]
    assert (hits / len(order)).tolist() == pytest.approx(precision, abs=0.015)
    assert float(torch.cat(matched).mean()) == pytest.approx(distance, abs=0.05)
    embedded = torch.cat(motions)
    picked = torch.randperm(len(embedded), generator=torch.Generator().manual_seed(1))[:600].view(2, 300)
    assert float((embedded[picked[0]] - embedded[picked[1]]).norm(dim=1).mean()) == pytest.approx(spread, abs=0.3)
