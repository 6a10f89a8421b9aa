import math

import pytest
import torch

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


def test_info_nce_as_a_part_is_the_function():
    text, motion = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    excluded = near_duplicates(torch.tensor([0, 1, 0, 2, 1]))
    assert torch.equal(InfoNCE(0.3)(text, motion, excluded), info_nce(text, motion, excluded, 0.3))


def test_numbers_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="margin=0"):
        MarginContrast(0.0)
    with pytest.raises(InputError, match="temperature=-1"):
        InfoNCE(-1.0)
