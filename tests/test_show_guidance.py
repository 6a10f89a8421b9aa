"""The page that shows guidance: pairs are chosen by the rule that it states, and its table counts them."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made import person
from PIL import Image

from realign.motion.clip import MotionClip

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import show_guidance


def judged(caption: str, moved: float, right: tuple[bool, bool], seed: int = 0) -> show_guidance.Judged:
    """A pair whose joints moved by a distance, and whose guided motion is nearer to its caption the more they did."""
    plain = MotionClip(person(1, 8).numpy(), 20.0, caption, reward=1.0)
    joints = plain.joints + (7.0, 0.0, 0.0)  # where the hips are does not matter
    joints[:, 1:, 1] += moved * 22 / 21
    guided = replace(plain, joints=joints, reward=1.0 + moved, unguided=plain)
    margins = (-0.5 if right[0] else 0.5, -0.5 - moved if right[1] else 0.5)
    return show_guidance.Judged(guided, seed, (2.0, 1.5), margins)


PAIRS = [
    judged("both right", 0.9, (True, True)),
    judged("helped a little", 0.1, (False, True)),
    judged("helped", 0.3, (False, True), 1),
    judged("helped", 0.4, (False, True), 2),
    judged("harmed", 0.8, (True, False)),
]


def test_pairs_are_chosen_by_the_rule() -> None:
    shown, rule = show_guidance.choose(PAIRS)
    assert [(each.clip.caption, each.seed) for each in shown] == [("helped", 2), ("helped a little", 0)]
    assert "guided motion is right and the unguided one wrong" in rule and "the 2 of" in rule
    shown, rule = show_guidance.choose([each for each in PAIRS if each.right != (False, True)])
    assert [each.clip.caption for each in shown] == ["both right", "harmed"] and rule.startswith("In no pair")


def test_the_page_counts_the_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show_guidance, "SENTENCES", 2)
    show_guidance.write_page(tmp_path, PAIRS, "generator_features", steps=10, captions=4, seeds=3)
    page = (tmp_path / "guided.md").read_text("utf-8")
    for line in ("helps | 60.0%", "both right | 20.0%", "both wrong | 0.0%", "harms | 20.0%", "nearer to its caption"):
        assert line in page
    assert "reward is 1.000 unguided and 1.500 guided; relative to the hips, joints move by\n50.0 cm" in page
    command = "realign generate helped --checkpoint generator_features --seed 2 --steps 10 --compare -o both.html"
    assert command in page
    assert (tmp_path / "guided.gif").stat().st_size < show_guidance.MOST_BYTES
    for name in ("guided.gif", "guided.png", "compare.png"):
        with Image.open(tmp_path / name) as picture:
            assert name in page and picture.width > 300


def test_a_motion_is_right_if_its_caption_is_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in evaluator that reads the side of the first frame, and captions that are numbers."""
    monkeypatch.setattr(show_guidance, "OTHERS", 2)
    evaluator = SimpleNamespace(
        skeleton="humanml3d",
        embed_captions=lambda captions: torch.tensor([[float(each)] for each in captions]),
        embed_motions=lambda motion, lengths: torch.arange(1.0, len(motion) + 1)[:, None] * lengths[0] / 4,
    )
    plain = [MotionClip(person(seed, 9).numpy(), 20.0, str(seed)) for seed in range(3)]  # 8 frames: 2, 4 and 6
    clips = [MotionClip(person(seed, 6).numpy(), 20.0, str(seed), unguided=plain[seed]) for seed in range(3)]  # 1, 2, 3
    found = show_guidance.judge(evaluator, clips, ["1.2", "2.2", "6"], 5)
    np.testing.assert_allclose([each.own for each in found], [(0.8, 0.2), (1.8, 0.2), (0, 3)], atol=1e-5)
    np.testing.assert_allclose([e.margins for e in found], [(0.6, -1.0), (-0.2, -0.6), (-3.8, 2.2)], atol=1e-5)
    assert [each.right for each in found] == [(False, True), (True, True), (True, False)]
