"""Samples a second of training through Lightning, over those of the same layers in a bare loop of PyTorch.

    python benchmarks/bench_training.py [--device cuda] [--batch 64] [--precision bf16-mixed] [--tiny]

The tasks of configs/generator, configs/reward and configs/vae at the sizes of the published methods, with the captions,
the gradient clipping, the moving averages and the curves that their configurations have; batches lie in memory. The
bare loop has random tensors on the device, the forward and backward pass, clipping and AdamW. Rounds alternate between
the two; a ratio is the median of the rounds' ratios. On a CPU, seconds are those of the processor. Aim: at least 0.9.
"""

import argparse
import copy
import logging
import statistics
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import torch
from diffusers import DDPMScheduler
from lightning import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from table import clock, report
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from realign.batch import MotionTextBatch, TextFeatures
from realign.callbacks import EMA
from realign.interfaces import RewardBatch
from realign.nn import ConvVAE, FeatureSpace, LatentSpace, MdmDenoiser, MldDenoiser, SkipTransformerVAE
from realign.nn.reward import TransformerReward
from realign.precision import use_tensor_cores
from realign.tasks import GeneratorTask, RewardTask, VAETask
from realign.tasks.base import Task
from realign.text import CachedTextEncoder, HashingEncoder

TEXT, WORDS, FRAMES, FEATURES = 768, 12, 196, 263
WARM = 3
"""Steps that are not counted."""


@dataclass
class Case:
    """A task, and the loss of its layers in a bare loop.

    Attributes:
        task: What Lightning trains.
        layers: The same layers, with weights of their own.
        loss: Loss of the layers.
        averaged: Whether the configuration averages weights.
    """

    task: Task
    layers: nn.Module
    loss: Callable[[Any], Tensor]
    averaged: bool = False


def noise(prediction: str) -> DDPMScheduler:
    return DDPMScheduler(beta_schedule="scaled_linear", clip_sample=False, prediction_type=prediction)


def optimizer(device: torch.device) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda weights: torch.optim.AdamW(weights, lr=1e-4, fused=device.type == "cuda")


def encoder(folder: str) -> CachedTextEncoder:
    return CachedTextEncoder(HashingEncoder(TEXT), folder)


def cases(batch: int, device: torch.device, folder: str, tiny: bool) -> dict[str, Callable[[], Case]]:
    wide, deep, high = (32, 3, 64) if tiny else (256, 9, 1024)
    options = {"optimizer": optimizer(device), "skeleton": "humanml3d"}
    ones = torch.ones(batch, FRAMES, dtype=torch.bool, device=device)
    motion, t = torch.randn(batch, FRAMES, FEATURES, device=device), torch.randint(1000, (batch,), device=device)
    words = torch.ones(batch, WORDS, dtype=torch.bool, device=device)
    text = TextFeatures(torch.randn(batch, WORDS, TEXT, device=device), words, torch.randn(batch, TEXT, device=device))

    def features() -> Case:
        denoiser = MdmDenoiser(FEATURES, TEXT, 2 * wide, 2 if tiny else 8, feedforward=high)
        task = GeneratorTask(denoiser, FeatureSpace(), encoder(folder), noise("sample"), **options)
        own = copy.deepcopy(denoiser)
        return Case(task, own, lambda layers: F.mse_loss(layers(motion, t, ones, text).float(), motion), True)

    def latents() -> Case:
        vae = SkipTransformerVAE(FEATURES, wide, 1, deep, feedforward=high).eval().requires_grad_(False)
        space, denoiser = LatentSpace(vae), MldDenoiser(wide, TEXT, wide, deep, feedforward=high)
        space.load_vae(vae, torch.zeros(wide), torch.ones(wide))
        task = GeneratorTask(denoiser, space, encoder(folder), noise("epsilon"), **options)
        own, frozen = copy.deepcopy(denoiser), copy.deepcopy(vae).to(device)

        def loss(layers: Any) -> Tensor:
            with torch.no_grad():
                x, _, mask = frozen.encode(motion, ones)
            return F.mse_loss(layers(x, t, mask, text).float(), x.float())

        return Case(task, own, loss, True)

    def reward() -> Case:
        sizes = {"hidden": wide, "layers": deep, "feedforward": high, "decoder_layers": 3 if tiny else 9, "patch": 4}
        model = TransformerReward(FEATURES, TEXT, **sizes)
        task = RewardTask(model, FeatureSpace(), encoder(folder), noise("sample"), **options)
        right, seeds = torch.arange(batch, device=device), torch.arange(batch, device=device)

        def loss(layers: Any) -> Tensor:
            ours, theirs, further = layers.learn(RewardBatch(motion, t, ones, motion, text, seeds))
            scores = F.normalize(ours.float(), dim=1) @ F.normalize(theirs.float(), dim=1).T / 0.1
            return F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right) + sum(further.values())

        return Case(task, copy.deepcopy(model), loss)

    def vae(made: nn.Module) -> Case:
        def loss(layers: Any) -> Tensor:
            mean, logvar, tokens = layers.encode(motion, ones)
            latent = mean + (0.5 * logvar).exp() * torch.randn_like(mean)
            made, spread = layers.decode(latent, ones).float(), logvar.float()
            kl = (mean.float().square() + spread.exp() - 1 - spread).mean()
            return F.mse_loss(made, motion) + F.mse_loss(made.diff(dim=1), motion.diff(dim=1)) + 1e-4 * kl

        return Case(VAETask(made, **options), copy.deepcopy(made), loss)

    return {
        "generator over features": features,
        "generator over latents": latents,
        "reward": reward,
        "autoencoder of MLD": lambda: vae(SkipTransformerVAE(FEATURES, wide, 1, deep, feedforward=high)),
        "autoencoder by convolutions": lambda: vae(ConvVAE(FEATURES, 16, wide)),
    }


