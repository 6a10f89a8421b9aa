"""Statistics as HumanML3D's program computes them, against NumPy over one array."""

import numpy as np

from realign.data.prepare import statistics
from realign.data.prepare.statistics import published_statistics
from realign.motion.skeleton import HUMANML3D

GROUPS = [(0, 1), (1, 3), (3, 4), (4, 67), (67, 193), (193, 259), (259, 263)]


def test_published_statistics_add_rows_in_float32_one_by_one(monkeypatch):
    rng = np.random.default_rng(0)
    rows = (rng.normal(0.7, 0.2, (40_000, 263))).astype(np.float32)
    expected_mean, std = rows.mean(axis=0), rows.std(axis=0)
    monkeypatch.setattr(statistics, "_ROWS", 1000)
    mean, found = published_statistics(rows[:-30], [rows[-30:-10], rows[-10:]], HUMANML3D)
    assert np.array_equal(mean, expected_mean)
    assert np.abs(mean - rows.mean(axis=0, dtype=np.float64)).max() > 2e-6  # the rounding is that of float32
    for begin, end in GROUPS:
        assert np.allclose(found[begin:end], std[begin:end].mean(), rtol=1e-6)
