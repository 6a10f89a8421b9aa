"""Contacts of feet whose speed along the floor and height are given step by step."""

import pytest
import torch

from realign.motion.contacts import foot_contacts
from realign.motion.skeleton import HUMANML3D

FPS = 20.0


def motion(speeds, heights=None):
    """The left toes move so fast (m/s), the left heel with them; the right foot is in the air."""
    joints = torch.zeros(len(speeds) + 1, 22, 3, dtype=torch.float64)
    joints[1:, [7, 10], 0] = torch.tensor(speeds, dtype=torch.float64).cumsum(0)[:, None] / FPS
    joints[:, 10, 1] = 0.0 if heights is None else torch.tensor(heights, dtype=torch.float64)
    joints[:, [8, 11], 1] = 1.0
    return joints


def left_toes(speeds, heights=None, channels=None):
    return foot_contacts(motion(speeds, heights), HUMANML3D, FPS, channels)[:, 1].tolist()


def test_slow_low_feet_stand_and_others_do_not():
    assert left_toes([0.05] * 4) == [1.0] * 4
    assert left_toes([1.5] * 4) == [0.0] * 4
    assert left_toes([0.05] * 4, [0.1] * 5) == [0.0] * 4
    found = foot_contacts(motion([0.05] * 4), HUMANML3D, FPS)
    assert found[:, :2].all() and not found[:, 2:].any()  # the heel goes with its toes, the other foot is high


def test_a_contact_goes_on_through_a_slip_but_does_not_begin_with_one():
    assert left_toes([0.1, 0.1, 0.8, 0.1, 0.1]) == [1.0] * 5
    assert left_toes([1.5, 0.8, 0.8, 1.5]) == [0.0] * 4


def test_the_first_and_the_last_step_count_the_less_the_faster():
    found = left_toes([1.5, 0.3, 0.05, 0.05, 0.5, 1.5])
    assert found == pytest.approx([0.0, 0.5, 1.0, 1.0, 0.0, 0.0], abs=1e-9)


def test_channels_say_which_slow_feet_do_not_stand():
    channels = torch.ones(5, 4)
    channels[:, 1] = torch.tensor([1.0, 1.0, 0.5, 0.1, 1.0])
    assert left_toes([0.05] * 4, channels=channels) == [1.0, 1.0, 1.0, 0.0]  # the last frame has no step


def test_a_heel_that_turns_about_its_toes_is_free():
    joints = motion([0.0] * 4)
    joints[:, 7, 1] += 0.3 / FPS * torch.arange(5)
    found = foot_contacts(joints, HUMANML3D, FPS)
    assert found[:, 1].all() and not found[:, 0].any()
