import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from lightning import Callback, Trainer, seed_everything
from steer_parts import generator
from task_parts import CAPTIONS, TinyData, command, feature_generator
from two_parts import free_port, run_two

from realign.callbacks import RewardGuidedSampling, SampleWriter
from realign.errors import InputError, Renamed
from realign.guidance.config import USUAL, GuidanceConfig
from realign.masking import lengths_to_mask
from realign.tasks import load_task
from realign.training import TrainingCLI

MEASURES = {
    "reward", "reward_text", "r1_by_reward", "mm_dist_by_reward", "fid_by_reward", "foot_skating", "penetration_m",
    "floating_m", "jerk_m_s3", "bone_variation", "foot_speed_m_s", "foot_slide", "bone_range_m", "bone_range_mean_m",
}  # fmt: skip
BY_EVALUATOR = {"evaluator_text", "r1_by_evaluator", "mm_dist_by_evaluator", "fid_by_evaluator"}
STRONG = GuidanceConfig.plain(norm="normalize", profile="signal", eta=0.5)


def callback(folder: Path, **options: object) -> RewardGuidedSampling:
    parts = {"reward": folder / "reward", "index": folder / "index", "guidance": STRONG, "clips": 0}
    return RewardGuidedSampling(**{**parts, **options})  # type: ignore[arg-type]


def trainer(root: Path, *callbacks: Callback, **options: object) -> Trainer:
    return Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, max_epochs=1,
        enable_checkpointing=False, default_root_dir=root, callbacks=list(callbacks), **options,
    )  # type: ignore[arg-type]  # fmt: skip


def names(stage: str, measures: set[str] = MEASURES) -> set[str]:
    return {f"{stage}_{variant}/{measure}" for variant in ("unguided", "guided") for measure in measures}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_fit_validate_and_test_log_both_variants_side_by_side(tmp_path: Path, models: Path, precision: str) -> None:
    watch = callback(models, clips=1, evaluator=str(models / "evaluator"), suffix=".npy")
    run, task, data = trainer(tmp_path, watch, precision=precision), generator(), TinyData(8)
    expected = MEASURES | BY_EVALUATOR
    run.fit(task, data)
    assert names("val", expected) <= run.callback_metrics.keys()
    for stage, call in (("val", run.validate), ("test", run.test)):
        (metrics,) = call(task, data, verbose=False)
        assert names(stage, expected) <= metrics.keys()
        assert all(torch.isfinite(torch.tensor(value)) for value in metrics.values())
        assert abs(metrics[f"{stage}_guided/reward"] - metrics[f"{stage}_unguided/reward"]) > 1e-3
        assert 0 <= metrics[f"{stage}_guided/r1_by_reward"] <= 1
    written = {path.name for path in (tmp_path / "guidance").iterdir()}
    assert {"step=0000002_0.npy", "step=0000002_1.npy", "step=0000002.png"} <= written


def test_an_epoch_that_is_validated_is_due(tmp_path: Path, models: Path) -> None:
    guided, writer = callback(models, every_n_epochs=2), SampleWriter(1, every_n_epochs=2, suffix=".npy")
    run = trainer(tmp_path, guided, writer, check_val_every_n_epoch=2, num_sanity_val_steps=2)
    run.fit_loop.max_epochs = 3
    run.fit(generator(), TinyData(8))
    assert names("val") <= run.callback_metrics.keys()
    assert {path.suffix for path in (tmp_path / "samples").iterdir()} == {".npy", ".png"}


@pytest.mark.parametrize("options", [{"every_n_epochs": 0}, {"clips": 0}, {"suffix": ".gfi"}])
def test_a_writer_refuses_bad_settings_early(options: dict) -> None:
    with pytest.raises(InputError, match=f"{next(iter(options.values()))}"):
        SampleWriter(**options)


def test_the_numbers_are_those_of_the_motions_that_the_generator_makes(tmp_path: Path, models: Path) -> None:
    watch, task, data = callback(models), generator(), TinyData(8)
    (metrics,) = trainer(tmp_path, watch).validate(task, data, verbose=False)
    batch = data.collate([data.motions[i] for i in range(8)])
    scored = load_task(models / "reward")
    made = task.predict_step(batch, 0)
    with torch.no_grad():
        cosine = (scored.embed_motions(made, batch.lengths) * scored.embed_captions(batch.captions)).sum(-1)
    assert metrics["val_unguided/reward_text"] == pytest.approx(cosine.mean().item(), abs=1e-5)
    assert not made[~lengths_to_mask(batch.lengths)].any()


def test_both_variants_start_from_the_same_noise(tmp_path: Path, models: Path) -> None:
    watch = callback(models, guidance=replace(STRONG, strength=0.0))
    (metrics,) = trainer(tmp_path, watch).validate(generator(), TinyData(8), verbose=False)
    for measure in MEASURES:
        assert metrics[f"val_guided/{measure}"] == metrics[f"val_unguided/{measure}"]


