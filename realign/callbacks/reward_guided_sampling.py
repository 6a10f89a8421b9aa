"""Sampling with and without guidance, side by side, while a generator is validated or tested."""

from typing import Any

import torch
from jaxtyping import Float
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from realign.batch import MotionTextBatch
from realign.callbacks.comparison import SampleMetrics
from realign.callbacks.gallery import is_due, log_folder, show
from realign.checkpoint.load import load_model
from realign.errors import InputError, renamed
from realign.guidance.config import USUAL, GuidanceConfig
from realign.guidance.steering import Steering, load_steering
from realign.interfaces import MotionTextModel, TextToMotionModel
from realign.render.save import check_suffix
from realign.tasks.base import Task

VARIANTS = ("unguided", "guided")


class RewardGuidedSampling(Callback):
    """Samples the captions of validation and test twice from the same noise, without and with a reward's guidance.

    Logs both side by side: ``val_unguided/...`` and ``val_guided/...`` (``test_...`` in a test), each with
    ``reward_text`` (cosine of motion and caption by the reward), ``reward`` (mu R_text + eta R_motion),
    ``r1_by_reward``, ``mm_dist_by_reward`` and ``fid_by_reward`` (`GenerationMetrics` by the reward that guides), the
    same by an independent ``evaluator`` if there is one, and physical measures; and writes a rendered pair. The
    generator stays as it is: guidance is an argument of its sampling.

    Args:
        reward: Checkpoint or folder of the reward.
        index: Folder of an index that this reward made; needed where eta is not 0.
        guidance: The method and its options.
        evaluator: Checkpoint or folder of an evaluator, or of another reward or retriever, to measure with.
        batches: Batches sampled by each process at every validation; all of them when None.
        every_n_epochs: Sample after every so many training epochs.
        clips: Motions of the first batch to render in pairs; 0 renders none.
        suffix: Format of the rendered file.
        judge: Old name of `evaluator`.
    """

    def __init__(
        self,
        reward: str,
        index: str | None = None,
        guidance: GuidanceConfig = USUAL,
        evaluator: str | None = None,
        batches: int | None = None,
        every_n_epochs: int = 1,
        clips: int = 2,
        suffix: str = ".gif",
        judge: str | None = None,
    ) -> None:
        if judge is not None:
            renamed("judge of RewardGuidedSampling", "evaluator")
            evaluator = judge if evaluator is None else evaluator
        numbers = (("every_n_epochs", every_n_epochs, 1), ("clips", clips, 0))
        for name, value, least in numbers:
            if value < least:
                raise InputError(f"{name}={value} must be at least {least}.")
        check_suffix(f"motions{suffix}")
        self.reward, self.index, self.evaluator = reward, index, evaluator
        self.guidance = guidance
        self.batches, self.every_n_epochs, self.clips, self.suffix = batches, every_n_epochs, clips, suffix
        self.steering: Steering | None = None
        self._models: dict[str, MotionTextModel] = {}
        self._metrics: dict[str, SampleMetrics] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load reward, index and evaluator, once.

        Raises:
            InputError: The task is not a generator, the evaluator is the reward itself or something else, or a file is
                missing, foreign or damaged.
        """
        if not (isinstance(pl_module, Task) and isinstance(pl_module, TextToMotionModel)):
            raise InputError(
                f"RewardGuidedSampling samples a generator, but the model is a {type(pl_module).__name__}; take "
                "the callback out."
            )
        if self.steering is not None:
            return
        self.steering = load_steering(self.reward, self.index, self.guidance, trust_code=pl_module.trust_code)
        self._models = {"reward": self.steering.objective.reward}
        if self.evaluator is not None:
            self._models["evaluator"] = self._load_evaluator(self.evaluator, trainer, pl_module.trust_code)

    def _load_evaluator(self, path: str, trainer: Trainer, trust_code: bool) -> MotionTextModel:
        evaluator = load_model(path, MotionTextModel, trust_code=trust_code)  # type: ignore[type-abstract]
        if evaluator.fingerprint == self._models["reward"].fingerprint:
            raise InputError(
                f"The evaluator {path} is the reward itself, which cannot measure what it guides; give another."
            )
        data: Any = getattr(trainer, "datamodule", None)
        if hasattr(data, "caption_tokens"):
            evaluator.take_tokens(data.caption_tokens())
        return evaluator.requires_grad_(False)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise before training what validation would raise after it."""
        self._start(pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a reward that does not fit the generator, and reset the metrics."""
        self._start(pl_module)

    on_test_start = on_validation_start

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: MotionTextBatch, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Sample both variants, measure, and render at the first batch."""
        self._compare(trainer, pl_module, batch, batch_idx, dataloader_idx, "val")

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: MotionTextBatch, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Sample both variants, measure, and render at the first batch."""
        self._compare(trainer, pl_module, batch, batch_idx, dataloader_idx, "test")

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics over the samples of all processes."""
        self._log(pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics over the samples of all processes."""
        self._log(pl_module, "test")

    def _start(self, pl_module: LightningModule) -> None:
        steering, generator = self._parts(pl_module)
        generator.check_start()  # Lightning calls callbacks before the task
        steering.to(generator.device).check(generator)
        with torch.inference_mode(False):
            for model in self._models.values():
                model.to(generator.device)
        self._metrics = {
            variant: SampleMetrics(self._models, generator.skeleton).to(generator.device) for variant in VARIANTS
        }

    def _parts(self, pl_module: LightningModule) -> tuple[Steering, Any]:
        if self.steering is None or not isinstance(pl_module, TextToMotionModel):
            raise InputError("RewardGuidedSampling was not set up; run it as a callback of a trainer.")
        return self.steering, pl_module

    def _compare(
        self, trainer: Trainer, pl_module: LightningModule, batch: MotionTextBatch, batch_idx: int, loader: int,
        stage: str,
    ) -> None:  # fmt: skip
        wanted = loader == 0 and (self.batches is None or batch_idx < self.batches)
        if not wanted or not is_due(trainer, self.every_n_epochs):
            return
        steering, generator = self._parts(pl_module)
        motions = {}
        for variant in VARIANTS:
            with trainer.precision_plugin.forward_context():
                if variant == "guided":
                    motions[variant] = steering.sample(generator, batch.captions, batch.lengths, batch.seeds, batch.ids)
                else:
                    motions[variant] = generator.sample(batch.captions, batch.lengths, batch.seeds)
        target = steering.objective.target(batch.captions, batch.ids)
        for variant, motion in motions.items():
            total = steering.objective.score(motion, batch.lengths, target)
            self._metrics[variant].update(motion, batch, {"reward": total})
        if batch_idx == 0 and self.clips:
            self._render(trainer, generator, batch, motions, stage)

    def _render(
        self, trainer: Trainer, generator: Any, batch: MotionTextBatch,
        motions: dict[str, Float[Tensor, "B F C"]], stage: str,
    ) -> None:  # fmt: skip
        folder = log_folder(trainer) / "guidance"
        if trainer.is_global_zero:
            shown = {
                variant: generator.clips(each[: self.clips], batch[: self.clips], variant)
                for variant, each in motions.items()
            }
            pairs = [clip for pair in zip(*shown.values(), strict=True) for clip in pair]
            show(trainer, folder, f"{stage}/guidance", pairs, self.suffix)

    def _log(self, pl_module: LightningModule, stage: str) -> None:
        for variant, metrics in self._metrics.items():
            for name, value in metrics.compute().items():
                pl_module.log(f"{stage}_{variant}/{name}", value, batch_size=1, sync_dist=True)
