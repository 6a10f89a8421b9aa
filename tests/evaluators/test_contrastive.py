import math

import pytest
import torch

from realign.errors import InputError
from realign.evaluators import ContrastiveEvaluator

CAPTIONS = ["a person walks", "a person turns left, twice", "jump"]


@pytest.fixture(scope="module")
def evaluator() -> ContrastiveEvaluator:
    torch.manual_seed(0)
    built = ContrastiveEvaluator(30, 16, 16, 2, 2, 32, vocabulary=32, buckets=4, max_frames=40).eval()
    built.learn_words(CAPTIONS)
    return built


def motions() -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([40, 17, 8])
    motion = torch.randn(3, 40, 30, generator=torch.Generator().manual_seed(1))
    for row, length in enumerate(lengths.tolist()):
        motion[row, length:] = 0
    return motion, lengths


@torch.no_grad()
def test_a_motion_depends_neither_on_its_batch_nor_on_padding(evaluator: ContrastiveEvaluator) -> None:
    motion, lengths = motions()
    together = evaluator.embed_motion(motion, lengths)
    for row, length in enumerate(lengths.tolist()):
        for size in (length, min(length + 3, 40), 40):
            alone = evaluator.embed_motion(motion[row : row + 1, :size], lengths[row : row + 1])
            torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-4)
    order = [2, 0, 1]
    torch.testing.assert_close(evaluator.embed_motion(motion[order], lengths[order]), together[order])
    longer = torch.cat([motion, torch.zeros(3, 20, 30)], 1)
    torch.testing.assert_close(evaluator.embed_motion(longer, lengths), together)


@torch.no_grad()
def test_a_sentence_does_not_depend_on_its_batch_but_on_the_order_of_words(evaluator: ContrastiveEvaluator) -> None:
    together = evaluator.embed_text(CAPTIONS)
    for row, caption in enumerate(CAPTIONS):
        torch.testing.assert_close(evaluator.embed_text([caption])[0], together[row], rtol=0, atol=1e-4)
    one, other = evaluator.embed_text(["person turns a left", "left turns a person"])
    assert (one - other).norm() > 0.1


@torch.no_grad()
def test_embeddings_lie_on_one_sphere_so_that_distances_rank_as_cosines(evaluator: ContrastiveEvaluator) -> None:
    text, motion = evaluator.embed_text(CAPTIONS), evaluator.embed_motion(*motions())
    for each in (text, motion):
        torch.testing.assert_close(each.norm(dim=-1), torch.full((3,), math.sqrt(16)))
    torch.testing.assert_close(torch.cdist(text, motion).square(), 2 * 16 - 2 * text @ motion.T, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_foot_contacts_are_ignored_and_all_other_channels_are_read(evaluator: ContrastiveEvaluator) -> None:
    motion, lengths = motions()
    before = evaluator.embed_motion(motion, lengths)
    changed = motion.clone()
    changed[0, :, -4:] += 1
    assert torch.equal(evaluator.embed_motion(changed, lengths), before)
    for channel in (0, 25):
        changed = motion.clone()
        changed[0, 20, channel] += 1
        assert (evaluator.embed_motion(changed, lengths) - before)[0].abs().max() > 1e-4


def test_bad_motions_are_refused(evaluator: ContrastiveEvaluator) -> None:
    with pytest.raises(InputError, match="without frames"):
        evaluator.embed_motion(torch.zeros(2, 8, 30), torch.tensor([8, 0]))
    with pytest.raises(InputError, match="48 frames, this evaluator reads 40"):
        evaluator.embed_motion(torch.zeros(1, 48, 30), torch.tensor([48]))
    with pytest.raises(InputError, match="features=4"):
        ContrastiveEvaluator(4)
    with pytest.raises(InputError, match="hidden=10"):
        ContrastiveEvaluator(hidden=10)


def test_the_vocabulary_is_learned_once(evaluator: ContrastiveEvaluator) -> None:
    before = evaluator.words.words.clone()
    evaluator.learn_words(["other words"])
    assert torch.equal(evaluator.words.words, before)
