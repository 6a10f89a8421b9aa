"""Normalisation of motion features by a mean and standard deviation stored with the model."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from realign.errors import InputError
from realign.motion.layout import feature_groups
from realign.motion.skeleton import HUMANML3D, Skeleton


def grouped_std(std: Float[Tensor, "C"], skeleton: Skeleton = HUMANML3D) -> Float[Tensor, "C"]:
    """Standard deviation averaged within each of the seven feature groups (Guo et al., CVPR 2022).

    Args:
        std: Standard deviation of each feature over all frames of a dataset.
        skeleton: Skeleton of the features.

    Raises:
        InputError: Another width.
    """
    if tuple(std.shape) != (skeleton.num_features,):
        raise InputError(
            f"a std of shape {tuple(std.shape)} does not fit {skeleton.name!r}: it needs ({skeleton.num_features},)"
        )
    grouped = torch.empty_like(std)
    for group in feature_groups(skeleton).values():
        grouped[group] = std[group].mean()
    return grouped


class Normalizer(nn.Module):
    """Subtracts the mean of features and divides by their standard deviation; both are buffers saved with the model.

    Args:
        width: Number of features C.
        eps: Minimum standard deviation, so that a feature that never changes stays finite.
    """

    mean: Tensor
    std: Tensor
    fitted: Tensor

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        if width < 1:
            raise InputError(f"a normaliser needs at least one feature, not {width}")
        if not eps > 0:
            raise InputError(f"eps must be positive, not {eps}")
        self.eps = eps
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.register_buffer("fitted", torch.tensor(False))
        self._ready = False

    @property
    def width(self) -> int:
        """Number of features C."""
        return len(self.mean)

    def fit(self, mean: Float[Tensor, "C"], std: Float[Tensor, "C"]) -> "Normalizer":
        """Set the statistics of a dataset and return the module itself.

        Args:
            mean: Mean of each feature.
            std: Standard deviation of each feature; values below eps are raised to it.

        Raises:
            InputError: Another width, NaN, infinity or a negative deviation.
        """
        for name, value in (("mean", mean), ("std", std)):
            if tuple(value.shape) != (self.width,):
                raise InputError(f"{name} has shape {tuple(value.shape)}: this model needs ({self.width},)")
            if not bool(torch.isfinite(value).all()):
                raise InputError(f"{name} holds NaN or infinite values: recompute it from clean clips")
        if bool((std < 0).any()):
            raise InputError(f"std holds the negative value {float(std.min())}: give standard deviations")
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=self.eps))
        self.fitted.fill_(True)
        self._ready = True
        return self

    def normalize(
        self, x: Float[Tensor, "*B F C"], mask: Bool[Tensor, "*B F"] | None = None
    ) -> Float[Tensor, "*B F C"]:
        """Normalise raw features.

        Args:
            x: Raw features.
            mask: True for frames that exist; other frames become zero.

        Raises:
            InputError: The normalizer is not fitted, or the width differs.
        """
        self._check(x)
        return _masked((x - self.mean) / self.std, mask)

    def denormalize(
        self, x: Float[Tensor, "*B F C"], mask: Bool[Tensor, "*B F"] | None = None
    ) -> Float[Tensor, "*B F C"]:
        """Invert `normalize`.

        Args:
            x: Normalised features.
            mask: As in `normalize`.

        Raises:
            InputError: As in `normalize`.
        """
        self._check(x)
        return _masked(x * self.std + self.mean, mask)

    def _check(self, x: Tensor) -> None:
        if not self._ready:  # read once: reading it from the device at every step would wait
            self._ready = bool(self.fitted)
        if not self._ready:
            raise InputError("the normaliser holds no statistics: call fit(mean, std) or load a trained checkpoint")
        if x.shape[-1] != self.width:
            raise InputError(f"features of width {x.shape[-1]} do not fit a normaliser of {self.width}")


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x.masked_fill(~mask[..., None], 0)
