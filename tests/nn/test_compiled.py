"""Compiled networks compute the same. The backend aot_eager traces and splits as inductor does, in far less time."""

import copy
from pathlib import Path

import pytest
import steer_parts
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from task_parts import TinyData
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from realign.callbacks import EMA
from realign.errors import InputError
from realign.guidance import GuidanceConfig
from realign.guidance.objective import RewardObjective
from realign.guidance.steering import RewardSteering
from realign.nn import FeatureSpace, MdmDenoiser, compiled
from realign.nn.compiled import compile_networks, networks
from realign.tasks import GeneratorTask
from realign.text.hashing import HashingEncoder

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # which torch hides by itself
CASES = [([24, 16], 2), ([20, 12, 23], 3)]


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch._dynamo.reset()


def generator() -> GeneratorTask:
    torch.manual_seed(0)
    denoiser = MdmDenoiser(263, 8, 16, 1, 2, 32, 0.0, conditioning="tokens")
    noise = steer_parts.noise()
    task = GeneratorTask(denoiser, FeatureSpace(), HashingEncoder(8), noise, steps=2, sampling_scheduler="ddim")
    task._skeleton = "humanml3d"
    task.normalizer.fit(*TinyData().statistics)
    return task


def test_guided_samples_are_those_of_eager_networks_whatever_their_lengths() -> None:
    model, reward = generator().eval(), steer_parts.reward(layers=1)
    steering = RewardSteering(RewardObjective(reward, None, GuidanceConfig.plain()))

    def samples() -> list[Tensor]:
        return [
            steering.sample(model, steer_parts.captions(list(range(count))), torch.tensor(lengths), torch.arange(count))
            for lengths, count in CASES
        ]

    eager, names = samples(), [*model.state_dict(), *reward.state_dict()]
    compile_networks(model, reward, backend="aot_eager")
    fast = samples()
    for one, other in zip(eager, fast, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert [*model.state_dict(), *reward.state_dict()] == names
    twin = copy.deepcopy(model)  # which has its own weights, not those of the compiled one
    with torch.no_grad():
        twin.denoiser.out_proj.bias.add_(1)
    assert not torch.equal(twin.sample(["walk"], torch.tensor([24]), torch.arange(1)), fast[0][:1])


def test_sizes_of_every_kind_take_two_compilations() -> None:
    denoiser, counter, encoder = generator().denoiser.eval(), CompileCounter(), HashingEncoder(8)
    denoiser.compile(backend=counter)
    for frames, count in ((24, 2), (20, 3), (40, 5)):
        text = encoder(["a walk", *["a person walks " * (1 + count)] * (count - 1)])
        mask = torch.ones(count, frames, dtype=torch.bool)
        with torch.no_grad():
            denoiser(torch.zeros(count, frames, 263), torch.arange(count), mask, text)
    assert counter.frame_count == 2


def test_a_compiled_training_is_the_eager_one_with_averages_and_checkpoints(tmp_path: Path) -> None:
    states = []
    for name in ("eager", "compiled"):
        task = generator()
        if name == "compiled":
            compile_networks(task, backend="aot_eager")
        keep = ModelCheckpoint(tmp_path / name, "last", every_n_train_steps=3)
        trainer = Trainer(
            default_root_dir=tmp_path, max_steps=3, logger=False, enable_progress_bar=False, accelerator="cpu",
            enable_model_summary=False, limit_val_batches=0, callbacks=[EMA(0.5), keep],
        )  # fmt: skip
        trainer.fit(task, TinyData(count=12))
        states.append(torch.load(tmp_path / name / "last.ckpt", weights_only=True))
    for part in ("state_dict", "current_model_state"):
        one, other = (state[part] for state in states)
        assert one.keys() == other.keys()
        for name, value in one.items():
            torch.testing.assert_close(value, other[name], atol=1e-4, rtol=1e-4)


def test_what_is_compiled_and_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [type(each).__name__ for each in networks(steer_parts.generator(latent=True))]
    assert found.count("MldDenoiser") == 1 and set(found) == {"MldDenoiser", "ResidualBlock"}
    assert [type(each).__name__ for each in networks(steer_parts.reward())] == ["DistributionEncoder"] * 2
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="needs a C\\+\\+ compiler"):
        compile_networks(nn.Linear(1, 1))
