"""Precision of computations: measures use true float32 and float64, also with devices that lack float64."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from device_parts import THERE, Device, the_device
from torch import Tensor
from torch.utils._pytree import tree_leaves

from realign import precision
from realign.losses import MarginContrast
from realign.metrics.generation import euclidean_distances, r_precision
from realign.metrics.generation_metric import GenerationMetrics, MultiModality
from realign.metrics.retrieval import recall_and_median, small_batch_recall
from realign.metrics.retrieval_metric import RetrievalMetrics
from realign.metrics.sample_means import SampleMeans
from realign.motion.features import features_to_joints, joints_to_features
from realign.motion.skeleton import HUMANML3D
from realign.precision import double, exact_float32, use_tensor_cores, widest

COUNT = 40


class Mps(Device):
    """Refuses float64, like an Apple GPU, and tensors of two devices in one operation."""

    @classmethod
    def made(cls, func: Any, out: Any) -> None:
        if any(isinstance(each, Tensor) and each.dtype == torch.float64 for each in tree_leaves(out)):
            raise TypeError(f"MPS knows no float64, but {func} makes some")


@pytest.fixture
def mps(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    monkeypatch.setattr(precision, "_WITHOUT_FLOAT64", {THERE.type})
    with the_device(monkeypatch), Mps():
        yield THERE


def embeddings() -> tuple[Tensor, Tensor, list[str], list[str]]:
    text, motion = torch.randn(2, COUNT, 8, generator=torch.Generator().manual_seed(0))
    return text, motion, [f"{i:03d}" for i in range(COUNT)], [f"caption {i // 2}" for i in range(COUNT)]


def measures(device: torch.device) -> dict[str, Tensor | float]:
    """Every measure over the same embeddings, made on a device."""
    text, motion, ids, captions = embeddings()
    text, motion = text.to(device), motion.to(device)
    found: dict[str, Any] = {}
    metrics = {"retrieval": RetrievalMetrics(), "generation": GenerationMetrics()}
    for name, metric in metrics.items():
        metric.update(text, motion, ids, captions)
        found |= {f"{name} {key}": value for key, value in metric.compute().items()}
    with_threshold = RetrievalMetrics()
    with_threshold.update(text, motion, ids, captions, text)
    found |= {f"threshold {key}": value for key, value in with_threshold.compute().items()}
    generation = GenerationMetrics(identical=True, few=True)
    generation.update(text, motion, ids, captions, motion + text)
    found |= {f"generation {key}": value for key, value in generation.compute().items()}
    many = MultiModality(pairs=4)
    many.update(motion, [name[:2] for name in ids], [int(name[2:]) for name in ids])
    found |= many.compute()
    found |= {f"small {key}": value for key, value in small_batch_recall(text, motion, captions=captions).items()}
    found |= {f"ranks {key}": value for key, value in recall_and_median(text[:, 0].abs()).items()}
    means = SampleMeans(["x"])
    means.update(ids, {"x": text[:, 0]})
    found |= means.compute()
    same = torch.eye(COUNT, dtype=torch.bool, device=device)
    found["precision"] = r_precision(euclidean_distances(text, motion), same)
    found["margin"] = MarginContrast()(text, motion, same)
    return found


def test_every_measure_works_on_a_device_without_float64(mps: torch.device) -> None:
    with pytest.raises(TypeError, match="MPS knows no float64"):
        torch.zeros(2, device=mps).double()
    with pytest.raises(AssertionError, match="two devices"):
        torch.zeros(2, device=mps) + torch.zeros(2)
    expected, found = measures(torch.device("cpu")), measures(mps)
    assert len(found) > 100
    for name, value in expected.items():
        torch.testing.assert_close(torch.as_tensor(found[name]).cpu().float(), torch.as_tensor(value).float())


def test_features_work_on_a_device_without_float64(mps: torch.device) -> None:
    joints = torch.tensor(HUMANML3D.raw_offsets).cumsum(0) * 0.1 + torch.randn(30, 22, 3) * 0.1
    features = joints_to_features(joints.to(mps), HUMANML3D)
    back = features_to_joints(features, HUMANML3D)
    assert features.device == back.device == mps
    torch.testing.assert_close(features.cpu(), joints_to_features(joints, HUMANML3D), atol=1e-3, rtol=1e-3)
    assert HUMANML3D.num_joints == back.shape[1]


def test_the_widest_type_and_the_same_numbers_in_it() -> None:
    assert (
        widest(torch.device("cpu")) == widest(torch.device("cuda")) == torch.float64
        and widest(torch.device("mps")) == torch.float32
    )
    assert double(torch.ones(2)).dtype == torch.float64


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="this torch sets all operators together")
def test_exact_float32_works_where_operators_were_set_one_by_one() -> None:
    conv, rnn = torch.backends.cudnn.conv, torch.backends.cudnn.rnn
    before = torch.backends.cudnn.allow_tf32
    try:
        conv.fp32_precision, rnn.fp32_precision = "ieee", "tf32"
        with exact_float32(torch.device("cpu")):
            assert conv.fp32_precision == rnn.fp32_precision == "ieee"
        assert (conv.fp32_precision, rnn.fp32_precision) == ("ieee", "tf32")
    finally:
        torch.backends.cudnn.allow_tf32 = before


def test_exact_float32_disables_autocast_and_tf32_and_restores_them() -> None:
    def switches() -> tuple[str, bool, bool, bool]:
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        return (
            torch.get_float32_matmul_precision(), matmul.allow_tf32, cudnn.allow_tf32, torch.is_autocast_enabled("cpu")
        )  # fmt: skip

    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    x = torch.randn(32, 32)
    try:
        use_tensor_cores()
        with torch.autocast("cpu", torch.bfloat16):
            assert switches() == ("high", True, True, True) and (x @ x).dtype == torch.bfloat16
            with pytest.raises(KeyError), exact_float32(x.device):
                assert switches() == ("highest", False, False, False) and (x @ x).dtype == torch.float32
                with exact_float32(x.device):
                    pass
                assert switches() == ("highest", False, False, False)
                raise KeyError
            assert switches() == ("high", True, True, True)
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
