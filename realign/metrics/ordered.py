"""Base of metrics over a whole set: rows of all processes in one order, without duplicates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from realign.errors import InputError, optional_packages

with optional_packages():
    from torchmetrics import Metric
    from torchmetrics.utilities import dim_zero_cat

_ID_BYTES = 128  # names travel between processes as rows of bytes of one width


class OrderedMetric(Metric):
    """Keeps rows of tensors by id, over batches and processes.

    Results depend neither on the batches nor on the number of processes: rows come back in the order of their ids, and
    one seen twice (a distributed sampler repeats some to fill the last batch) counts once.

    Args:
        columns: Names of the tensors that belong to a row.
    """

    is_differentiable = False
    full_state_update = False
    names: list[Tensor]

    def __init__(self, *columns: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.columns = columns
        for state in (*columns, "names"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def add_rows(self, ids: Sequence[str], **columns: Tensor) -> None:
        """Add rows.

        Args:
            ids: One name a row, at most 128 bytes.
            columns: One entry a row of each tensor; a column is given always or never.

        Raises:
            InputError: An id is too long.
        """
        device = next(iter(columns.values())).device
        self.names.append(_encode(ids).to(device))
        for name, value in columns.items():
            getattr(self, name).append(value.detach())

    def ordered_rows(self) -> tuple[list[str], dict[str, Tensor]]:
        """Ids in order, and the columns that were given in the same order."""
        data = dim_zero_cat(self.names).cpu().numpy().tobytes()
        names = [data[i : i + _ID_BYTES].rstrip(b"\0").decode() for i in range(0, len(data), _ID_BYTES)]
        first = {name: position for position, name in reversed(list(enumerate(names)))}
        ids = sorted(first)
        order = torch.tensor([first[name] for name in ids])
        kept = {name: dim_zero_cat(getattr(self, name)) for name in self.columns if len(getattr(self, name))}
        return ids, {name: value[order.to(value.device)] for name, value in kept.items()}


def _encode(names: Sequence[str]) -> UInt8[Tensor, "N S"]:
    """The names' bytes in rows of fixed width, zero-padded."""
    rows = [name.encode() for name in names]
    for name, row in zip(names, rows, strict=True):
        if len(row) > _ID_BYTES:
            raise InputError(
                f"the id {name[:40]!r}... takes {len(row)} bytes; ids of evaluated motions have at most {_ID_BYTES}"
            )
    data = np.frombuffer(b"".join(row.ljust(_ID_BYTES, b"\0") for row in rows), np.uint8)
    return torch.from_numpy(data.reshape(len(rows), _ID_BYTES).copy())
