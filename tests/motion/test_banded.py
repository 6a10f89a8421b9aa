import pytest
import torch

from realign.motion.banded import solve_banded


@pytest.mark.parametrize("frames", [1, 2, 24, 53])
def test_a_banded_system_is_solved_as_the_whole_matrix_is(frames):
    width, generator = 3, torch.Generator().manual_seed(frames)
    bands = [torch.rand(2, frames, width, width, dtype=torch.float64, generator=generator) for _ in range(3)]
    bands[0] = bands[0] + bands[0].mT + 20 * torch.eye(width)
    right = torch.rand(2, frames, width, 4, dtype=torch.float64, generator=generator)
    whole = torch.zeros(2, frames, width, frames, width, dtype=torch.float64)
    for frame in range(frames):
        for shift in range(min(3, frames - frame)):
            whole[:, frame, :, frame + shift] = bands[shift][:, frame]
            whole[:, frame + shift, :, frame] = bands[shift][:, frame].mT
    size = frames * width
    expected = torch.linalg.solve(whole.reshape(2, size, size), right.reshape(2, size, 4))
    torch.testing.assert_close(solve_banded(bands, right), expected.reshape(right.shape), rtol=0, atol=1e-12)
