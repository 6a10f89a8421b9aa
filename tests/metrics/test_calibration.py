"""Logistic probabilities and their calibration, against closed forms and plain loops."""

import numpy as np
import pytest

from realign.errors import InputError
from realign.metrics.calibration import Logistic, auroc, calibration_error, reliability


def test_the_fit_finds_the_curve_that_examples_were_drawn_from() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40_000, 2)) * [1.0, 0.1] + [0.0, 5.0]
    truth = 1 / (1 + np.exp(-(2.0 * values[:, 0] - 10.0 * values[:, 1] + 49.0)))
    found = Logistic.fit(values, rng.uniform(size=len(truth)) < truth)
    np.testing.assert_allclose(found(values), truth, atol=0.02)
    np.testing.assert_allclose(found.weights, [2.0, -10.0], rtol=0.05)


def test_one_value_gives_the_weighted_fractions() -> None:
    values, right = np.array([[0.0]] * 4 + [[1.0]] * 4), np.array([1, 0, 0, 0, 1, 1, 1, 0], bool)
    sizes = np.array([3, 1, 1, 1, 1, 1, 1, 1], float)
    low, high = Logistic.fit(values, right, sizes)([[0.0], [1.0]])
    yes, no = 5 / 6, 1 / 6  # Platt's targets for 4 of each
    assert low == pytest.approx((3 * yes + 3 * no) / 6, abs=1e-4)
    assert high == pytest.approx((3 * yes + no) / 4, abs=1e-4)


def test_separate_examples_give_a_finite_slope_that_orders_them() -> None:
    found = Logistic.fit(np.array([[0.1], [0.2], [0.8], [0.9]]), np.array([0, 0, 1, 1], bool))
    assert np.isfinite(found.weights[0]) and 0 < found([[0.1]])[0] < 0.5 < found([[0.9]])[0] < 1


@pytest.mark.parametrize("right", [[True, True], [False, False]])
def test_one_kind_of_example_teaches_nothing(right: list[bool]) -> None:
    with pytest.raises(InputError, match="of 2 examples are right"):
        Logistic.fit(np.array([[0.0], [1.0]]), np.array(right))


def test_plain_values_are_read_back_and_others_refused() -> None:
    curve = Logistic((1.5, -2.0), 0.25)
    assert Logistic.of(curve.plain(), 2) == curve
    for wrong in (None, {}, {"weights": [1], "offset": 0}, {"weights": [1, "x"], "offset": 0},
                  {"weights": [1, float("nan")], "offset": 0}, {"weights": [1, True], "offset": 0}):  # fmt: skip
        with pytest.raises(ValueError, match="does not hold 2 weights"):
            Logistic.of(wrong, 2)


def test_auroc_counts_pairs() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 6, 30) / 5, rng.integers(0, 5, 20) / 5
    pairs = [(a > b) + (a == b) / 2 for a in one for b in other]
    assert auroc(one, other) == pytest.approx(np.mean(pairs))


def test_calibration_error_by_hand() -> None:
    told, right = np.array([0.05, 0.05, 0.95, 0.95, 1.0]), np.array([0, 1, 1, 1, 0], bool)
    low, high = reliability(told, right, np.array([1, 1, 1, 1, 2.0]))
    assert (low.told, low.right, low.size) == pytest.approx((0.05, 0.5, 2 / 6))
    assert (high.told, high.right, high.size) == pytest.approx((0.975, 0.5, 4 / 6))
    assert calibration_error([low, high]) == pytest.approx(2 / 6 * 0.45 + 4 / 6 * 0.475)
