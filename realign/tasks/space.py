"""Base of generators and rewards: captions, and noisy motions in a space."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from realign.batch import MotionTextBatch, TextFeatures
from realign.diffusion import NoisePath
from realign.errors import InputError
from realign.nn.spaces import LatentSpace, MotionSpace
from realign.tasks.base import Task
from realign.tasks.checkpoint import load_task
from realign.tasks.vae import VAETask
from realign.text.base import TextEncoder, encode_captions
from realign.text.table import FeatureTable, TextReader


class SpaceTask(Task):
    """A task whose network reads captions, and motions as tokens of a space.

    Args:
        space: The space of the motions.
        text_encoder: Frozen features of captions.
        path: The noise trained with.
        optimizer: Makes the optimiser from the trainable parameters; AdamW at 1e-4 when None.
        lr_scheduler: Makes a learning-rate schedule counted in steps; a constant rate when None.
        skeleton: Name of the skeleton; taken from the data when None.
    """

    def __init__(
        self,
        space: MotionSpace,
        text_encoder: TextEncoder,
        path: NoisePath,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        skeleton: str | None = None,
    ) -> None:
        super().__init__(space.features, optimizer, lr_scheduler, skeleton)
        self.space, self.text_encoder, self.path = space, text_encoder, path
        self._tables: dict[str, FeatureTable] = {}
        self._empty: dict[str, TextFeatures] = {}
        self._has_state = False
        self._fault: InputError | None = None
        self.register_load_state_dict_post_hook(_note_state)

    def text_readers(self) -> list[TextReader]:
        """The text encoders whose features training may read from files, and what is read of each; none by default."""
        return []

    def setup(self, stage: str) -> None:
        """As `Task.setup`; where training reads the set's captions from files, too.

        What measures reads them from the encoder, in float32.
        """
        super().setup(stage)
        data = self._data()
        self._tables, self._empty = {}, {}
        if hasattr(data, "read_text"):
            self._tables = data.read_text(self.text_readers() if stage == "fit" else [])

    def prepare(self, stage: str) -> None:
        """Load the checkpoints named by options, unless a whole checkpoint is restored.

        Lightning restores a checkpoint after this without announcing it, so that errors are raised later, if none was
        restored.
        """
        self._fault = None
        try:
            if not self._has_state:
                self.start(stage)
        except InputError as fault:
            self._fault = fault

    def start(self, stage: str) -> None:
        """Load the space's autoencoder when a new training starts.

        Raises:
            InputError: Its file is missing or does not fit.
        """
        if stage == "fit" and self.space.checkpoint and not self.space.ready:
            trained: Task = load_task(self.space.checkpoint, trust_code=self.trust_code)
            if isinstance(trained, VAETask):
                self.space.load_vae(trained.vae, trained.latent_mean, trained.latent_std)
            elif isinstance(trained, SpaceTask) and isinstance(trained.space, LatentSpace):
                self.space.load_vae(trained.space.vae, trained.space.mean, trained.space.std)
            else:
                raise InputError(
                    f"{self.space.checkpoint} holds a {type(trained).__name__} without an autoencoder; give the "
                    "checkpoint of an autoencoder, or of a generator or reward in latents."
                )
            self.normalizer.load_state_dict(trained.normalizer.state_dict())
            self.forget_checkpoints()

    def check_start(self) -> None:
        """Raise the error of `setup` if no checkpoint was restored.

        Raises:
            InputError: As raised in `setup`.
        """
        if self._has_state:
            self.forget_checkpoints()
        elif self._fault is not None:
            raise self._fault

    def on_validation_start(self) -> None:
        """Raise the error of `setup` if no checkpoint was restored."""
        self.check_start()

    on_test_start = on_predict_start = on_validation_start

    def forget_checkpoints(self) -> None:
        """Remove the paths, since the weights are now part of this task's checkpoints."""
        options = copy.deepcopy(self.hparams.get("space"))
        if isinstance(options, dict) and "checkpoint" in options.get("init_args", {}):
            options["init_args"]["checkpoint"] = None
            self.hparams["space"] = options

    def on_fit_start(self) -> None:
        """Refuse to train without the weights to start from, or in a space without weights.

        Raises:
            InputError: As said, or as `Task.on_fit_start`.
        """
        self.check_start()
        if not self.space.ready:
            raise InputError(
                f"{type(self.space).__name__} has no trained autoencoder; set its option checkpoint to a trained one."
            )
        super().on_fit_start()

    def encode_text(self, captions: Sequence[str]) -> TextFeatures:
        """Features of captions on the task's device; each different caption is encoded once."""
        found = self._look_up(self.text_encoder, captions)
        return encode_captions(self.text_encoder, captions).to(self.device) if found is None else found

    def read_text(self, batch: MotionTextBatch, empty: bool = False) -> TextFeatures:
        """Features of the captions of a batch on the task's device, from those that the loader has read.

        Args:
            batch: Captions, and their features where there are files of them.
            empty: Add those of the empty caption, behind them.
        """
        features = self._read(self.text_encoder, batch)
        if features is None:
            return self.encode_text([*batch.captions, ""] if empty else batch.captions)
        return TextFeatures.cat([features, self._read_empty()]) if empty else features

    def _read(self, encoder: TextEncoder, batch: MotionTextBatch) -> TextFeatures | None:
        """Features that came with a batch, unless its captions were changed on the way."""
        found = batch.text.get(encoder.fingerprint)
        return None if found is None or found.captions != batch.captions else found.to(self.device).features()

    def _read_empty(self) -> TextFeatures:
        """Features of the empty caption, which stay on the device."""
        name = self.text_encoder.fingerprint
        if name not in self._empty or self._empty[name].pooled.device != self.device:
            self._empty[name] = self.encode_text([""])
        return self._empty[name]

    def _look_up(self, encoder: TextEncoder, captions: Sequence[str]) -> TextFeatures | None:
        """Features from the set's files, while there are any and all of the captions are in them."""
        table = self._tables.get(encoder.fingerprint) if self._tables else None
        numbers = None if table is None else table.find(captions)
        if table is None or numbers is None:
            return None
        return table.read(numbers, list(captions)).to(self.device).features()

    @torch.no_grad()
    def clean_tokens(self, batch: MotionTextBatch) -> tuple[Float[Tensor, "B N W"], Bool[Tensor, "B N"]]:
        """A batch's motions as tokens of the space in float32, and which of them exist."""
        x, tokens = self.space.encode(*self.normalize(batch))
        return x.float(), tokens


def _note_state(task: SpaceTask, incompatible: Any) -> None:
    """Note that a whole state was loaded into a task."""
    task._has_state = task._has_state or not incompatible.missing_keys
