"""Zeros as the features of the empty caption, for generators that were trained with them."""

import torch

from realign.batch import TextFeatures
from realign.text.base import TextEncoder, TokenLimit


class ZeroWithoutText(TextEncoder):
    """Features of another encoder, but zeros for the empty caption: one word and the vector, as in MDM.

    Args:
        encoder: Encodes all other captions.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    @property
    def dim(self) -> int:
        """Width D of the inner encoder."""
        return self.encoder.dim

    @property
    def fingerprint(self) -> str:
        """That of the inner encoder, marked."""
        return f"{self.encoder.fingerprint}/zero-without-text"

    def token_limit(self) -> TokenLimit | None:
        """That of the inner encoder."""
        return self.encoder.token_limit()

    def forward(self, texts: list[str]) -> TextFeatures:
        """Encode B captions; the inner encoder encodes all except empty ones."""
        given = [text for text in texts if text]
        none = TextFeatures(
            torch.zeros(1, 1, self.dim, device=self.device),
            torch.ones(1, 1, dtype=torch.bool, device=self.device),
            torch.zeros(1, self.dim, device=self.device),
        )
        if not given:
            return none[[0] * len(texts)]
        features = TextFeatures.cat([self.encoder(given), none])
        rows = iter(range(len(given)))
        return features[[next(rows) if text else len(given) for text in texts]]
