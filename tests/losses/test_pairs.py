import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from realign.errors import InputError
from realign.losses import InfoNCE, MarginContrast
from realign.losses.contrastive import info_nce, near_duplicates


def test_the_margin_loss_agrees_with_plain_loops():
    generator = torch.Generator().manual_seed(0)
    text, motion = 3 * torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    excluded = near_duplicates(torch.tensor([0, 1, 0, 2, 1, 3]))
    matched, wrong = [], []
    for i in range(6):
        for j in range(6):
            distance = math.dist(text[i].tolist(), motion[j].tolist())
            if i == j:
                matched.append(distance**2)
            elif not excluded[i, j]:
                wrong.append(max(0.0, 5 - distance) ** 2)
    assert any(wrong) and not all(wrong)
    expected = sum(matched) / len(matched) + sum(wrong) / len(wrong)
    assert math.isclose(float(MarginContrast(5.0)(text, motion, excluded)), expected, rel_tol=1e-9)


def test_the_margin_loss_has_a_gradient_where_everything_agrees():
    text = torch.ones(3, 4, requires_grad=True)
    loss = MarginContrast(10.0)(text, torch.ones(3, 4), torch.zeros(3, 3, dtype=torch.bool))
    loss.backward()
    assert math.isclose(float(loss.detach()), 100, rel_tol=1e-4) and text.grad is not None
    assert torch.isfinite(text.grad).all()
    alone = MarginContrast()(text[:1].detach(), torch.ones(1, 4), torch.zeros(1, 1, dtype=torch.bool))
    assert float(alone) == 0


def plain(text, motion, excluded, margin):
    """The formula as it is written, with all differences at once."""
    wrong = ~(excluded | torch.eye(len(text), dtype=torch.bool))
    distance = ((text[:, None] - motion[None]).square().sum(-1) + 1e-12).sqrt()
    lack = (margin - distance).relu().square().masked_fill(~wrong, 0)
    return (text - motion).square().sum(-1).mean() + lack.sum() / wrong.sum().clamp(min=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.1, 0.0), (1.0, 30.0)])
def test_values_and_gradients_of_the_margin_loss_are_those_of_the_plain_formula(dtype, scale, shift):
    generator = torch.Generator().manual_seed(0)
    text, motion = scale * torch.randn(2, 24, 16, generator=generator) + shift
    motion[3], motion[5] = text[4], text[7]  # mismatched and equal
    motion[6] = text[8] + 1e-3 * scale
    excluded = near_duplicates(torch.arange(24) // 2)
    pairs = [[each.to(kind, copy=True).requires_grad_() for each in (text, motion)] for kind in (dtype, torch.float64)]
    value, expected = MarginContrast(9.0)(*pairs[0], excluded), plain(*pairs[1], excluded, 9.0)
    assert value.dtype == dtype and math.isclose(value.item(), expected.item(), rel_tol=1e-5)
    value.backward(), expected.backward()
    for own, other in zip(*pairs, strict=True):
        torch.testing.assert_close(own.grad.double(), other.grad, atol=1e-5, rtol=1e-5)


def test_the_margin_loss_does_not_allocate_all_differences():
    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for each in tree_flatten(out)[0]:
                self.numbers = max(self.numbers, each.numel() if isinstance(each, torch.Tensor) else 0)
            return out

    count, width = 48, 20
    text, motion = (torch.randn(count, width, requires_grad=True) for _ in range(2))
    with Largest() as largest:
        MarginContrast()(text, motion, torch.zeros(count, count, dtype=torch.bool)).backward()
    assert largest.numbers <= count * max(count, width)


def test_info_nce_as_a_part_is_the_function():
    text, motion = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    excluded = near_duplicates(torch.tensor([0, 1, 0, 2, 1]))
    assert torch.equal(InfoNCE(0.3)(text, motion, excluded), info_nce(text, motion, excluded, 0.3))


def test_bad_numbers_are_refused():
    with pytest.raises(InputError, match="margin=0"):
        MarginContrast(0.0)
    with pytest.raises(InputError, match="temperature=-1"):
        InfoNCE(-1.0)
