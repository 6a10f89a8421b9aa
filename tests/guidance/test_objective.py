import pytest
import torch
from steer_parts import captions, motion_index, reward
from task_parts import one_batch

from realign.errors import InputError
from realign.guidance import RewardObjective
from realign.guidance.config import GuidanceConfig
from realign.index import MotionIndex, MotionItem

SIDE = torch.eye(16)


def index_of(task, vectors, names):
    return MotionIndex.build(vectors, [MotionItem(name) for name in names], fingerprint=task.fingerprint)


def test_the_reward_of_a_motion_is_the_weighted_sum_of_both_cosines() -> None:
    task, batch = reward(), one_batch(8)
    objective = RewardObjective(task, motion_index(task), GuidanceConfig(mu=2.0, eta=0.5))
    with torch.no_grad():
        motion, text = task.embed_motions(batch.motion, batch.lengths), task.embed_captions(batch.captions)
    nearest = motion[(text @ motion.T).argmax(1)]
    expected = 2 * torch.cosine_similarity(motion, text) + 0.5 * torch.cosine_similarity(motion, nearest)
    found = objective.score(batch.motion, batch.lengths, objective.target(batch.captions))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_several_anchors_weigh_by_the_softmax_of_their_similarity() -> None:
    task = reward()
    text = (0.8 * SIDE[0] + 0.6 * SIDE[1])[None]
    index = index_of(task, SIDE[:4], "abcd")
    one = RewardObjective(task, index, GuidanceConfig(eta=1.0)).anchor(text)
    torch.testing.assert_close(one, SIDE[:1])
    two = RewardObjective(task, index, GuidanceConfig(eta=1.0, anchors=2, temperature=0.2)).anchor(text)
    weight = torch.tensor([0.8 / 0.2, 0.6 / 0.2]).softmax(0)
    torch.testing.assert_close(two, (weight[0] * SIDE[0] + weight[1] * SIDE[1])[None])


def test_the_own_motion_its_mirror_image_and_its_parts_are_not_anchors() -> None:
    task = reward()
    vectors = torch.stack([SIDE[0], SIDE[0] + 0.1 * SIDE[1], SIDE[0] + 0.2 * SIDE[1], SIDE[0] + SIDE[2], SIDE[3]])
    index = index_of(task, vectors, ["000021", "M000021", "000021_1.5-3", "000022", "MIT_01"])
    objective, text = RewardObjective(task, index, GuidanceConfig(eta=1.0)), SIDE[:1].expand(3, -1)
    found = objective.anchor(text, ["000021", "M000021_0-2", "000022"])
    torch.testing.assert_close(found, torch.nn.functional.normalize(vectors)[[3, 3, 0]])
    with pytest.raises(InputError, match="fewer than 3 besides the excluded"):
        RewardObjective(task, index, GuidanceConfig(eta=1.0, anchors=3)).anchor(text[:1], ["000021"])
    RewardObjective(task, index, GuidanceConfig(eta=1.0, anchors=4)).anchor(text[:1], ["MIT_01"])


def test_exclusion_searches_again_if_needed() -> None:
    task = reward()
    vectors = torch.cat([SIDE[:1] + 0.01 * SIDE[1] * torch.arange(40)[:, None], SIDE[5:6]])
    index = index_of(task, vectors, [*(f"7_{i}-{i + 1}" for i in range(40)), "8"])
    torch.testing.assert_close(RewardObjective(task, index, GuidanceConfig(eta=1.0)).anchor(SIDE[:1], ["7"]), SIDE[5:6])


def test_the_target_of_a_caption_does_not_depend_on_its_batch() -> None:
    task = reward()
    objective = RewardObjective(task, motion_index(task), GuidanceConfig(eta=0.5, anchors=2))
    texts, own = captions([0, 1, 2, 3]), ["0", "1", "2", "3"]
    together = objective.target(texts, own)
    for row in range(4):
        torch.testing.assert_close(objective.target(texts[row : row + 1], own[row : row + 1])[0], together[row])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        surrounded = objective.target(texts, own)
    assert torch.equal(surrounded, together) and not surrounded.is_inference() and not surrounded.requires_grad


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"eta": 0.5}, "eta=0.5 weighs the similarity to real motions, which needs an index"),
        ({"index": True, "anchors": 9}, "anchors=9 is not between 1 and the 8"),
        ({"index": "other"}, "The index was made by the model"),
        ({"train": True}, "call eval()"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict, reason: str) -> None:
    task = reward()
    if index := options.pop("index", None):
        options["index"] = motion_index(reward(step_aware=False) if index == "other" else task)
    task.train(options.pop("train", False))
    with pytest.raises(InputError, match=reason.replace("(", r"\(").replace(")", r"\)")):
        RewardObjective(task, options.pop("index", None), GuidanceConfig(**options))
