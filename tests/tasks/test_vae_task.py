from pathlib import Path

import pytest
import torch
from task_parts import CONV_VAE, VAE, TinyData, command, one_batch

from realign.batch import MotionTextBatch
from realign.errors import InputError
from realign.motion.features import features_to_joints
from realign.motion.skeleton import get_skeleton
from realign.nn import ConvVAE
from realign.tasks import VAETask, WarmupCosine, load_task
from realign.training import TrainingCLI

TRANSFORMER_VAE = {
    "class_path": "SkipTransformerVAE",
    "init_args": {"width": 8, "layers": 3, "heads": 2, "feedforward": 16},
}


@pytest.mark.parametrize("vae", [CONV_VAE, TRANSFORMER_VAE])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_fit_validate_and_predict(tmp_path: Path, vae: dict, precision: str) -> None:
    model = {"class_path": "VAETask", "init_args": {"vae": vae, "joint_weight": 0.1}}
    words = command(tmp_path, model, max_epochs=2, precision=precision)
    cli = TrainingCLI.from_args(["fit", *words], run=True)
    metrics = cli.trainer.callback_metrics
    names = {"loss", "reconstruction", "kl", "velocity", "mpjpe_mm"}
    assert {f"{stage}/{name}" for stage in ("train", "val") for name in names} <= metrics.keys()
    assert all(value.isfinite() for value in metrics.values())
    out = cli.trainer.predict(cli.model, cli.datamodule)
    assert out[0].shape == one_batch().motion.shape and not out[0][~one_batch().mask].any()


def test_learns_to_reconstruct() -> None:
    torch.manual_seed(0)
    task, batch = VAETask(ConvVAE(width=8, hidden=32, dilations=(1,))), one_batch(8)
    task.normalizer.fit(*TinyData().statistics)
    task._skeleton = "humanml3d"
    optimizer = torch.optim.Adam(task.parameters(), 3e-3)
    before = task.losses(batch, "val")
    for _ in range(120):
        optimizer.zero_grad()
        task.losses(batch, "val")["loss"].backward()
        optimizer.step()
    after = task.losses(batch, "val")
    assert after["reconstruction"] < 0.1 * before["reconstruction"]


def test_statistics_of_latents_are_those_of_the_data(vae_checkpoint: Path) -> None:
    task = load_task(vae_checkpoint, VAETask)
    motion, mask = task.normalize(one_batch(8))
    mean, _, tokens = task.vae.encode(motion, mask)
    rows = mean[tokens]
    # Moving averages over the four batches of a short training, in which the weights moved a little.
    torch.testing.assert_close(task.latent_mean, rows.mean(0), atol=0.05, rtol=0.1)
    torch.testing.assert_close(task.latent_std, rows.std(0), atol=0.05, rtol=0.3)


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_data_of_another_skeleton_or_scale_are_refused(tmp_path: Path, vae_checkpoint: Path) -> None:
    resume = ["--ckpt_path", str(vae_checkpoint)]
    with pytest.raises(InputError, match="checkpoint is for the skeleton 'humanml3d', but the data show 'kit'"):
        TrainingCLI.from_args(["fit", *command(tmp_path, VAE, {"skeleton": "kit"}, max_epochs=3), *resume], run=True)
    with pytest.raises(InputError, match="Mean and Std differ"):
        TrainingCLI.from_args(["fit", *command(tmp_path, VAE, {"scale": 0.4}, max_epochs=3), *resume], run=True)
    narrow = {"class_path": "VAETask", "init_args": {"vae": {"class_path": "ConvVAE", "init_args": {"features": 251}}}}
    with pytest.raises(InputError, match="data have 263 features a frame, but the task expects 251"):
        TrainingCLI.from_args(["fit", *command(tmp_path, narrow)], run=True)


def test_warmup_cosine() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = WarmupCosine(optimizer, warmup_steps=3, total_steps=11, floor=0.1)
    rates = []
    for _ in range(13):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[7] == pytest.approx(0.55) and rates[11:] == pytest.approx([0.1, 0.1])
    with pytest.raises(InputError, match="warmup_steps=5 must be 0 or more and lie below total_steps=5"):
        WarmupCosine(optimizer, 5, 5)


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_the_learning_rate_reaches_its_floor_at_the_end_also_of_a_continued_run(tmp_path: Path) -> None:
    schedule = {"class_path": "realign.tasks.WarmupCosine", "init_args": {"warmup_steps": 1, "floor": 0.1}}
    model = {**VAE, "init_args": {**VAE["init_args"], "lr_scheduler": schedule}}
    cli = TrainingCLI.from_args(["fit", *command(tmp_path / "a", model, max_epochs=3)], run=True)
    rates = [cli.trainer.lr_scheduler_configs[0].scheduler.get_last_lr()[0]]
    words = [*command(tmp_path / "b", model, max_epochs=5), "--ckpt_path", str(next(tmp_path.rglob("*.ckpt")))]
    again = TrainingCLI.from_args(["fit", *words], run=True)
    scheduler = again.trainer.lr_scheduler_configs[0].scheduler
    rates.append(scheduler.get_last_lr()[0])
    assert rates == pytest.approx([1e-5, 1e-5]) and scheduler.total_steps == again.trainer.global_step == 10


def test_an_endless_run_needs_an_explicit_schedule(tmp_path: Path) -> None:
    schedule = {"class_path": "realign.tasks.WarmupCosine", "init_args": {"warmup_steps": 1}}
    model = {**VAE, "init_args": {**VAE["init_args"], "lr_scheduler": schedule}}
    with pytest.raises(InputError, match="WarmupCosine has no total_steps, and the run's own number is unknown"):
        TrainingCLI.from_args(["fit", *command(tmp_path, model, max_epochs=-1)], run=True)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
def test_a_precision_without_float32_is_refused(tmp_path: Path, precision: str) -> None:
    with pytest.raises(InputError, match=f"Precision {precision} does not work.*use bf16-mixed"):
        TrainingCLI.from_args(["fit", *command(tmp_path, VAE, precision=precision)], run=True)


def test_errors_of_joints_are_in_millimetres_whatever_the_skeleton() -> None:
    skeleton = get_skeleton("kit")
    task = VAETask(ConvVAE(features=skeleton.num_features, width=4, hidden=8, dilations=[1]), skeleton="kit").eval()
    task.normalizer.fit(torch.zeros(skeleton.num_features), torch.ones(skeleton.num_features))
    motion = torch.randn(2, 16, skeleton.num_features, generator=torch.Generator().manual_seed(0))
    batch = MotionTextBatch(motion, torch.tensor([16, 16]), ["a", "b"], ["a", "b"], torch.arange(2))
    with torch.no_grad():
        made, real = (features_to_joints(each, skeleton) for each in (task.reconstruct(batch), motion))
        error = task.losses(batch, "val")["mpjpe_mm"]
    torch.testing.assert_close(error, 1000 * skeleton.metres * (made - real).norm(dim=-1).mean())
