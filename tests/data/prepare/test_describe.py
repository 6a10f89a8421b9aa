import csv
import dataclasses

import numpy as np
import pytest
from data_parts import make_joints

from realign.data.prepare.bandai import describe, in_order, knows, part
from realign.data.prepare.bandai_measures import Hand, Measures, facing_yaw, measure, turning_points

DOWN = Hand(peak=-0.5, over_head=False, when=0, waves=0, raised=False)
STILL = Measures(3.0, 0.1, 0.0, 0.0, (), 0, 2.0, 1.0, DOWN, DOWN)


def walk(frames=80, turn=0.0, speed=0.05):
    """A rigid body on a path whose heading changes by `turn` radians, positive to the left; feet swing to and fro."""
    pose = np.zeros((22, 3))
    pose[:, 1] = 1
    pose[[1, 16, 18, 20, 7, 10]] += [0.2, 0, 0]
    pose[[2, 17, 19, 21, 8, 11]] -= [0.2, 0, 0]
    pose[[16, 17]] += [0, 0.5, 0]
    pose[[20, 21]] += [0, -0.1, 0]
    pose[15, 1] = 1.7
    pose[12, 1] = 1.5
    pose[[7, 8], 1] = 0.1
    yaw = np.linspace(0, turn, frames)
    x = np.repeat(pose[None], frames, 0)
    x[:, 7, 2] += 0.3 * np.sin(np.arange(frames) / 3)
    x[:, 8, 2] -= 0.3 * np.sin(np.arange(frames) / 3)
    c, s = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    x = np.stack([x[..., 0] * c + x[..., 2] * s, x[..., 1], x[..., 2] * c - x[..., 0] * s], -1)
    path = np.cumsum(np.stack([np.sin(yaw), np.zeros(frames), np.cos(yaw)], 1) * speed, 0)
    return x + path[:, None]


def test_turns_are_positive_to_the_left():
    for turn in (np.pi / 2, -np.pi / 2):
        found = measure(walk(turn=turn))
        assert found.turns == pytest.approx((np.degrees(turn),), abs=10)
    assert measure(walk()).turns == ()
    assert facing_yaw(walk())[0] == pytest.approx(0)  # left is +x and the body faces +z


def test_walking_is_measured_in_metres_and_steps():
    m = measure(walk())
    assert m.forward == pytest.approx(79 * 0.05, abs=0.3)
    assert abs(m.leftward) < 0.05
    assert m.steps == pytest.approx(80 / (3 * np.pi), abs=2)
    assert part("walk", m).plain == "walks forward"
    assert part("walk", measure(walk(speed=-0.05))).plain == "walks backward"


def test_hands_are_distinguished_and_waves_counted():
    x = walk(speed=0)
    x[:, 20, 1] = 2.0
    x[:, 20, 0] += 0.2 * np.sin(np.arange(80) / 80 * 2 * np.pi * 6)
    m = measure(x)
    assert (m.left.raised, m.right.raised, m.left.over_head) == (True, False, True)
    assert m.left.waves == pytest.approx(6, abs=1)
    assert part("wave-left-hand", m).plain == "waves the left hand"


def test_turning_points_ignore_small_moves():
    assert turning_points(np.array([0, 1, 0.95, 2, 0, 0.05, 0, 2.0]), 0.5) == [0, 3, 4]


def test_turns_follow_the_joints_not_the_label():
    right = dataclasses.replace(STILL, walked=4, forward=4, turns=(-92.0,), steps=6)
    words = part("walk-turn-left", right)
    assert "turns right" in words.plain and "90 degrees to the right" in words.exact
    assert "left" not in words.plain + words.other + words.doing + words.exact
    straight = dataclasses.replace(right, turns=())
    assert part("walk-turn-left", straight).plain == "walks forward"


def test_order_of_two_actions():
    early, late = (dataclasses.replace(DOWN, when=t, raised=True) for t in (1.0, 2.0))
    m = dataclasses.replace(STILL, left=early, right=late)
    assert in_order("raise-up-left-hand>raise-up-right-hand", m)
    assert not in_order("raise-up-right-hand>raise-up-left-hand", m)
    assert in_order("wave-left-hand>raise-up-left-hand", m) is None


def test_captions_are_distinct_and_fixed_by_the_name():
    for content in ("walk", "bow", "walk+wave-left-hand", "wave-right-hand>bow"):
        assert knows(content)
        captions = describe("B1", content, "happy", walk())
        assert len(captions) == len(set(captions)) >= 3
        assert captions == describe("B1", content, "happy", walk())
        assert captions[0].startswith("a person ")
        assert all(text == " ".join(text.split()) for text in captions)
    assert not knows("juggle")


def test_styles_and_contents_of_the_real_index_are_known(shared_data):
    with open(shared_data / "mocap" / "index.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["content"]]
    assert all(knows(row["content"]) for row in rows)


def test_sides_agree_with_the_labels_of_real_clips(shared_data):
    with open(shared_data / "mocap" / "index.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "Bandai-Namco"][::20]
    turns, hands = [], []
    for row in rows:
        m = measure(np.load(shared_data / "mocap" / "new_joints" / f"{row['id']}.npy"))
        side = "left" if "left" in row["content"] else "right"
        if "turn" in row["content"]:
            turns.append(bool(m.turns) and (m.turns[0] > 0) == (side == "left"))
        elif row["content"].endswith(f"{side}-hand"):
            hands.append((m.left.raised, m.right.raised) == (side == "left", side == "right"))
    assert np.mean(turns) > 0.9 and all(hands)


def test_measure_takes_any_plausible_body():
    m = measure(make_joints(30))
    assert np.isfinite([m.walked, m.forward, m.bow, m.left.peak]).all()