def test_training_is_the_same_without_the_callback(tmp_path: Path, models: Path) -> None:
    states = []
    for watched in (False, True):
        seed_everything(0)
        task = generator()
        watch = [callback(models, batches=1)] if watched else []
        trainer(tmp_path, *watch).fit(task, TinyData(8))
        states.append(task.state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("case", ["latent reward", "through the decoder", "best of"])
def test_every_placement_and_best_of_n_validate(tmp_path: Path, models: Path, case: str) -> None:
    latent = {"reward": models / "latent", "index": None, "guidance": replace(STRONG, eta=0.0)}
    watch = {
        "latent reward": callback(models, **latent),
        "through the decoder": callback(models, guidance=replace(STRONG, through_decoder=True)),
        "best of": callback(models, guidance=replace(STRONG, method="best-of", candidates=3)),
    }[case]
    (metrics,) = trainer(tmp_path, watch).validate(generator(case != "best of"), TinyData(8), verbose=False)
    assert names("val") <= metrics.keys()
    assert metrics["val_guided/reward"] != metrics["val_unguided/reward"]
    assert case != "best of" or metrics["val_guided/reward"] > metrics["val_unguided/reward"]


def test_a_reward_of_another_generator_is_refused_before_training(tmp_path: Path, models: Path) -> None:
    with pytest.raises(InputError, match="lives in a LatentSpace, but the generator in a FeatureSpace"):
        latent = callback(models, reward=models / "latent", index=None, guidance=replace(STRONG, eta=0.0))
        trainer(tmp_path, latent).fit(generator(), TinyData(8))
    with pytest.raises(InputError, match="samples a generator, but the model is a RewardTask"):
        trainer(tmp_path, callback(models)).validate(load_task(models / "reward"), TinyData(8), verbose=False)
    for name, reason in (("reward", "is the reward itself"), ("generator", "holds a generator, but an evaluator")):
        with pytest.raises(InputError, match=reason):
            watch = callback(models, evaluator=str(models / name))
            trainer(tmp_path, watch).validate(generator(), TinyData(8), verbose=False)
    with pytest.raises(InputError, match="gfi"):
        callback(models, suffix=".gfi")
    with pytest.raises(InputError, match="every_n_epochs=0"):
        callback(models, every_n_epochs=0)


@pytest.mark.parametrize("kind", ["contrastive", "guo"])
def test_an_evaluator_measures_both_variants(tmp_path: Path, models: Path, kind: str) -> None:
    watch, data = callback(models, evaluator=str(models / kind)), TinyData(8, batch_size=8)
    data.caption_tokens = lambda: {caption: f"{caption}/VERB" for caption in CAPTIONS}
    (metrics,) = trainer(tmp_path, watch).validate(generator(), data, verbose=False)
    assert names("val", MEASURES | BY_EVALUATOR) <= metrics.keys()
    evaluator, task = load_task(models / kind), generator()
    evaluator.take_tokens(data.caption_tokens())
    batch = data.collate([data.motions[i] for i in range(8)])
    text, made, recorded = (
        evaluator.embed_captions(batch.captions),
        evaluator.embed_motions(task.predict_step(batch, 0), batch.lengths),
        evaluator.embed_motions(batch.motion, batch.lengths),
    )
    distances = torch.cdist(text.double(), made.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert metrics["val_unguided/mm_dist_by_evaluator"] == pytest.approx(distances.diag().mean().item(), rel=1e-4)
    assert metrics["val_unguided/r1_by_evaluator"] == (distances.argmin(1) == torch.arange(8)).double().mean()
    own, other = (np.cov(each.double().numpy(), rowvar=False) for each in (made, recorded))
    root = np.trace(scipy.linalg.sqrtm(own @ other + 1e-12 * np.eye(len(own))).real)
    fid = (made.double().mean(0) - recorded.double().mean(0)).square().sum().item() + np.trace(own + other) - 2 * root
    assert metrics["val_unguided/fid_by_evaluator"] == pytest.approx(fid, rel=1e-2)


def test_it_is_built_from_a_configuration(tmp_path: Path, models: Path) -> None:
    options = {"mu": 0.5, "strength": 2.0, "interval": 3, "norm": "normalize"}
    parts = {"reward": str(models / "reward"), "guidance": options, "clips": 0}
    watch = {"class_path": "realign.callbacks.RewardGuidedSampling", "init_args": parts}
    arguments = command(tmp_path, feature_generator(), callbacks=[watch], limit_train_batches=1, limit_val_batches=1)
    cli = TrainingCLI.from_args(arguments, run=False)
    (built,) = [each for each in cli.trainer.callbacks if isinstance(each, RewardGuidedSampling)]
    assert built.guidance == replace(USUAL, **options)
    parts["judge"] = str(models / "evaluator")
    with pytest.warns(Renamed, match="judge of RewardGuidedSampling is now called evaluator"):
        cli = TrainingCLI.from_args(command(tmp_path, feature_generator(), callbacks=[watch]), run=False)
    assert [each.evaluator for each in cli.trainer.callbacks if isinstance(each, RewardGuidedSampling)] == [
        parts["judge"]
    ]


def one_of_two(rank: int, port: int, root: str, models: str) -> None:
    # as torchrun starts them
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank), "NODE_RANK": "0",
                   "WORLD_SIZE": "2", "RANK": str(rank)}  # fmt: skip
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # Lightning warns about several processes
    run = trainer(Path(root), callback(Path(models), clips=1, suffix=".npy"), devices=2, strategy="ddp")
    (metrics,) = run.validate(generator(guidance_scale=1.0), TinyData(8, batch_size=2), verbose=False)
    run.fit(generator(), TinyData(8, batch_size=2))
    torch.save((metrics, run.global_rank), Path(root) / f"{rank}.pt")


def test_two_processes_measure_the_same_as_one(tmp_path: Path, models: Path) -> None:
    (tmp_path / "two").mkdir()
    run_two(one_of_two, free_port(), str(tmp_path / "two"), str(models))
    one = trainer(tmp_path, callback(models))
    (alone,) = one.validate(generator(guidance_scale=1.0), TinyData(8, batch_size=4), verbose=False)
    for rank in range(2):
        metrics, number = torch.load(tmp_path / "two" / f"{rank}.pt")
        assert number == rank
        for name in names("val"):
            assert metrics[name] == pytest.approx(alone[name], abs=1e-4, rel=1e-3), name
    assert len(list((tmp_path / "two/guidance").glob("*.png"))) == 2  # after validation and training, by one process
