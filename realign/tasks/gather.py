"""Differentiable gathering of rows from all processes, for losses over the global batch."""

from functools import lru_cache
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
    count, group = torch.tensor([len(tensors[0])]), _host_group(distributed.group.WORLD)
    counts = [torch.zeros_like(count) for _ in range(distributed.get_world_size())]
    distributed.all_gather(counts, count, group=group)
    sizes = [int(each) for each in counts]
    return tuple(_GatherRows.apply(tensor, sizes) for tensor in tensors)


@lru_cache(maxsize=1)
def _host_group(world: Any) -> Any:
    """All processes, by messages between their hosts: what they tell each other there waits for no device."""
    return world if distributed.get_backend(world) == "gloo" else distributed.new_group(backend="gloo")


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
