"""Exponential moving averages of trainable weights."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from realign.errors import InputError


class EMA(Callback):
    """Averages the trainable weights while training; validation, test and checkpoints take the averages.

    After an optimiser step, average <- decay * average + (1 - decay) * weight; the first update takes the weights as
    they are. Only trained floating-point parameters are averaged, in a few kernels; buffers and frozen parts are those
    of the live model. Before the first update, the live weights are used.

    A checkpoint holds the averaged weights in ``state_dict``, and the live ones, with which training continues, in
    ``current_model_state``. This is the format of Lightning's EMAWeightAveraging, whose checkpoints can be read.

    Args:
        decay: Fraction of the average that an update keeps.
        update_every_n_steps: Optimiser steps from one update to the next.
        update_starting_at_step: Optimiser step of the first update, from 0; None is 0.
    """

    def __init__(
        self, decay: float = 0.999, update_every_n_steps: int = 1, update_starting_at_step: int | None = None
    ) -> None:
        if not 0 <= decay <= 1:
            raise InputError(f"The decay of an average lies between 0 and 1, but is {decay}.")
        if update_every_n_steps < 1:
            raise InputError(f"update_every_n_steps={update_every_n_steps} must be at least 1.")
        self.decay, self.every, self.first = decay, update_every_n_steps, update_starting_at_step or 0
        self._forget()

    def _forget(self) -> None:
        self._average: dict[str, Tensor] = {}  # the live weights while the model shows the averages
        self._updates = self._latest_step = 0
        self._shown = False

    @property
    def state_key(self) -> str:
        """The key of `state_dict` in checkpoints: that of Lightning's callback, so that each reads the other's."""
        return "EMAWeightAveraging"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start each training with new averages."""
        if stage == "fit":
            self._forget()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update after an optimiser step; with accumulated gradients several batches make one."""
        step = trainer.global_step - 1
        if trainer.global_step > self._latest_step and step >= self.first and step % self.every == 0:
            self.update(pl_module)
            self._latest_step = trainer.global_step

    @torch.no_grad()
    def update(self, module: torch.nn.Module) -> None:
        """Update the averages with the weights of a model."""
        live = self._weights(module)
        known, new = ([name for name in live if (name in self._average) == old] for old in (True, False))
        if known:
            torch._foreach_lerp_(self._own(live, known), [live[name] for name in known], 1 - self.decay)
        if new:  # copies of all in one call
            self._average |= zip(new, torch._foreach_mul([live[name] for name in new], 1.0), strict=True)
        self._updates += 1

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the averages in."""
        self._show(trainer, pl_module, True)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the live weights back."""
        self._show(trainer, pl_module, False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the averages in the model."""
        self._show(trainer, pl_module, True)

    def state_dict(self) -> dict[str, Any]:
        """The optimiser step of the latest update."""
        return {"latest_update_step": self._latest_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from `state_dict`."""
        self._latest_step = state_dict["latest_update_step"]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write the averages beside the live weights."""
        if not self._average:
            return
        state, first = checkpoint["state_dict"], {id(each): name for name, each in pl_module.named_parameters()}
        held = {
            name: self._average[first[id(each)]]
            for name, each in pl_module.named_parameters(remove_duplicate=False)  # tied weights have several names
            if first[id(each)] in self._average and name in state
        }
        both = state, {**state, **held}
        checkpoint["state_dict"], checkpoint["current_model_state"] = both if self._shown else both[::-1]
        checkpoint["averaging_state"] = {"n_averaged": torch.tensor(self._updates)}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the live weights and the averages; the model holds the averages at this point."""
        live = checkpoint.get("current_model_state")
        if trainer.state.fn != "fit" or live is None:
            return
        pl_module.load_state_dict(live, strict=pl_module.strict_loading)
        self._updates = int(checkpoint.get("averaging_state", {}).get("n_averaged", 1))
        if self._updates:
            averaged = checkpoint["state_dict"]
            self._average = {name: averaged[name].clone() for name in self._weights(pl_module) if name in averaged}

    def _weights(self, module: torch.nn.Module) -> dict[str, Tensor]:
        """The weights that are averaged: those that are trained, or were."""
        return {
            name: each
            for name, each in module.named_parameters()
            if each.is_floating_point() and (each.requires_grad or name in self._average)
        }

    def _own(self, live: dict[str, Tensor], names: list[str]) -> list[Tensor]:
        """The averages on the devices of the weights: a checkpoint is read on the CPU."""
        for name in names:
            if self._average[name].device != live[name].device:
                self._average[name] = self._average[name].to(live[name].device)
        return [self._average[name] for name in names]

    @torch.no_grad()
    def _show(self, trainer: Trainer, module: LightningModule, wanted: bool) -> None:
        """Swap the averages and the live weights if the model does not hold the wanted ones."""
        if trainer.state.fn != "fit" or wanted == self._shown or not self._average:
            return
        live = self._weights(module)
        names = [name for name in live if name in self._average]
        own, weights = self._own(live, names), [live[name] for name in names]
        kept = [each.clone() for each in weights]
        torch._foreach_copy_(weights, own)
        torch._foreach_copy_(own, kept)
        self._shown = wanted
