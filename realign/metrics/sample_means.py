"""Means of numbers that belong to samples, over batches and processes."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from realign.errors import optional_packages
from realign.precision import widest
from realign.seeding import text_numbers

with optional_packages():
    from torchmetrics import Metric
    from torchmetrics.utilities import dim_zero_cat


class SampleMeans(Metric):
    """Mean of every value over all samples; one seen twice (a distributed sampler repeats some) counts once.

    Args:
        names: Names of the values.
    """

    is_differentiable = False
    full_state_update = False
    values: list[Tensor]
    keys: list[Tensor]

    def __init__(self, names: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.names = list(names)
        for state in ("values", "keys"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, ids: Sequence[str], values: dict[str, Float[Tensor, "B"]]) -> None:
        """Add samples.

        Args:
            ids: One name a sample.
            values: One number a sample under each of the names.
        """
        columns = torch.stack([values[name].detach() for name in self.names], 1)
        columns = columns.to(widest(columns.device))
        self.values.append(columns)
        self.keys.append(text_numbers(ids).to(columns.device))

    def compute(self) -> dict[str, Tensor]:
        """The means by name."""
        keys, values = dim_zero_cat(self.keys).tolist(), dim_zero_cat(self.values)
        rows = list({key: row for row, key in enumerate(keys)}.values())
        return dict(zip(self.names, values[rows].mean(0).float(), strict=True))
