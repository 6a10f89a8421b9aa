"""Text encoders whose features are kept, with a record of their inputs."""

import torch

from realign.text import CachedTextEncoder, HashingEncoder


class Counting(HashingEncoder):
    """Records the captions that it encodes.

    Args:
        dim: Width of the features.
        scale: Factor of all features.
        name: Added to the fingerprint.
    """

    def __init__(self, dim: int = 8, scale: float = 1.0, name: str = "") -> None:
        super().__init__(dim)
        self.asked: list[str] = []
        self.scale, self.name = scale, name

    @property
    def fingerprint(self) -> str:
        return super().fingerprint + self.name

    def forward(self, texts: list[str]):
        self.asked += texts
        features = super().forward(texts)
        features.tokens *= self.scale
        features.pooled *= self.scale
        return features


def kept(folder, **options) -> CachedTextEncoder:
    """A counting encoder whose features are kept on disk."""
    return CachedTextEncoder(Counting(**options), folder)


def assert_half(found: torch.Tensor, exact: torch.Tensor) -> None:
    """Equal to exact values rounded to half precision."""
    assert torch.equal(found, exact.half().float())
    assert ((found - exact).abs() <= torch.maximum(1e-3 * exact.abs(), torch.tensor(2.0**-25))).all()
