"""Tiny models for tests of tasks: synthetic motions behind a LightningDataModule, and command lines."""

from pathlib import Path

import torch
import yaml
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from realign.batch import MotionTextBatch
from realign.seeding import mix_seed

CAPTIONS = ["walk", "run", "jump", "turn left", "turn right", "sit down", "wave", "kick"]
CHANNELS = 263


class Waves(Dataset):
    """Motions made of slow sines, a different one for each caption."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.phases = torch.rand(count, CHANNELS, generator=generator) * 6.28
        self.lengths = [(16, 20, 12, 24)[i % 4] for i in range(count)]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> tuple[Tensor, str, int]:
        time = torch.arange(self.lengths[index])[:, None]
        return 0.3 * torch.sin(time * 0.2 + self.phases[index]) + 0.1, CAPTIONS[index % len(CAPTIONS)], index


class TinyData(LightningDataModule):
    """A datamodule with statistics and a skeleton; seeds depend on clip and epoch alone.

    Args:
        count: Number of clips.
        batch_size: Clips of a batch.
        skeleton: Name of the skeleton.
        scale: Standard deviation it reports.
    """

    def __init__(
        self,
        count: int = 8,
        batch_size: int = 4,
        skeleton: str = "humanml3d",
        scale: float = 0.2,
    ) -> None:
        super().__init__()
        self.motions, self.batch_size, self.skeleton = Waves(count), batch_size, skeleton
        self.statistics = torch.full((CHANNELS,), 0.1), torch.full((CHANNELS,), scale)

    def collate(self, items: list[tuple[Tensor, str, int]]) -> MotionTextBatch:
        epoch = 0 if self.trainer is None else self.trainer.current_epoch
        motions, captions, indices = zip(*items, strict=True)
        return MotionTextBatch(
            torch.nn.utils.rnn.pad_sequence(list(motions), batch_first=True),
            torch.tensor([len(motion) for motion in motions]),
            list(captions),
            [str(index) for index in indices],
            torch.tensor([mix_seed(epoch, index) for index in indices]),
        )

    def loader(self) -> DataLoader:
        return DataLoader(self.motions, batch_size=self.batch_size, collate_fn=self.collate)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = loader


def one_batch(count: int = 4) -> MotionTextBatch:
    data = TinyData(count)
    return data.collate([data.motions[i] for i in range(count)])


CONV_VAE = {"class_path": "ConvVAE", "init_args": {"width": 4, "hidden": 8, "dilations": [1]}}
VAE = {"class_path": "VAETask", "init_args": {"vae": CONV_VAE}}
SCHEDULER = {
    "class_path": "diffusers.DDPMScheduler",
    "init_args": {"num_train_timesteps": 100, "clip_sample": False, "beta_schedule": "scaled_linear"},
}


def generator(space: dict, denoiser: dict, **options: object) -> dict:
    parts = {
        "denoiser": denoiser,
        "space": space,
        "text_encoder": {"class_path": "realign.text.hashing.HashingEncoder", "init_args": {"dim": 8}},
        "scheduler": SCHEDULER,
        "sampling_scheduler": "ddim",
        "steps": 4,
        **options,
    }
    return {"class_path": "GeneratorTask", "init_args": parts}


def latent_generator(checkpoint: Path | None, vae: dict = CONV_VAE, **options: object) -> dict:
    size = {"text_dim": 8, "hidden": 16, "layers": 3, "heads": 2, "feedforward": 32, "dropout": 0.1}
    denoiser = {"class_path": "MldDenoiser", "init_args": {"width": 4, **size}}
    space = {"class_path": "LatentSpace", "init_args": {"vae": vae, "checkpoint": checkpoint and str(checkpoint)}}
    return generator(space, denoiser, **options)


def feature_generator(**options: object) -> dict:
    size = {"text_dim": 8, "hidden": 16, "layers": 2, "heads": 2, "feedforward": 32, "dropout": 0.1}
    denoiser = {"class_path": "MdmDenoiser", "init_args": {"conditioning": "tokens", **size}}
    return generator({"class_path": "FeatureSpace"}, denoiser, **options)


def command(folder: Path, model: dict, data: dict | None = None, **trainer: object) -> list[str]:
    """Arguments of a command line after the subcommand, with the configuration written to a file."""
    data = data or {}
    quiet = {
        "accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_progress_bar": False,
        "enable_model_summary": False, "default_root_dir": str(folder), "log_every_n_steps": 1,
    }  # fmt: skip
    config = {
        "seed_everything": 0,
        "model": model,
        "data": data
        if data and "class_path" in data
        else {"class_path": "task_parts.TinyData", "init_args": data or {}},
        "trainer": quiet | trainer,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "in.yaml"
    path.write_text(yaml.safe_dump(config))
    return ["--config", str(path)]


REWARD_SIZES = {
    "text_dim": 8, "embedding": 16, "hidden": 16, "layers": 3, "heads": 2, "feedforward": 32, "decoder_layers": 1,
}  # fmt: skip
FEATURE_SPACE = {"class_path": "FeatureSpace"}


def reward(kind: str = "RewardTask", space: dict = FEATURE_SPACE, model: dict | None = None, **options: object) -> dict:
    """A reward or retriever over hashed words; in a latent space its width is 4."""
    sizes = {"width": 263 if space is FEATURE_SPACE else 4, "patch": 4 if space is FEATURE_SPACE else 1}
    parts = {
        "model": {"class_path": "TransformerReward", "init_args": REWARD_SIZES | sizes | (model or {})},
        "space": space,
        "text_encoder": {"class_path": "realign.text.hashing.HashingEncoder", "init_args": {"dim": 8}},
        **({"scheduler": SCHEDULER} if kind == "RewardTask" else {}),
        **options,
    }
    return {"class_path": kind, "init_args": parts}
