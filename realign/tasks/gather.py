"""Differentiable gathering of rows from all processes, for losses over the global batch."""

from typing import Any

import torch
from torch import Tensor, distributed


def gather_rows(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Concatenate the rows of all processes along the batch, in the order of ranks.

    Every process must then compute the same mean over all rows, so that its gradient needs no second exchange. The
    gradient is scaled by the number of processes, because DistributedDataParallel averages over them: parameters get
    the gradient of one process with the whole batch.

    Args:
        tensors: Tensors with the same number of rows; that number may differ between processes.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return tensors
    count = torch.tensor([len(tensors[0])], device=tensors[0].device)
    counts = [torch.zeros_like(count) for _ in range(distributed.get_world_size())]
    distributed.all_gather(counts, count)
    sizes = [int(each) for each in counts]
    return tuple(_GatherRows.apply(tensor, sizes) for tensor in tensors)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        padded = torch.cat([x, x.new_zeros(max(sizes) - len(x), *x.shape[1:])]).contiguous()
        parts = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        rank = distributed.get_rank()
        start = sum(ctx.sizes[:rank])
        return grads[0][start : start + ctx.sizes[rank]] * len(ctx.sizes), None
