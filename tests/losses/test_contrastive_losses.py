import math

import torch
from torch.nn.functional import normalize

from realign.losses.contrastive import hard_negative_loss, info_nce, near_duplicates
from realign.losses.representation import gaussian_kl, joint_kl


def test_near_duplicates_are_equal_captions_or_close_features_but_never_the_pair_itself():
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [0.0, -1.0]])
    labels = torch.tensor([1, 2, 3, 2])
    found = near_duplicates(labels, features, threshold=0.8)
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[0, 2] = expected[2, 0] = True  # cosine .994
    expected[1, 3] = expected[3, 1] = True  # the same caption, for any features
    assert torch.equal(found, expected)
    expected[0, 2] = expected[2, 0] = False
    assert torch.equal(near_duplicates(labels), expected)


def test_info_nce_of_orthogonal_pairs_has_a_closed_form():
    size, temperature = 5, 0.1
    loss = info_nce(3 * torch.eye(size), 2 * torch.eye(size), temperature=temperature)
    expected = -math.log(math.exp(1 / temperature) / (math.exp(1 / temperature) + size - 1))
    assert math.isclose(float(loss), expected, rel_tol=1e-3)


def test_contrasts_are_computed_in_float32_under_autocast():
    text, motion = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0))
    for loss in (info_nce, hard_negative_loss, lambda a, b: near_duplicates(torch.arange(16), a, 0.2).float().sum()):
        plain = loss(text, motion)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(loss(text, motion), plain)


def test_masked_negatives_are_in_no_denominator():
    generator = torch.Generator().manual_seed(0)
    text, motion = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    excluded = near_duplicates(torch.tensor([0, 1, 0, 2, 1, 0]))
    scores = (normalize(text, dim=-1) @ normalize(motion, dim=-1).T / 0.1).exp()
    total = 0.0
    for table in (scores, scores.T):
        for row in range(6):
            kept = [column for column in range(6) if not excluded[row, column]]
            total -= float((table[row, row] / table[row, kept].sum()).log()) / 12
    assert math.isclose(float(info_nce(text, motion, excluded, 0.1)), total, rel_tol=1e-9)


def test_a_batch_of_one_caption_has_zero_loss_without_nan():
    text = torch.randn(3, 4, requires_grad=True)
    excluded = near_duplicates(torch.zeros(3, dtype=torch.long))
    for loss in (info_nce, hard_negative_loss):
        (gradient,) = torch.autograd.grad(loss(text, torch.randn(3, 4), excluded), text)
        assert gradient.abs().max() < 1e-6


def test_hard_negatives_are_the_wrong_hits_nearest_to_the_query():
    angles = torch.tensor([0.0, 0.3, 2.0], dtype=torch.float64)
    text = torch.stack([angles.cos(), angles.sin()], -1)
    gaps = [[0.3, 2.0], [0.3, 1.7], [1.7, 2.0]]  # from each row to the others, nearest first
    wrong = torch.tensor([[math.cos(gap[0])] for gap in gaps])
    expected = torch.nn.functional.softplus((wrong - 1 + 0.05) / 0.1).mean()
    assert torch.allclose(hard_negative_loss(text, text, top=1), expected.double())
    excluded = near_duplicates(torch.tensor([0, 0, 1]))
    wrong[0, 0], wrong[1, 0] = math.cos(2.0), math.cos(1.7)
    expected = torch.nn.functional.softplus((wrong - 1 + 0.05) / 0.1).mean()
    assert torch.allclose(hard_negative_loss(text, text, excluded, top=1), expected.double())


def test_a_single_pair_has_no_hard_negatives():
    assert float(hard_negative_loss(torch.randn(1, 4), torch.randn(1, 4))) == 0.0


def test_gaussian_kl_agrees_with_torch_distributions():
    generator = torch.Generator().manual_seed(0)
    mean, logvar, other_mean, other_logvar = torch.randn(4, 3, 5, generator=generator)
    first = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    second = torch.distributions.Normal(other_mean, (0.5 * other_logvar).exp())
    unit = torch.distributions.Normal(0.0, 1.0)
    pairs = [(first, second), (second, first), (first, unit), (second, unit)]
    expected = [torch.distributions.kl_divergence(*pair).mean() for pair in pairs]
    assert torch.allclose(gaussian_kl(mean, logvar, other_mean, other_logvar), expected[0], rtol=1e-5)
    assert torch.allclose(joint_kl(mean, logvar, other_mean, other_logvar), torch.stack(expected).sum(), rtol=1e-5)
