"""Losses over matched embeddings, as components of tasks."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from realign.errors import InputError
from realign.losses.contrastive import info_nce
from realign.precision import widest


class PairLoss(nn.Module, ABC):
    """A loss that is low for near matched rows and distant others."""

    @abstractmethod
    def forward(
        self, text: Float[Tensor, "B E"], motion: Float[Tensor, "B E"], excluded: Bool[Tensor, "B B"]
    ) -> Float[Tensor, ""]:
        """The loss of a batch.

        Args:
            text: Embeddings of captions.
            motion: Embeddings of their motions.
            excluded: Pairs that are not negatives; see `near_duplicates`.
        """


class InfoNCE(PairLoss):
    """`info_nce`: for embeddings of one norm.

    Args:
        temperature: Divides the cosines.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        if temperature <= 0:
            raise InputError(f"temperature={temperature} must be positive.")
        self.temperature = temperature

    def forward(
        self, text: Float[Tensor, "B E"], motion: Float[Tensor, "B E"], excluded: Bool[Tensor, "B B"]
    ) -> Float[Tensor, ""]:
        """The loss of a batch; arguments as in `PairLoss`."""
        return info_nce(text, motion, excluded, self.temperature)


class MarginContrast(PairLoss):
    """Squared distance of matched pairs, squared lack of a margin of others (Guo et al., CVPR 2022, section 4.4).

    With d the Euclidean distance: the mean of d^2 over matched pairs plus the mean of max(0, margin - d)^2 over all
    mismatched pairs of the batch, where the paper draws one mismatched caption per motion.

    Args:
        margin: Distance beyond which a mismatched pair costs nothing.
    """

    def __init__(self, margin: float = 10.0) -> None:
        super().__init__()
        if margin <= 0:
            raise InputError(f"margin={margin} must be positive.")
        self.margin = margin

    def forward(
        self, text: Float[Tensor, "B E"], motion: Float[Tensor, "B E"], excluded: Bool[Tensor, "B B"]
    ) -> Float[Tensor, ""]:
        """The loss of a batch; arguments as in `PairLoss`."""
        matched = (text - motion).square().sum(-1).mean()
        wrong = ~(excluded | torch.eye(len(text), dtype=torch.bool, device=text.device))
        # the small summand keeps the root's gradient finite for equal embeddings
        distance = (_squared_distances(text, motion) + 1e-12).sqrt()
        lack = F.relu(self.margin - distance).square().masked_fill(~wrong, 0)
        return matched + (lack.sum() / wrong.sum().clamp(min=1)).to(matched.dtype)


def _squared_distances(x: Float[Tensor, "B E"], y: Float[Tensor, "B E"]) -> Float[Tensor, "B B"]:
    """|x|^2 + |y|^2 - 2 x.y in the widest type of the device, without the B x B x E differences.

    Cancellation loses digits for near rows. float64 keeps enough of them, the more the smaller the rows are, so that
    the common mean is subtracted first, which does not change distances.
    """
    with torch.autocast(x.device.type, enabled=False):
        x, y = (each.to(widest(each.device)) for each in (x, y))
        mean = y.detach().mean(0)
        x, y = x - mean, y - mean
        squared = x.square().sum(-1)[:, None] + y.square().sum(-1)[None] - 2 * (x @ y.T)
        return squared.clamp(min=0)
