"""Base of the training tasks: normalisation, optimiser, randomness and checkpoints."""

import inspect
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from lightning import LightningModule
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from realign.batch import MotionTextBatch
from realign.checkpoint.admission import admit
from realign.checkpoint.rebuild import rebuild
from realign.checkpoint.saved import Saved, fill, read_saved
from realign.errors import InputError
from realign.losses.geometric import GeometricLoss
from realign.motion.clip import MotionClip
from realign.motion.features import features_to_joints
from realign.motion.normalizer import Normalizer
from realign.motion.skeleton import get_skeleton
from realign.seeding import mix_seed, text_numbers
from realign.tasks.optim import fuse
from realign.tasks.resume import begin_next_epoch
from realign.transfer import upload
from realign.weight_names import with_current_names


def default_optimizer(parameters: Any) -> torch.optim.Optimizer:
    """AdamW at 1e-4, without weight decay."""
    return torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.0)


class Task(LightningModule, ABC):
    """A LightningModule made of injected components, with the normalisation of its motions.

    Args:
        features: Channels C of the motion features.
        optimizer: Makes the optimiser from the trainable parameters; AdamW at 1e-4 when None.
        lr_scheduler: Makes a learning-rate schedule counted in steps; a constant rate when None.
        skeleton: Name of the skeleton; taken from the data when None.

    Attributes:
        trust_code: Whether checkpoints that it or its callbacks load may name classes outside realign.
        exported: Weights to validate, test or predict with, where they are not of a Lightning checkpoint.
    """

    def __init__(
        self,
        features: int,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        skeleton: str | None = None,
    ) -> None:
        super().__init__()
        self._optimizer, self._lr_scheduler = optimizer or default_optimizer, lr_scheduler
        self._skeleton = skeleton
        self._plain: Mapping[str, str] = {}
        self.trust_code = False
        self.exported: Saved | None = None
        self.normalizer = Normalizer(features)

    @abstractmethod
    def losses(self, batch: MotionTextBatch, purpose: str) -> dict[str, Float[Tensor, ""]]:
        """Losses of a batch; the one called ``loss`` is minimised.

        Args:
            batch: Motions and captions.
            purpose: Separates the random draws of training and validation.
        """

    @property
    def skeleton(self) -> str:
        """Name of the skeleton of the motions.

        Raises:
            InputError: Neither the configuration nor any data has set it.
        """
        if self._skeleton is None:
            raise InputError("The skeleton of this task is unknown; set its option skeleton to humanml3d or kit.")
        return self._skeleton

    def caption_labels(self, captions: Sequence[str]) -> Int[Tensor, "B"]:
        """One number for every caption, equal for captions that are identical or, by the data, mean the same."""
        numbers = text_numbers([self._plain.get(caption, caption) for caption in captions])
        return upload(numbers, self.device)

    def normalize(self, batch: MotionTextBatch) -> tuple[Float[Tensor, "B F C"], Bool[Tensor, "B F"]]:
        """Normalised motion, zero at padding, and the mask of frames."""
        mask = batch.mask
        return self.normalizer.normalize(batch.motion, mask), mask

    def joints(self, motion: Float[Tensor, "B F C"], mask: Bool[Tensor, "B F"]) -> Float[Tensor, "B F J 3"]:
        """Joint positions in metres of normalised motions."""
        skeleton = get_skeleton(self.skeleton)
        with torch.autocast(motion.device.type, enabled=False):  # positions are sums over frames: float32
            return features_to_joints(self.normalizer.denormalize(motion.float(), mask), skeleton) * skeleton.metres

    def geometric_losses(
        self,
        geometric: GeometricLoss,
        made: Float[Tensor, "B F J 3"],
        real: Float[Tensor, "B F J 3"],
        mask: Bool[Tensor, "B F"],
        weight: Float[Tensor, "B 1 1"] | float = 1.0,
    ) -> dict[str, Float[Tensor, ""]]:
        """Geometric losses of joint positions in metres, on the task's skeleton; arguments as in `GeometricLoss`."""
        skeleton = get_skeleton(self.skeleton)
        return geometric(made, real, mask, skeleton.parents, skeleton.feet, skeleton.fps, weight)

    def setup(self, stage: str) -> None:
        """Take statistics and skeleton from the data if the task has none."""
        precision = str(self.trainer.precision)
        if precision.endswith("-true") and precision != "32-true":
            raise InputError(
                f"Precision {precision} does not work: positions and losses need float32; use bf16-mixed or 16-mixed."
            )
        warnings.filterwarnings("ignore", ".*in eval mode at the start of training")  # frozen parts are
        data = self._data()
        if data is not None:
            if self._skeleton is None:
                self._skeleton = data.skeleton
            if not bool(self.normalizer.fitted):
                self._check_width(data.statistics[0])
                self.normalizer.fit(*data.statistics)
            if hasattr(data, "plain_captions"):
                self._plain = data.plain_captions() if getattr(data, "exclude_same_first_caption", True) else {}
        self.hparams["skeleton"] = self._skeleton  # saved in checkpoints
        self.prepare(stage)
        if self.exported is not None:
            checkpoint = {"state_dict": self.exported.state, "hyper_parameters": self.exported.config["init_args"]}
            self.on_load_checkpoint(checkpoint)
            self.load_state_dict(checkpoint["state_dict"])
        for callback in self.trainer.callbacks if stage == "fit" else ():  # type: ignore[attr-defined]
            if isinstance(callback, WeightAveraging):  # Lightning's callback copied this module before it was filled
                callback.setup(self.trainer, self, stage)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights that do not fit the configuration or the data, and end an epoch that was complete.

        Raises:
            InputError: As said, with the first of the weights.
        """
        if not isinstance(checkpoint.get("state_dict"), dict):
            raise InputError("The checkpoint holds no weights of a task; give one that `realign fit` wrote.")
        for part in ("state_dict", "current_model_state"):  # the second beside averaged weights
            if isinstance(checkpoint.get(part), dict):
                checkpoint[part] = with_current_names(checkpoint[part], self)
        begin_next_epoch(checkpoint)
        skeleton = (checkpoint.get("hyper_parameters") or {}).get("skeleton")
        if None not in (skeleton, self._skeleton) and skeleton != self._skeleton:
            raise InputError(
                f"The checkpoint is for the skeleton {skeleton!r}, but the data show {self._skeleton!r}; take "
                "data of its skeleton."
            )
        own, saved = ({name: tuple(value.shape) for name, value in each.items()} for each in
                      (self.state_dict(), checkpoint["state_dict"]))  # fmt: skip
        wrong = sorted(name for name in own.keys() | saved.keys() if own.get(name) != saved.get(name))
        if wrong:
            raise InputError(
                f"The checkpoint does not fit the configured {type(self).__name__}: {len(wrong)} weights differ, such "
                f"as {wrong[0]}; give the options that it was trained with."
            )

    def prepare(self, stage: str) -> None:
        """Load the parts of a task before training; nothing by default."""

    def check_start(self) -> None:
        """Raise if parts are missing that `prepare` should have loaded; nothing by default."""
        return None

    def on_fit_start(self) -> None:
        """Refuse data with another normalisation or skeleton than this task's.

        Raises:
            InputError: As said.
        """
        data = self._data()
        if data is None:
            return
        if data.skeleton != self.skeleton:
            raise InputError(f"The task is for the skeleton {self.skeleton!r}, but the data show {data.skeleton!r}.")
        mean, std = (each.to(self.device) for each in data.statistics)
        self._check_width(mean)
        own = self.normalizer
        if not (torch.allclose(own.mean, mean, 1e-3, 1e-4) and torch.allclose(own.std, std, 1e-3, 1e-4)):
            raise InputError(
                "The data's Mean and Std differ from those the weights were trained with; prepare the data with the "
                "same Mean.npy and Std.npy, or train from scratch."
            )

    def _check_width(self, mean: Tensor) -> None:
        if mean.shape != self.normalizer.mean.shape:
            raise InputError(
                f"The data have {len(mean)} features a frame, but the task expects {len(self.normalizer.mean)}; "
                "set its features to the data's."
            )

    def _data(self) -> Any:
        data = getattr(self.trainer, "datamodule", None)
        return data if hasattr(data, "statistics") and hasattr(data, "skeleton") else None

    def on_train_batch_start(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Seed dropout by the samples of the batch, so that a resumed run equals an unbroken one."""
        torch.manual_seed(mix_seed("dropout", *batch.seeds.tolist()))

    def training_step(self, batch: MotionTextBatch, batch_idx: int) -> Float[Tensor, ""]:
        """Loss of a batch, logged."""
        return self._log_losses("train", batch)

    def validation_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Log the losses, the same at every validation: all draws come from the batch's seeds."""
        self._log_losses("val", batch)

    def test_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Log the losses."""
        self._log_losses("test", batch)

    def _log_losses(self, stage: str, batch: MotionTextBatch) -> Tensor:
        losses, training = self.losses(batch, stage), stage == "train"
        # The progress bar reads what it shows at every step; `RunTrainer` gives it the loss as the loggers read it.
        shown_at_once = not training or self.device.type == "cpu"
        # Lightning averages the batch sizes of the processes and rounds down: times their number, nothing is rounded
        size = len(batch) * self.trainer.world_size
        for name, value in losses.items():
            shown = name == "loss" and shown_at_once
            self.log(f"{stage}/{name}", value.detach(), prog_bar=shown, batch_size=size, sync_dist=not training)
        return losses["loss"]

    def preview(self, batch: MotionTextBatch) -> list[MotionClip]:
        """Motions for a preview: recorded ones and, in subclasses, those that the task makes."""
        return self.clips(batch.motion, batch, "recorded")

    def clips(self, motion: Float[Tensor, "B F C"], batch: MotionTextBatch, kind: str) -> list[MotionClip]:
        """Motion features, not normalised, as clips whose caption starts with their `kind`."""
        skeleton = get_skeleton(self.skeleton)
        joints = features_to_joints(motion.detach().float().cpu(), skeleton).numpy()
        return [
            MotionClip(each[:length], skeleton.fps, f"{kind}: {caption}", skeleton.name)
            for each, length, caption in zip(joints, batch.lengths.tolist(), batch.captions, strict=True)
        ]

    def configure_optimizers(self) -> Any:
        """The injected optimiser of the trainable parameters, with its schedule at every step."""
        optimizer = fuse(self._optimizer([parameter for parameter in self.parameters() if parameter.requires_grad]))
        if self._lr_scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self._lr_scheduler(optimizer), "interval": "step"},
        }

    def on_train_start(self) -> None:
        """Set the number of steps of schedules that have none.

        Not earlier, since this number needs the loaders, and Lightning would not restore their place in a resumed
        epoch.

        Raises:
            InputError: The run has no end, or its data no length.
        """
        for each in self.trainer.lr_scheduler_configs:
            scheduler: Any = each.scheduler
            if getattr(scheduler, "total_steps", 0) is None:
                steps = self.trainer.estimated_stepping_batches
                if not 0 < steps < math.inf:
                    raise InputError(
                        f"{type(scheduler).__name__} has no total_steps, and the run's own number is unknown; set one "
                        "of total_steps and --trainer.max_steps."
                    )
                scheduler.total_steps = steps

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *, trust_code: bool = False) -> Any:  # type: ignore[override]
        """`load_task` under Lightning's name; Lightning's own method would import every class that the file names."""
        saved = read_saved(checkpoint_path, trust_code)
        saved = saved._replace(config=admit(saved.config, saved.path, trust_code))
        task = rebuild(saved, Task, cls)
        task.hparams.update({"_class_path": saved.config["class_path"], **saved.config["init_args"]})
        fill(task, saved)
        task.trust_code = trust_code
        return task.eval()

    def remember_options(self) -> None:
        """Keep the configuration that LightningCLI built this task from; a task built in Python has none.

        Objects must not be saved in the checkpoint, since reading them would execute pickled code.
        """
        frame = inspect.currentframe()
        while frame is not None and frame.f_back is not None:  # the outermost frame is not a constructor's
            frame = frame.f_back
        self.save_hyperparameters(frame=frame, logger=False)
