"""The motions of settings: a generator, guided or not, sampled for the captions of batches."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from realign.batch import MotionTextBatch
from realign.errors import InputError
from realign.evaluation.replicate import Make
from realign.evaluation.settings import Precision, Setting
from realign.guidance.objective import RewardObjective
from realign.guidance.steering import Steering, steer
from realign.index.motion_index import MotionIndex
from realign.interfaces import TextToMotionModel
from realign.motion.cleaning import clean_batch
from realign.motion.skeleton import get_skeleton
from realign.nn.embedder import JointEmbedding
from realign.precision import exact_float32


class SettingSampler:
    """Samples the generator by a setting.

    Args:
        setting: The setting.
        generator: A trained generator.
        reward: Needed if the setting guides.
        index: Motions embedded by the reward, where the setting's eta is not 0.
        precision: What the denoiser computes in.

    Raises:
        InputError: No reward, one that does not fit the generator, or options that make no sense.
    """

    def __init__(
        self,
        setting: Setting,
        generator: TextToMotionModel,
        reward: JointEmbedding | None = None,
        index: MotionIndex | None = None,
        precision: Precision = "fp32",
    ) -> None:
        self.setting, self.generator, self.precision = setting, generator, precision
        asked = {"steps": setting.steps, "guidance_scale": setting.guidance_scale, "scheduler": setting.scheduler}
        self.options = {name: value for name, value in asked.items() if value is not None}
        generator.check_options(**self.options)  # errors are raised before the real motions are measured
        self.steering = None if setting.config.method == "none" else self._steering(reward, index)

    def _steering(self, reward: JointEmbedding | None, index: MotionIndex | None) -> Steering:
        each = self.setting
        if reward is None:
            raise InputError(f"The setting {each.name!r} needs a reward to guide with; name one with --reward.")
        steering = steer(RewardObjective(reward, index, each.config))
        steering.to(self.generator.device).check(self.generator)
        return steering

    def __call__(self, batch: MotionTextBatch, seeds: Int[Tensor, "B"]) -> Float[Tensor, "B F C"]:
        """Motion features, not normalised, for the captions and lengths of a batch, as the setting measures them.

        Args:
            batch: Clips; no clip is its own anchor.
            seeds: One a motion: all its randomness.
        """
        return self.measured(self.sample(batch, seeds), batch.lengths)

    def sample(self, batch: MotionTextBatch, seeds: Int[Tensor, "B"]) -> Float[Tensor, "B F C"]:
        """What the generator says; arguments as of a call."""
        device, options = self.generator.device, self.options
        lengths = batch.lengths.to(device)
        with exact_float32(device), torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            if self.steering is None:
                return self.generator.sample(batch.captions, lengths, seeds, **options)
            return self.steering.sample(self.generator, batch.captions, lengths, seeds, batch.ids, **options)

    def measured(self, motion: Float[Tensor, "B F C"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B F C"]:
        """Sampled motions, cleaned on the CPU if the setting says so."""
        skeleton = get_skeleton(self.generator.skeleton)
        return clean_batch(motion, lengths, skeleton) if self.setting.clean else motion


def sampled_once(samplers: Sequence[SettingSampler]) -> Make:
    """Makes the motions of settings with the same `Setting.sampled`, by name, from one sampling.

    Args:
        samplers: Of the settings.
    """

    def make(batch: MotionTextBatch, seeds: Int[Tensor, "B"]) -> dict[str, Float[Tensor, "B F C"]]:
        motion = samplers[0].sample(batch, seeds)
        return {each.setting.name: each.measured(motion, batch.lengths) for each in samplers}

    return make


def recorded(name: str, device: torch.device) -> Make:
    """Takes the recorded motions in the place of a generator's.

    Args:
        name: What they are called.
        device: Where they are wanted.
    """
    return lambda batch, seeds: {name: batch.motion.to(device)}