def some_batches(batch: int, count: int = 4) -> list[MotionTextBatch]:
    made = []
    for number in range(count):
        names = [f"{number}-{row}" for row in range(batch)]
        captions = [f"a person walks {name} steps forward and turns to the left side" for name in names]
        seeds = torch.arange(batch) + number * batch
        made.append(
            MotionTextBatch(torch.randn(batch, FRAMES, FEATURES), torch.full((batch,), FRAMES), captions, names, seeds)
        )
    return made


class Repeated(torch.utils.data.IterableDataset[MotionTextBatch]):
    """Some batches, again and again."""

    def __init__(self, batches: list[MotionTextBatch], count: int) -> None:
        self.batches, self.count = batches, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Any:
        return islice(cycle(self.batches), self.count)


class Watch(Callback):
    """Seconds of the steps after the first ones."""

    def __init__(self, steps: int, device: torch.device) -> None:
        self.steps, self.device = steps, device

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == WARM - 1:
            self.begun = clock(self.device)
        if batch_idx == WARM + self.steps - 1:
            self.seconds = clock(self.device) - self.begun


def through_lightning(case: Case, batches: list[MotionTextBatch], options: Any, folder: str) -> float:
    device, watch = torch.device(options.device), Watch(options.steps, torch.device(options.device))
    trainer = Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type, devices=1, precision=options.precision,
        max_epochs=1, gradient_clip_val=1.0, callbacks=[*([EMA()] if case.averaged else []), watch],
        logger=TensorBoardLogger(folder), enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    pinned = device.type == "cuda"
    loader = DataLoader(Repeated(batches, WARM + options.steps), batch_size=None, pin_memory=pinned)
    trainer.fit(case.task, loader)
    return watch.seconds


def bare(case: Case, options: Any) -> float:
    device = torch.device(options.device)
    layers = case.layers.to(device).train()
    optimiser = optimizer(device)([each for each in layers.parameters() if each.requires_grad])
    half = options.precision == "bf16-mixed"
    for number in range(WARM + options.steps):
        if number == WARM:
            begun = clock(device)
        optimiser.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = case.loss(layers)
        loss.backward()
        nn.utils.clip_grad_norm_(layers.parameters(), 1.0)
        optimiser.step()
    return clock(device) - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, help="samples of a batch (default: 64; on a CPU 4)")
    parser.add_argument(
        "--precision", choices=("32-true", "bf16-mixed"), help="(default: bf16-mixed; on a CPU 32-true)"
    )
    parser.add_argument("--steps", type=int, help="steps of a round (default: 50; on a CPU 3)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", metavar="WORDS", help="cases whose names have these words")
    parser.add_argument("--tiny", action="store_true", help="small networks, to see that everything runs")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    fast = torch.device(options.device).type == "cuda"
    options.batch, options.steps = options.batch or (64 if fast else 4), options.steps or (50 if fast else 3)
    options.precision = options.precision or ("bf16-mixed" if fast else "32-true")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    use_tensor_cores()
    print(f"{options.device}, {options.threads} threads, batches of {options.batch}, {options.precision}")
    with tempfile.TemporaryDirectory() as folder:
        batches = some_batches(options.batch)
        for name, make in cases(options.batch, torch.device(options.device), folder, options.tiny).items():
            if options.only not in name:
                continue
            torch.manual_seed(0)
            case = make()
            case.task.normalizer.fit(torch.zeros(FEATURES), torch.ones(FEATURES))
            taken = [(bare(case, options), through_lightning(case, batches, options, folder))
                     for _ in range(options.rounds)]  # fmt: skip
            done = options.steps * options.batch
            plain, ours = (done / statistics.median(each) for each in zip(*taken, strict=True))
            print(f"{name}: bare {plain:,.1f} samples/s, Lightning {ours:,.1f} samples/s")
            report(f"training, {name}", statistics.median(a / b for a, b in taken), "at least 0.9")


if __name__ == "__main__":
    main()
