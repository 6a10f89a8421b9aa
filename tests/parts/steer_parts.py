"""Tiny matching rewards, generators and an index for tests of guidance."""

import torch
from diffusers import DDPMScheduler
from task_parts import CAPTIONS, CHANNELS, TinyData, one_batch

from realign.index import MotionIndex, MotionItem
from realign.nn import ConvVAE, FeatureSpace, LatentSpace, MdmDenoiser, MldDenoiser, MotionSpace, TransformerReward
from realign.tasks import GeneratorTask, RewardTask
from realign.text.hashing import HashingEncoder

LENGTHS = torch.tensor([24, 12, 16, 20, 23, 17, 12, 24])
PLACEMENTS = {"feature": (False, False), "latent": (True, True), "decoder": (False, True)}
"""Whether the reward and whether the generator live in latents."""


def noise(kind: str = "sample") -> DDPMScheduler:
    return DDPMScheduler(num_train_timesteps=100, beta_end=0.15, clip_sample=False, prediction_type=kind)


def space(latent: bool) -> MotionSpace:
    if not latent:
        return FeatureSpace()
    torch.manual_seed(3)
    made = LatentSpace(ConvVAE(CHANNELS, 4, 8, (1,)))
    made.load_vae(made.vae, torch.full((4,), 0.1), torch.full((4,), 0.5))
    return made


def reward(latent: bool = False, **options: object) -> RewardTask:
    torch.manual_seed(0)
    sizes = {"embedding": 16, "hidden": 16, "layers": 3, "heads": 2, "feedforward": 32, "decoder_layers": 0}
    home = space(latent)
    model = TransformerReward(home.width, 8, **{**sizes, "patch": 1 if latent else 4, **options})  # type: ignore[arg-type]
    task = RewardTask(model, home, HashingEncoder(8), noise(), skeleton="humanml3d")
    task.normalizer.fit(*TinyData().statistics)
    return task.eval()


def generator(latent: bool = False, steps: int = 5, **options: object) -> GeneratorTask:
    torch.manual_seed(1)
    home, kind = space(latent), MldDenoiser if latent else MdmDenoiser
    denoiser = kind(home.width, 8, 16, 3, 2, 32)
    parts = {"sampling_scheduler": "ddim", "steps": steps, "skeleton": "humanml3d", **options}
    task = GeneratorTask(denoiser, home, HashingEncoder(8), noise(), **parts)  # type: ignore[arg-type]
    task.normalizer.fit(*TinyData().statistics)
    return task.eval()


def motion_index(task: RewardTask) -> MotionIndex:
    batch = one_batch(8)
    with torch.no_grad():
        embeddings = task.embed_motions(batch.motion, batch.lengths)
    return MotionIndex.build(embeddings, [MotionItem(name) for name in batch.ids], fingerprint=task.fingerprint)


def seeds(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers)


def captions(rows: list[int]) -> list[str]:
    return [CAPTIONS[row % len(CAPTIONS)] for row in rows]
