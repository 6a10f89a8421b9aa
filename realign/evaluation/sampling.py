"""The motions of one setting: a generator, guided or not, sampled for the captions of batches."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from realign.batch import MotionTextBatch
from realign.errors import InputError
from realign.evaluation.settings import Precision, Setting
from realign.guidance.objective import RewardObjective
from realign.guidance.steering import Steering, steer
from realign.index.motion_index import MotionIndex
from realign.interfaces import TextToMotionModel
from realign.motion.cleaning import clean_features
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
        """Motion features, not normalised, for the captions and lengths of a batch; of the clean motions if the setting
        says so.

        Args:
            batch: Clips; no clip is its own anchor.
            seeds: One a motion: all its randomness.
        """
        device, options = self.generator.device, self.options
        lengths = batch.lengths.to(device)
        with exact_float32(device), torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            if self.steering is None:
                motion = self.generator.sample(batch.captions, lengths, seeds, **options)
            else:
                motion = self.steering.sample(self.generator, batch.captions, lengths, seeds, batch.ids, **options)
        return self._cleaned(motion, batch.lengths) if self.setting.clean else motion

    def _cleaned(self, motion: Float[Tensor, "B F C"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B F C"]:
        """The same motions, each cleaned on the CPU."""
        skeleton, found = get_skeleton(self.generator.skeleton), motion.float().cpu()
        for row, frames in enumerate(lengths.tolist()):
            found[row, :frames] = clean_features(found[row, :frames], skeleton)
        return found.to(motion)


class Recorded:
    """Returns the recorded motions, in the place of a sampler.

    Args:
        device: Where they are wanted.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self, batch: MotionTextBatch, seeds: Int[Tensor, "B"]) -> Float[Tensor, "B F C"]:
        """The motions of a batch."""
        return batch.motion.to(self.device)
