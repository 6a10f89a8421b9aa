from importlib import import_module
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from task_parts import CONV_VAE, command, feature_generator, latent_generator, one_batch, reward

from realign.checkpoint import load_model
from realign.errors import InputError
from realign.guidance.match import check_match
from realign.interfaces import MotionTextModel, TextToMotionModel
from realign.nn import FeatureSpace, Generator, MdmDenoiser
from realign.tasks import GeneratorTask, RewardTask, Task, VAETask, load_task, save_pretrained
from realign.text.hashing import HashingEncoder
from realign.training import TrainingCLI
from realign.weight_names import FORMER, former_names, with_current_names

EMA = [{"class_path": "realign.callbacks.EMA", "init_args": {"decay": 0.5}}]
LATE_EMA = [{"class_path": "realign.callbacks.EMA", "init_args": {"decay": 0.5, "update_starting_at_step": 1000}}]


@pytest.fixture(scope="module")
def generator_checkpoint(tmp_path_factory: pytest.TempPathFactory, vae_checkpoint: Path) -> Path:
    """Trained with averaged weights in the space of an autoencoder whose file is removed afterwards."""
    folder = tmp_path_factory.mktemp("generator")
    moved = folder / "vae.ckpt"
    moved.write_bytes(vae_checkpoint.read_bytes())
    options = {"optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-2}}}
    options["lr_scheduler"] = {
        "class_path": "realign.tasks.WarmupCosine", "init_args": {"warmup_steps": 1, "total_steps": 50}
    }  # fmt: skip
    words = command(folder, latent_generator(moved, **options), max_epochs=2, callbacks=EMA)
    TrainingCLI.from_args(["fit", *words], run=True)
    moved.unlink()
    return next(folder.glob("checkpoints/*.ckpt"))


def test_a_reward_takes_its_autoencoder_from_the_generator_it_will_guide(
    tmp_path: Path, generator_checkpoint: Path
) -> None:
    generator = load_task(generator_checkpoint, GeneratorTask)
    space = {"class_path": "LatentSpace", "init_args": {"vae": CONV_VAE, "checkpoint": str(generator_checkpoint)}}
    cli = TrainingCLI.from_args(["fit", *command(tmp_path / "reward", reward(space=space))], run=True)
    trained = load_task(next((tmp_path / "reward").rglob("*.ckpt")), RewardTask)
    check_match(trained, generator)
    for name, value in generator.space.state_dict().items():
        assert torch.equal(trained.space.state_dict()[name], value)
    assert cli.model.space.ready
    feature = tmp_path / "feature"
    TrainingCLI.from_args(["fit", *command(feature, reward())], run=True)
    space["init_args"]["checkpoint"] = str(next(feature.rglob("*.ckpt")))
    with pytest.raises(InputError, match="holds a RewardTask without an autoencoder"):
        TrainingCLI.from_args(["fit", *command(tmp_path / "wrong", reward(space=space))], run=True)


def sample(task: GeneratorTask) -> torch.Tensor:
    batch = one_batch(2)
    return task.sample(batch.captions, batch.lengths, batch.seeds)


def test_a_checkpoint_is_self_contained_and_holds_the_averaged_weights(generator_checkpoint: Path) -> None:
    content = torch.load(generator_checkpoint, weights_only=True)
    task = load_task(generator_checkpoint, GeneratorTask)
    assert task.skeleton == "humanml3d" and not task.training and task.space.ready and task.normalizer.fitted
    name = "denoiser.out_proj.weight"
    assert torch.equal(task.state_dict()[name], content["state_dict"][name])
    assert not torch.equal(task.state_dict()[name], content["current_model_state"][name])
    assert sample(task).isfinite().all()


@pytest.mark.parametrize("half", [False, True])
def test_a_folder_gives_the_same_task(tmp_path: Path, generator_checkpoint: Path, half: bool) -> None:
    task = load_task(generator_checkpoint, GeneratorTask)
    folder = save_pretrained(task, tmp_path / "weights", half=half)
    again = load_task(folder, GeneratorTask)
    tolerance = 5e-2 if half else 0.0
    torch.testing.assert_close(sample(again), sample(task), atol=tolerance, rtol=tolerance)
    assert all(parameter.dtype == torch.float32 for parameter in again.parameters())
    stored = load_file(folder / "model.safetensors")
    assert stored["denoiser.out_proj.weight"].dtype == (torch.float16 if half else torch.float32)
    assert stored["normalizer.mean"].dtype == torch.float32
    assert ".ckpt" not in (folder / "config.yaml").read_text()
    twice = save_pretrained(again, tmp_path / "weights", half=half)  # replaces it; a loaded task can be exported
    assert sorted(path.name for path in twice.iterdir()) == ["config.yaml", "model.safetensors"]
    assert len({path.stat().st_mode for path in twice.iterdir()}) == 1  # both have the same permissions


def test_only_weights_are_replaced_and_their_guidance_stays(tmp_path: Path, generator_checkpoint: Path) -> None:
    task = load_task(generator_checkpoint, GeneratorTask)
    folder = save_pretrained(task, tmp_path / "weights")
    (folder / "guidance.yaml").write_text("mu: 0.5")
    assert (save_pretrained(task, folder) / "guidance.yaml").read_text() == "mu: 0.5"
    (folder / "thesis.txt").touch()
    for target in (folder, folder / "thesis.txt"):
        with pytest.raises(InputError, match=r"thesis\.txt"):
            save_pretrained(task, target)


def test_averaging_that_starts_late_validates_with_fitted_statistics(tmp_path: Path) -> None:
    words = command(tmp_path, feature_generator(), max_epochs=1, callbacks=LATE_EMA)
    cli = TrainingCLI.from_args(["fit", *words], run=True)
    assert cli.trainer.callback_metrics["val/loss"].isfinite()


def test_a_generator_is_the_same_without_its_task(generator_checkpoint: Path, tmp_path: Path) -> None:
    task = load_task(generator_checkpoint, GeneratorTask)
    text, lengths, seeds = ["walk", "run"], torch.tensor([16, 24]), torch.tensor([1, 2])
    for file in (generator_checkpoint, save_pretrained(task, tmp_path / "weights")):
        alone = load_model(file, TextToMotionModel)
        assert type(alone) is Generator and not alone.training and alone.skeleton == task.skeleton
        assert alone.fingerprint == task.fingerprint and alone.state_dict().keys() == task.state_dict().keys()
        assert torch.equal(alone.sample(text, lengths, seeds), task.sample(text, lengths, seeds))
    with pytest.raises(InputError, match="holds a generator, but an evaluator, reward or retriever is needed"):
        load_model(generator_checkpoint, MotionTextModel)


def test_another_kind_is_refused(generator_checkpoint: Path, vae_checkpoint: Path) -> None:
    with pytest.raises(InputError, match="holds a VAETask, but a GeneratorTask is needed"):
        load_task(vae_checkpoint, GeneratorTask)
    with pytest.raises(InputError, match="holds a GeneratorTask, but a VAETask is needed"):
        load_task(generator_checkpoint, VAETask)


@pytest.mark.parametrize("kept", [0, 10, 1000, -1000])
def test_a_truncated_file_is_refused(tmp_path: Path, vae_checkpoint: Path, kept: int) -> None:
    path = tmp_path / "cut.ckpt"
    path.write_bytes(vae_checkpoint.read_bytes()[:kept])
    with pytest.raises(InputError, match="cut.ckpt"):
        load_task(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint at"):
        load_task(tmp_path / "missing.ckpt")
    text = tmp_path / "text.ckpt"
    text.write_text("hello")
    lines = tmp_path / "lines.ckpt"
    lines.write_text("a person bows\n\na person runs\n")
    foreign = tmp_path / "foreign.ckpt"
    torch.save({"weights": torch.zeros(3)}, foreign)
    objects = tmp_path / "objects.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": {"vae": FeatureSpace()}}, objects)
    unnamed = tmp_path / "unnamed.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": {}}, unnamed)
    for path, reason in (
        (text, "text.ckpt"),
        (lines, "lines.ckpt is not a checkpoint"),
        (foreign, "not a checkpoint of a task"),
        (objects, "never executed"),
        (unnamed, "does not say how it was built"),
    ):
        with pytest.raises(InputError, match=reason):
            load_task(path)


