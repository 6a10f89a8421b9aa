"""A small task of every kind with data, and every way to guide sampling: whatever must not wait for its device."""

from collections.abc import Callable
from typing import Any

import steer_parts
import torch
from task_parts import CAPTIONS, TinyData
from torch import Tensor

from realign.batch import CaptionFeatures, MotionTextBatch
from realign.diffusion import FlowMatching
from realign.diffusion.windows import WindowPlan
from realign.guidance import ConstraintConfig, ConstraintGuidance, GuidanceConfig, Positions
from realign.guidance.objective import RewardObjective
from realign.guidance.steering import RewardSteering
from realign.losses.geometric import GeometricLoss
from realign.nn import ConvVAE, MdmDenoiser, MldDenoiser, TransformerReward
from realign.tasks import GeneratorTask, RetrieverTask, RewardTask, Task, VAETask
from realign.text.base import TextEncoder
from realign.text.hashing import HashingEncoder

STEPS = 5


class Pinned(TinyData):
    """As a loader with pin_memory gives them.

    Args:
        count: Number of clips.
        encoder: What captions are read by, if batches carry their features as from a set's files.
    """

    def __init__(self, count: int = 8, encoder: TextEncoder | None = None) -> None:
        super().__init__(count)
        self.encoder = encoder

    def collate(self, items: list) -> MotionTextBatch:
        batch = super().collate(items)
        if self.encoder is not None:
            batch.text[self.encoder.fingerprint] = self.read(batch.captions)
        return batch.pin_memory()

    def read(self, captions: list[str]) -> CaptionFeatures:
        features = self.encoder(captions)
        there = torch.cat([torch.ones(len(captions), 1, dtype=torch.bool), features.mask], 1)
        rows = torch.cat([features.pooled[:, None], features.tokens], 1)[there].half()
        numbers = torch.arange(len(rows))
        places = torch.full(there.shape, -1).masked_scatter(there, numbers)
        return CaptionFeatures(captions, rows, places)


def vae() -> Task:
    return VAETask(ConvVAE(263, 4, 8, (1,)), joint_weight=0.1, geometric=GeometricLoss(), skeleton="humanml3d")


def generator(kind: str) -> Task:
    home = steer_parts.space(kind == "latent")
    denoiser = (MldDenoiser if kind == "latent" else MdmDenoiser)(home.width, 8, 16, 1, 2, 32, conditioning="tokens")
    noise: dict[str, Any] = {"path": FlowMatching()} if kind == "flow" else {"scheduler": steer_parts.noise()}
    weights: dict[str, Any] = {} if kind == "latent" else {"velocity_weight": 0.5}
    if kind == "feature":
        weights["geometric"] = GeometricLoss()
    return GeneratorTask(denoiser, home, HashingEncoder(8), skeleton="humanml3d", **noise, **weights)


def embedding(kind: str) -> Task:
    home = steer_parts.space(kind == "latent")
    sizes = {"embedding": 16, "hidden": 16, "layers": 1, "heads": 2, "feedforward": 32, "decoder_layers": 1}
    model = TransformerReward(home.width, 8, **sizes, patch=1 if kind == "latent" else 4)
    if kind == "retriever":
        options = {"sentence_encoder": HashingEncoder(4), "hard_negative_weight": 0.1}
        return RetrieverTask(model, home, HashingEncoder(8), skeleton="humanml3d", **options)
    return RewardTask(
        model, home, HashingEncoder(8), steer_parts.noise(), skeleton="humanml3d", paired=kind == "paired"
    )


TRAINED = {
    "vae": vae,
    **{f"generator {kind}": lambda kind=kind: generator(kind) for kind in ("feature", "latent", "flow")},
    **{f"reward {kind}": lambda kind=kind: embedding(kind) for kind in ("latent", "paired")},
    "retriever": lambda: embedding("retriever"),
}


SAMPLED = {
    "ddim": ("feature", "ddim", {}),
    "ddpm, constant noise": ("latent", "ddpm", {"point": "x_t", "norm": "clip", "profile": "noise"}),
    "ddpm, the update of the paper": ("feature", "ddpm", {"update": "ddpm", "norm": "normalize"}),
    "ddim, through the decoder": ("decoder", "ddim", {}),
    "ddim, as the release of ReAlign": ("latent", "ddim", {"preset": "realign-release"}),
    "dpm": ("latent", "dpm", {}),
    "unipc": ("feature", "unipc", {}),
    "ddim, in windows": ("latent", "ddim", {}),
    "ddim, with constraints": ("feature", "ddim", {}),
    "euler": ("flow", "euler", {}),
    "heun": ("flow", "heun", {}),
}


class Sampling:
    """Guided sampling of three motions.

    Args:
        kind: A name of `SAMPLED`.
        put: Brings modules and tensors to a device.
    """

    def __init__(self, kind: str, put: Callable[[Any], Any]) -> None:
        home, self.scheduler, options = SAMPLED[kind]
        model = flow_generator() if home == "flow" else steer_parts.generator(home != "feature", guidance_scale=2.0)
        given = {"start": 0.0, "interval": 1, "through_decoder": home == "decoder", **options}
        reward = put(steer_parts.reward(home == "latent", decoder_layers=1))
        self.steering = RewardSteering(RewardObjective(reward, None, GuidanceConfig.of(given)))
        self.model, self.lengths = put(model), put(torch.tensor([24, 16, 12]))
        self.options: dict[str, Any] = {}
        if kind.endswith("in windows"):
            self.options["windows"], self.lengths = WindowPlan([[24, 16]]), put(torch.tensor([40]))
        if kind.endswith("constraints"):
            kept = torch.zeros(6, 22, 3, dtype=torch.bool)
            kept[:, 0] = True
            constraint = Positions(torch.ones(6, 22, 3), kept)
            few = ConstraintConfig(iterations=2, finish=False)
            self.options["guidance"] = ConstraintGuidance([constraint], self.model, self.lengths, few)

    def __call__(self, steps: int) -> Tensor:
        options = {"steps": steps, "scheduler": self.scheduler, **self.options}
        captions = CAPTIONS[: 2 if "windows" in options else 3]
        return self.steering.sample(self.model, captions, self.lengths, torch.arange(len(self.lengths)), **options)


def flow_generator() -> GeneratorTask:
    task = generator("flow").eval()
    task.normalizer.fit(*TinyData().statistics)
    return task
