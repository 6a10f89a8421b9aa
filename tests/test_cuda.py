"""What a GPU must do as the CPU does: a training step of every task, guided sampling, evaluation, search.

On a computer without one these tests are skipped, unless REALIGN_TEST_DEVICE=cpu runs them there.
"""

from pathlib import Path

import numpy as np
import pytest
import steer_parts
import torch
from evaluate_parts import make_shelf
from task_parts import TinyData, one_batch

from realign.cli import main
from realign.evaluation.results import Results
from realign.guidance import GuidanceConfig, RewardObjective, RewardSteering
from realign.index import MotionIndex, MotionItem
from realign.inference import TextToMotion
from realign.inference.common import pretrained_folder
from realign.nn import ConvVAE
from realign.tasks import VAETask

pytestmark = [pytest.mark.cuda, pytest.mark.filterwarnings("ignore")]
TASKS = ("vae", "generator_mld", "generator_mdm", "generator_flow", "reward_feature", "reward_latent", "retriever",
         "evaluator_contrastive", "evaluator_guo")  # fmt: skip


@pytest.fixture(scope="module")
def shelf(gpu: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("task", TASKS)
def test_every_task_trains(
    gpu: str, runs: Path, task: str, precision: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder = runs / precision
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)  # latent tasks look for the autoencoder here
    monkeypatch.setenv("REALIGN_CACHE", str(runs / "cache"))
    kind = "gpu" if gpu == "cuda" else gpu
    words = [f"--trainer.accelerator={kind}", "--trainer.devices=1", f"--trainer.precision={precision}"]
    words += ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]
    words += ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.logger=false"]
    assert main(["fit", "--config", f"tiny/{task}", *words]) == 0
    assert f"runs/tiny_{task}/last.ckpt" in capsys.readouterr().out
    state = torch.load(folder / f"runs/tiny_{task}/last.ckpt", weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in state.values() if value.is_floating_point())


def vae() -> VAETask:
    torch.manual_seed(2)
    task = VAETask(ConvVAE(263, 4, 8, (1,)), joint_weight=0.1, skeleton="humanml3d")
    task.normalizer.fit(*TinyData().statistics)
    return task


@pytest.mark.parametrize("make", [vae, steer_parts.generator, steer_parts.reward], ids=["vae", "generator", "reward"])
def test_losses_and_gradients_are_those_of_the_cpu(gpu: str, make) -> None:
    found = []
    for device in ("cpu", gpu):
        task = make().to(device).eval()  # without dropout, which draws on its device
        loss = task.losses(one_batch().to(device), "val")["loss"]
        loss.backward()
        gradients = [each.grad.cpu() for each in task.parameters() if each.grad is not None]
        found.append((loss.item(), torch.cat([each.flatten() for each in gradients])))
    (loss, gradient), (other, others) = found
    assert other == pytest.approx(loss, rel=1e-4)
    assert (others - gradient).norm() < 1e-3 * gradient.norm() and gradient.norm() > 0


@pytest.mark.parametrize("kind", ["feature", "latent", "decoder"])
@pytest.mark.parametrize("point", ["x0", "x_t"])
def test_guided_sampling_is_that_of_the_cpu(gpu: str, kind: str, point: str) -> None:
    by_latents, latent = steer_parts.PLACEMENTS[kind]
    options = {"strength": 0.5, "norm": "normalize", "eta": 0.0, "point": point}
    config = GuidanceConfig.plain(**options, through_decoder=kind == "decoder")
    motions = []
    for device in ("cpu", gpu):
        reward, generator = (
            each.to(device) for each in (steer_parts.reward(by_latents), steer_parts.generator(latent))
        )
        steering = RewardSteering(RewardObjective(reward, config=config))
        captions, lengths = ["a person walks", "a person bows"], torch.tensor([24, 16])
        sampled = [each.sample(*given, captions, lengths, steer_parts.seeds(5, 6)).cpu()
                   for each, given in ((steering, (generator,)), (generator, ()))]  # fmt: skip
        motions.append(sampled)
    torch.testing.assert_close(motions[0][0], motions[1][0], rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(motions[0][1], motions[1][1], rtol=2e-3, atol=2e-3)
    assert (motions[0][0] - motions[0][1]).abs().max() > 1e-3  # guided


def test_shipped_generators_make_the_motions_of_the_cpu(gpu: str) -> None:
    for name in ("generator", "generator_features"):
        clips = [
            TextToMotion.from_pretrained(pretrained_folder(name), device).generate(
                ["a person walks"], seconds=2, steps=4
            )
            for device in ("cpu", gpu)
        ]
        assert np.abs(clips[0][0].joints - clips[1][0].joints).max() < 0.01  # metres


def test_evaluation_gives_the_figures_of_the_cpu(gpu: str, shelf: Path, tmp_path: Path) -> None:
    words = ["--generator", str(shelf / "generator"), "--data", str(shelf / "data"), "--replications", "1"]
    words += [
        "--evaluator",
        str(shelf / "evaluator"),
        "--reward",
        str(shelf / "reward"),
        "--guidance",
        "none",
        "reward",
    ]
    words += ["--steps", "2", "--eta", "0", "--batch-size", "8"]
    found = []
    for device in ("cpu", gpu):
        file = tmp_path / f"{device}{len(found)}.json"
        assert main(["evaluate", *words, "--device", device, "-o", str(file)]) == 0
        found.append(Results.load(file))
    for here, there in zip(found[0].rows, found[1].rows, strict=True):
        for name, value in here.replications[0].items():
            if isinstance(value, float) and name != "seconds":
                assert there.replications[0][name] == pytest.approx(value, rel=0.05, abs=0.05), name
    assert main(["evaluate", *words, "--device", gpu, "--precision", "bf16", "-o", str(tmp_path / "half.json")]) == 0


def test_an_index_of_a_gpu_finds_what_that_of_the_cpu_finds(gpu: str, shelf: Path, tmp_path: Path) -> None:
    indexes = []
    for device in ("cpu", gpu):
        words = ["--checkpoint", str(shelf / "reward"), "--data", str(shelf / "data"), "--split", "all"]
        folder = tmp_path / f"{device}{len(indexes)}"
        assert main(["index", "build", *words, "--device", device, "-o", str(folder)]) == 0
        indexes.append(MotionIndex.load(folder))
    vectors = [index.vectors(range(len(index))) for index in indexes]
    assert np.abs(vectors[0] - vectors[1]).max() < 1e-4


def test_faiss_on_the_gpu(gpu: str) -> None:
    import faiss

    if not (hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus()):
        pytest.skip("this FAISS is not built for GPUs, or there is none")
    vectors = torch.nn.functional.normalize(torch.randn(2000, 32, generator=torch.Generator().manual_seed(0)), dim=1)
    items = [MotionItem(str(number)) for number in range(len(vectors))]
    for factory in ("Flat", "IVF16,Flat"):
        found = [
            MotionIndex.build(vectors, items, fingerprint="x", factory=factory, gpu=on_gpu).search(vectors[:50], 5).ids
            for on_gpu in (False, True)
        ]
        assert np.mean([here == there for here, there in zip(*found, strict=True)]) > 0.95


def test_half_precision_is_close_to_the_whole(gpu: str) -> None:
    task, batch = steer_parts.reward().to(gpu).eval(), one_batch().to(gpu)
    whole = task.losses(batch, "val")["loss"]
    with torch.autocast(gpu, torch.bfloat16):
        half = task.losses(batch, "val")["loss"]
    assert half.item() == pytest.approx(whole.item(), rel=0.05)