@pytest.mark.parametrize(
    ("class_path", "part", "told"),
    [
        ("subprocess.Popen", None, "names subprocess.Popen, which is outside realign"),
        ("torch.nn.Linear", None, "asks for parts that this version cannot build"),
        (None, "torch.nn.Linear", "asks for parts that this version cannot build"),
        (None, "realign.nn.NoSuch", "asks for parts that this version cannot build"),
    ],
)
def test_only_parts_of_the_expected_kinds_are_built(
    tmp_path: Path, vae_checkpoint: Path, class_path: str | None, part: str | None, told: str
) -> None:
    content = torch.load(vae_checkpoint, weights_only=True)
    options = content["hyper_parameters"]
    options["_class_path"] = class_path or options["_class_path"]
    if part:
        options["vae"] = {"class_path": part}
    torch.save(content, tmp_path / "evil.ckpt")
    with pytest.raises(InputError, match=f"evil.ckpt {told}"):
        load_task(tmp_path / "evil.ckpt")


def test_a_broken_folder_is_refused(tmp_path: Path, vae_checkpoint: Path) -> None:
    folder = save_pretrained(load_task(vae_checkpoint), tmp_path / "weights")
    weights, config = folder / "model.safetensors", folder / "config.yaml"
    whole, text = weights.read_bytes(), config.read_text()
    weights.write_bytes(whole[:-100])
    with pytest.raises(InputError, match="model.safetensors is damaged or cut short"):
        load_task(folder)
    weights.write_bytes(whole)
    config.write_text(text.replace("hidden: 8", "hidden: 12"))
    with pytest.raises(InputError, match="weights of .* do not fit its configuration"):
        load_task(folder)
    config.write_text("a: [")
    with pytest.raises(InputError, match="config.yaml is not readable YAML"):
        load_task(folder)
    config.unlink()
    with pytest.raises(InputError, match="has no config.yaml"):
        load_task(folder)


