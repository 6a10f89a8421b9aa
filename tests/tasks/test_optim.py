from typing import Any

import pytest
import torch
from torch import nn

from realign.tasks import optim
from realign.tasks.optim import fuse


def trained(**options: Any) -> tuple[list[torch.Tensor], list[Any]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    groups = [{"params": list(each.parameters())} for each in (model[0], model[2])]
    optimizer = fuse(torch.optim.AdamW(groups, lr=0.1, weight_decay=0.01, **options))
    x = torch.randn(16, 4)
    for _ in range(5):
        optimizer.zero_grad()
        (model(x) - x[:, :1]).square().mean().backward()
        optimizer.step()
    return [each.detach() for each in model.parameters()], [group["fused"] for group in optimizer.param_groups]


def test_adam_is_fused_on_supported_devices_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, chosen = trained()
    assert chosen == [None, None]  # on a CPU torch chooses
    monkeypatch.setattr(optim, "_FUSED", {"cpu"})  # it has a fused kernel, too
    fused, chosen = trained()
    assert chosen == [True, True]
    for one, other in zip(plain, fused, strict=True):
        torch.testing.assert_close(one, other)
    assert trained(foreach=True)[1] == [None, None] and trained(fused=False)[1] == [False, False]
    sgd = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    assert fuse(sgd).param_groups[0]["fused"] is None
