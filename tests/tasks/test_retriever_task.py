import shutil
from pathlib import Path

import pytest
import torch
from task_parts import CONV_VAE, TinyData, command, one_batch, reward

from realign.errors import InputError
from realign.nn import FeatureSpace, TransformerReward
from realign.tasks import RetrieverTask, load_task
from realign.text.hashing import HashingEncoder
from realign.training import TrainingCLI

PROTOCOLS = ("all", "threshold", "dissimilar")


def build(**options: object) -> RetrieverTask:
    torch.manual_seed(0)
    model = TransformerReward(263, 8, 16, 16, 3, 2, 32, dropout=0.0, decoder_layers=1, patch=4, step_aware=False)
    task = RetrieverTask(model, FeatureSpace(), HashingEncoder(8), skeleton="humanml3d", **options)  # type: ignore[arg-type]
    task.normalizer.fit(*TinyData().statistics)
    return task


@pytest.fixture(scope="module")
def reward_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward")
    TrainingCLI.from_args(["fit", *command(folder, reward(), max_epochs=1)], run=True)
    return next(folder.rglob("*.ckpt"))


def test_training_from_scratch_sees_no_noise_and_the_test_gives_all_protocols(tmp_path: Path) -> None:
    data = {"count": 40, "batch_size": 20}
    model = reward("RetrieverTask", hard_negative_weight=0.1)
    cli = TrainingCLI.from_args(["fit", *command(tmp_path, model, data)], run=True)
    metrics = cli.trainer.callback_metrics
    assert {"train/hard_negative", "val/contrastive", "val/r1_clean"} <= metrics.keys()
    assert not any(name.startswith("val/r1_t") for name in metrics)
    checkpoint = next(tmp_path.rglob("*.ckpt"))
    (found,) = cli.trainer.test(cli.model, cli.datamodule, verbose=False, ckpt_path=checkpoint)
    expected = {
        f"test/{protocol}/{direction}/{name}"
        for protocol in (*PROTOCOLS, "small_batches")
        for direction in ("t2m", "m2t")
        for name in ("R@1", "R@2", "R@3", "R@5", "R@10", "MedR")
    }
    assert found.keys() == expected
    batch = one_batch(40)
    cli.model.eval()
    with torch.no_grad():
        scores = cli.model.embed_captions(batch.captions) @ cli.model.embed_motions(batch.motion, batch.lengths).T
    same = torch.tensor([[one == other for other in batch.captions] for one in batch.captions])

    def first(positives: torch.Tensor) -> float:
        best = scores.masked_fill(~positives, -2).amax(1, keepdim=True)
        right = ((scores > best + 1e-6).sum(1) + ((scores - best).abs() <= 1e-6).sum(1) / 2 - 0.5) < 1
        return float(right.float().mean())

    strict = first(torch.eye(len(same), dtype=torch.bool))
    assert found["test/all/t2m/R@1"] == pytest.approx(strict) and strict < first(same), "by TMR's protocol"
    cli.model.protocols.identical = True
    (found,) = cli.trainer.test(cli.model, cli.datamodule, verbose=False, ckpt_path=checkpoint)
    assert found["test/all/t2m/R@1"] == pytest.approx(first(same)), "where it is asked for"


