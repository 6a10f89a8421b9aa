"""Linear systems in which a frame meets only its two neighbours on either side, in time linear in the frames."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

_BLOCK = 24  # frames eliminated at once


def solve_banded(
    bands: Sequence[Float[Tensor, "*B F K K"]], right: Float[Tensor, "*B F K C"]
) -> Float[Tensor, "*B F K C"]:
    """Solve a symmetric positive definite system by eliminating blocks of frames in turn.

    Args:
        bands: Couplings of the K unknowns of each frame with those of the same frame, the next and the one after that;
            what would meet a frame beyond the last is ignored.
        right: Right-hand sides.
    """
    *batch, frames, width, columns = right.shape
    blocks = -(-frames // _BLOCK)
    size = _BLOCK * width
    whole = right.new_zeros(*batch, blocks, _BLOCK, width, 2 * _BLOCK, width)  # each block with itself and the next
    for shift, band in enumerate(bands[:frames]):
        frame = torch.arange(frames - shift)
        block, row = frame // _BLOCK, frame % _BLOCK
        whole[..., block, row, :, row + shift, :] = band[..., : frames - shift, :, :].movedim(-3, 0)
        inside = row + shift < _BLOCK
        if shift:
            block, row = block[inside], row[inside]
            turned = band[..., : frames - shift, :, :][..., inside, :, :].mT.movedim(-3, 0)
            whole[..., block, row + shift, :, row, :] = turned
    beyond = torch.arange(frames % _BLOCK or _BLOCK, _BLOCK)
    whole[..., -1, beyond, :, beyond, :] = torch.eye(width, dtype=right.dtype)
    whole = whole.reshape(*batch, blocks, size, 2 * size)
    rows = torch.nn.functional.pad(right, (0, 0, 0, 0, 0, blocks * _BLOCK - frames)).reshape(
        *batch, blocks, size, columns
    )
    own, given, solved = whole[..., 0, :, :size], rows[..., 0, :, :], []
    met = min(len(bands) - 1, _BLOCK) * width  # unknowns of the next block that meet this one
    for number in range(blocks):
        after = whole[..., number, :, size : size + met]
        factor = torch.linalg.cholesky(own)
        found = torch.cholesky_solve(torch.cat([after, given], dim=-1), factor)
        solved.append(found.split([met, columns], dim=-1))
        if number + 1 < blocks:
            own, given = whole[..., number + 1, :, :size].clone(), rows[..., number + 1, :, :].clone()
            own[..., :met, :met] -= after.mT @ solved[-1][0]
            given[..., :met, :] -= after.mT @ solved[-1][1]
    result = [solved[-1][1]]
    for after, found in reversed(solved[:-1]):
        result.append(found - after @ result[-1][..., :met, :])
    return torch.stack(result[::-1], dim=-3).reshape(*batch, blocks * _BLOCK, width, columns)[..., :frames, :, :]
