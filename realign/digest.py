"""Digests of weights."""

from collections.abc import Mapping
from hashlib import sha256

import torch
from torch import nn

from realign.weight_names import former_names


def weights_digest(kind: str, signature: str, parts: Mapping[str, nn.Module]) -> str:
    """``kind/`` and 24 hex digits of everything that embeddings depend on.

    Args:
        kind: What the parts are together.
        signature: Architecture and options, which weights do not tell.
        parts: Modules by name; parameters and saved buffers count.
    """
    digest = sha256(signature.encode())
    for name, part in parts.items():
        state = part.state_dict()
        # under the names of version 0.1.0, so that indexes made with it still belong to their models
        for key, former in sorted(former_names(part).items(), key=lambda names: names[1]):
            value = state[key]
            digest.update(f"{name}.{former} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return f"{kind}/{digest.hexdigest()[:24]}"
