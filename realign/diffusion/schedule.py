"""Noise schedules of variance-preserving diffusers schedulers."""

import hashlib
import inspect
import json
from abc import ABC
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from realign.errors import InputError

Scheduler = Any
"""A diffusers scheduler. The classes have no common type for this, and take seconds to import."""


class DiffusersScheduler(ABC):  # noqa: B024
    """Any diffusers scheduler, recognised by its methods, so that diffusers need not be imported."""

    @classmethod
    def __subclasshook__(cls, other: type) -> bool:
        """Whether a class has the methods of schedulers."""
        return cls is DiffusersScheduler and all(
            hasattr(other, name) for name in ("step", "set_timesteps", "add_noise")
        )


PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")

_HOMES = {
    "ddim": ("diffusers.schedulers.scheduling_ddim", "DDIMScheduler"),
    "ddpm": ("diffusers.schedulers.scheduling_ddpm", "DDPMScheduler"),
    "dpm": ("diffusers.schedulers.scheduling_dpmsolver_multistep", "DPMSolverMultistepScheduler"),
    "unipc": ("diffusers.schedulers.scheduling_unipc_multistep", "UniPCMultistepScheduler"),
}
SCHEDULER_NAMES = tuple(_HOMES)


def check_scheduler(scheduler: Scheduler) -> None:
    """Refuse a scheduler that is not variance preserving or alters predictions.

    Raises:
        InputError: The scheduler is not variance preserving (x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps), or alters
            the predicted clean sample, or needs a model that predicts variances.
    """
    name = type(scheduler).__name__
    config = getattr(scheduler, "config", {})
    remedy = f"choose one of {', '.join(home for _, home in _HOMES.values())}"
    flow = config.get("use_flow_sigmas") or config.get("prediction_type") == "flow_prediction"
    if flow or not hasattr(scheduler, "alphas_cumprod") or float(scheduler.init_noise_sigma) != 1.0:
        raise InputError(f"{name} is not variance preserving (it scales the model's input); {remedy}.")
    kind = config.get("prediction_type")
    if kind not in PREDICTION_TYPES:
        raise InputError(f"{name} has prediction_type {kind!r}; set one of {', '.join(PREDICTION_TYPES)}.")
    for option in ("clip_sample", "thresholding"):
        if config.get(option):
            raise InputError(f"{name} has {option}=True, which clips motions; set {option}: false.")
    if str(config.get("variance_type")).startswith("learned"):
        raise InputError(f"{name} has variance_type {config['variance_type']!r}, which no model here has; unset it.")
    if kind == "epsilon" and config.get("rescale_betas_zero_snr"):
        raise InputError(
            f"{name} starts from zero signal, where epsilon holds no information; use v_prediction or sample."
        )


def noise_levels(scheduler: Scheduler) -> Float[Tensor, "S"]:
    """abar before each sampling step, then after the last: S is one more than the steps set on the scheduler."""
    steps = scheduler.timesteps.cpu().long()
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is not None and len(sigmas) == len(steps) + 1:  # Karras and like spacings leave the training grid
        return 1 / (1 + sigmas.cpu().float() ** 2)
    last = torch.as_tensor(getattr(scheduler, "final_alpha_cumprod", 1.0)).reshape(1)
    return torch.cat([scheduler.alphas_cumprod.cpu()[steps], last.cpu()]).float()


def with_scheduler(training: Scheduler, name: str, **options: Any) -> Scheduler:
    """The sampling scheduler of a name, over the betas and prediction type of the scheduler trained with.

    Timesteps have the spacing "trailing", from the last one trained with. With other spacings some schedulers start
    earlier, where samples are not pure noise, which biases the mean.

    Args:
        training: The scheduler that the generator was trained with.
        name: ``ddim``, ``ddpm``, ``dpm`` (DPM-Solver++) or ``unipc``.
        options: Further constructor arguments of the sampling scheduler.

    Raises:
        InputError: The name is unknown.
    """
    if name not in _HOMES:
        known = ", ".join([*SCHEDULER_NAMES, "ancestral"])
        raise InputError(f"{name!r} cannot sample a diffusion; choose one of {known} or lcm.")
    module, cls = _HOMES[name]
    kind = getattr(import_module(module), cls)
    if name in ("ddim", "ddpm"):
        options = {"clip_sample": False, **options}  # diffusers clips to [-1, 1] unless told not to
    # not diffusers' from_config, which imports every scheduler there is, and forgets values passed by position
    taken = inspect.signature(kind.__init__).parameters
    config = {key: value for key, value in training.config.items() if key in taken and key != "clip_sample"}
    return kind(**{**config, "timestep_spacing": "trailing", **options})


def schedule_fingerprint(scheduler: Scheduler) -> str:
    """Readable name of the noise: equal for schedulers with the same x_t at every timestep.

    The prediction type is not part of it, since a reward only reads x_t.
    """
    config = scheduler.config
    parts = ["vp", str(config.num_train_timesteps)]
    betas = config.get("trained_betas")
    if betas is not None:
        parts.append(hashlib.sha256(json.dumps([float(f"{beta:.6g}") for beta in betas]).encode()).hexdigest()[:12])
    else:
        family = config.get("beta_schedule", "squaredcos_cap_v2")
        parts.append(family)
        if family not in ("squaredcos_cap_v2", "laplace"):  # these beta schedules have no end points
            parts += [f"{config.beta_start:.6g}", f"{config.beta_end:.6g}"]
    if config.get("rescale_betas_zero_snr"):
        parts.append("zero_snr")
    return "-".join(parts)