def test_training_starts_from_a_reward_that_is_needed_only_once(tmp_path: Path, reward_checkpoint: Path) -> None:
    start = load_task(reward_checkpoint)
    model = reward("RetrieverTask", checkpoint=str(reward_checkpoint))
    cli = TrainingCLI.from_args(["test", *command(tmp_path / "test", model)], run=True)
    assert cli.model.fingerprint == start.fingerprint  # type: ignore[attr-defined]
    cli = TrainingCLI.from_args(["fit", *command(tmp_path / "fit", model)], run=True)
    trained = cli.model.fingerprint
    assert trained != start.fingerprint  # type: ignore[attr-defined]
    cli.trainer.test(cli.model, cli.datamodule, verbose=False)
    assert cli.model.fingerprint == trained
    loaded = load_task(next((tmp_path / "fit").rglob("*.ckpt")), RetrieverTask)
    assert loaded.checkpoint is None and loaded.fingerprint == trained


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_loaded_weights_are_not_replaced_by_the_start(tmp_path: Path, reward_checkpoint: Path) -> None:
    """With weights from elsewhere, a missing start does not matter and an existing one is not used."""
    model = reward("RetrieverTask", checkpoint=str(reward_checkpoint))
    cli = TrainingCLI.from_args(["fit", *command(tmp_path / "fit", model)], run=True)
    trained, checkpoint = cli.model.fingerprint, next((tmp_path / "fit").rglob("*.ckpt"))
    gone = reward("RetrieverTask", checkpoint=str(tmp_path / "gone.ckpt"))
    tested = TrainingCLI.from_args(["test", *command(tmp_path / "a", gone), "--ckpt_path", str(checkpoint)], run=True)
    assert tested.model.fingerprint == trained
    again = TrainingCLI.from_args(
        ["fit", *command(tmp_path / "b", gone, max_epochs=2), "--ckpt_path", str(checkpoint)], run=True
    )
    assert again.model.fingerprint != trained
    assert load_task(next((tmp_path / "b").rglob("*.ckpt")), RetrieverTask).checkpoint is None
    own = TrainingCLI.from_args(command(tmp_path / "c", model), run=False)
    own.model.load_state_dict(tested.model.state_dict())
    own.trainer.test(own.model, own.datamodule, verbose=False)
    assert own.model.fingerprint == trained
    partly = TrainingCLI.from_args(command(tmp_path / "e", model), run=False)
    partly.model.load_state_dict(partly.model.normalizer.state_dict(prefix="normalizer."), strict=False)
    partly.trainer.test(partly.model, partly.datamodule, verbose=False)
    assert partly.model.fingerprint == load_task(reward_checkpoint).fingerprint
    late = TrainingCLI.from_args(command(tmp_path / "f", gone), run=False)
    with pytest.raises(InputError, match="no checkpoint at"):
        late.trainer.fit(late.model, late.datamodule)
    shutil.copy(reward_checkpoint, tmp_path / "gone.ckpt")
    late.trainer.fit(late.model, late.datamodule)
    (tmp_path / "gone.ckpt").unlink()
    for stage in ("fit", "validate", "test"):
        with pytest.raises(InputError, match=r"no checkpoint at .*gone\.ckpt"):
            TrainingCLI.from_args([stage, *command(tmp_path / "d", gone)], run=True)


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_options_override_those_of_a_checkpoint(tmp_path: Path, reward_checkpoint: Path) -> None:
    cli = TrainingCLI.from_args(["fit", *command(tmp_path / "fit", reward("RetrieverTask"))], run=True)
    path = str(next((tmp_path / "fit").rglob("*.ckpt")))
    words = [*command(tmp_path / "test", reward("RetrieverTask")), "--ckpt_path", path]
    changed = TrainingCLI.from_args(["test", *words, "--model.identical=true", "--model.temperature=0.3"], run=True)
    assert changed.model.protocols.identical and not cli.model.protocols.identical
    assert changed.model.temperature == 0.3 and changed.model.fingerprint == cli.model.fingerprint
    other = command(tmp_path / "other", reward("RetrieverTask", model={"hidden": 32}))
    with pytest.raises(InputError, match="does not fit the configured RetrieverTask: .* weights differ, such as model"):
        TrainingCLI.from_args(["test", *other, "--ckpt_path", path], run=True)


@pytest.mark.parametrize(
    "changed",
    [
        {"model": {"hidden": 32}},
        {"space": {"class_path": "LatentSpace", "init_args": {"vae": CONV_VAE, "checkpoint": None}}},
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(
    tmp_path: Path, reward_checkpoint: Path, changed: dict
) -> None:
    model = reward("RetrieverTask", checkpoint=str(reward_checkpoint), **changed)
    with pytest.raises(InputError, match="options that the checkpoint was trained with"):
        TrainingCLI.from_args(["fit", *command(tmp_path, model)], run=True)


def test_hard_negatives_add_their_weighted_term() -> None:
    batch = one_batch(8)
    plain, refined = build().losses(batch, "val"), build(hard_negative_weight=0.5).losses(batch, "val")
    assert refined.keys() - plain.keys() == {"hard_negative"}
    assert torch.allclose(refined["loss"], plain["loss"] + 0.5 * refined["hard_negative"])


def test_a_listed_subset_is_ranked_alone_and_a_missing_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "subset.txt").write_text("0\n3\n5\n")
    assert build(subset=str(tmp_path / "subset.txt")).protocols.subset == ["0", "3", "5"]
    with pytest.raises(InputError, match=r"nowhere\.txt"):
        build(subset=str(tmp_path / "nowhere.txt"))
    with pytest.raises(InputError, match="hard_negatives=0"):
        build(hard_negatives=0)