def test_a_task_built_in_python_needs_a_configuration(tmp_path: Path) -> None:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(clip_sample=False)
    task: Task = GeneratorTask(MdmDenoiser(263, 8, 16, 1, 2, 16), FeatureSpace(), HashingEncoder(8), scheduler)
    with pytest.raises(InputError, match="build it with realign.cli.build"):
        save_pretrained(task, tmp_path / "weights")
    assert not list(tmp_path.iterdir())


FIRST = (  # names of weights in 0.1.0, in this order
    ("attention.in_proj", "attention.qkv"), ("attention.out_proj", "attention.out"), ("skip_proj", "joins"),
    ("fc1", "rise"), ("fc2", "fall"), ("time_embedding", "step"), ("conv1", "wide"), ("conv2", "point"),
    ("in_proj", "read"), ("out_proj", "write"),
)  # fmt: skip


def under_first_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found = {}
    for name, value in state.items():
        for new, old in FIRST:
            name = name.replace(new, old)
        found[name] = value
    assert len(found) == len(state) and found.keys() != state.keys()
    return found


def first_checkpoint(source: Path, path: Path) -> Path:
    content = torch.load(source, weights_only=True)
    for part in ("state_dict", "current_model_state"):
        content[part] = under_first_names(content[part])
    torch.save(content, path)
    return path


def test_weights_with_old_names_give_the_same_model(generator_checkpoint: Path, tmp_path: Path) -> None:
    task = load_task(generator_checkpoint, GeneratorTask)
    folder = save_pretrained(task, tmp_path / "weights")
    save_file(under_first_names(load_file(folder / "model.safetensors")), folder / "model.safetensors")
    for path in (first_checkpoint(generator_checkpoint, tmp_path / "first.ckpt"), folder):
        for loaded in (load_task(path, GeneratorTask), load_model(path, TextToMotionModel)):
            assert torch.equal(sample(loaded), sample(task)) and loaded.fingerprint == task.fingerprint


def test_training_continues_from_weights_with_old_names(tmp_path: Path) -> None:
    words = command(tmp_path / "whole", feature_generator(), max_epochs=2, callbacks=EMA)
    shorter = TrainingCLI.from_args(["fit", *words, "--trainer.max_epochs=1"], run=True)
    shorter.trainer.save_checkpoint(tmp_path / "now.ckpt")
    ends = []
    for path in (tmp_path / "now.ckpt", first_checkpoint(tmp_path / "now.ckpt", tmp_path / "first.ckpt")):
        again = TrainingCLI.from_args(["fit", *words, "--ckpt_path", str(path)], run=True)
        again.trainer.save_checkpoint(tmp_path / "end.ckpt")
        ends.append(torch.load(tmp_path / "end.ckpt", weights_only=True))
    for part in ("state_dict", "current_model_state"):
        assert all(torch.equal(value, ends[1][part][name]) for name, value in ends[0][part].items())
    assert not torch.equal(ends[0]["state_dict"]["denoiser.out_proj.weight"],
                           shorter.model.state_dict()["denoiser.out_proj.weight"])  # fmt: skip


class OwnDenoiser(MdmDenoiser):
    """With a part that has an old name of realign."""

    def __init__(self, **options: int) -> None:
        super().__init__(**options)
        self.read = torch.nn.Linear(2, 2)


def test_names_of_other_classes_are_unchanged() -> None:
    own = OwnDenoiser(hidden=16, layers=1, text_dim=8)
    found = former_names(own)
    assert found["in_proj.weight"] == found["read.weight"] == "read.weight"
    state = with_current_names(own.state_dict(), own)
    assert state.keys() == own.state_dict().keys()
    plain = torch.nn.TransformerEncoderLayer(8, 2)
    assert all(name == former for name, former in former_names(plain).items())
    for name in FORMER:
        module, _, kind = name.rpartition(".")
        assert hasattr(import_module(module), kind)
