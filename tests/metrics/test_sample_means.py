import pytest
import torch

from realign.metrics.sample_means import SampleMeans


def test_repeated_samples_count_once_in_the_mean() -> None:
    metric = SampleMeans(["height", "width"])
    metric.update(["a", "b", "c"], {"width": torch.tensor([1.0, 1.0, 4.0]), "height": torch.tensor([1.0, 2.0, 6.0])})
    metric.update(["d", "a"], {"height": torch.tensor([3.0, 1.0]), "width": torch.tensor([2.0, 1.0])})
    found = metric.compute()
    assert list(found) == ["height", "width"]
    assert found["height"].item() == pytest.approx(3) and found["width"].item() == pytest.approx(2)
    metric.reset()
    metric.update(["e"], {"height": torch.tensor([5.0]), "width": torch.tensor([7.0])})
    assert metric.compute()["height"] == 5
