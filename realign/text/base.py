"""The interface of text encoders, and frozen ones, which are not part of training and checkpoints."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import torch
from torch import nn

from realign.batch import TextFeatures
from realign.errors import InputError
from realign.masking import apply_mask
from realign.precision import exact_float32
from realign.transfer import upload


class TokenLimit(NamedTuple):
    """The limit of what an encoder reads of a caption.

    Attributes:
        tokens: Tokens that are read, marks of beginning and end included.
        count: Counts the tokens of a caption, marks included, without a limit.
    """

    tokens: int
    count: Callable[[str], int]


class TextEncoder(nn.Module, ABC):
    """Encodes captions as word features and one vector each."""

    def __init__(self) -> None:
        super().__init__()
        # Follows .to(device) also while there are no weights yet, and never enters a checkpoint.
        self.register_buffer("_place", torch.zeros(0), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the features are returned."""
        return self.get_buffer("_place").device

    @property
    @abstractmethod
    def dim(self) -> int:
        """Width D of the word features and of the sentence vector."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies the encoder and its weights: equal fingerprints, equal features."""

    def token_limit(self) -> TokenLimit | None:
        """The limit of what is read of a caption; None is no limit."""
        return None

    @property
    def kept(self) -> "TextEncoder | None":
        """The frozen encoder whose features are kept on disk; None where they are computed each time."""
        return None

    @abstractmethod
    def forward(self, texts: list[str]) -> TextFeatures:
        """Encode B captions; the empty string is the null condition of classifier-free guidance.

        Args:
            texts: Captions, none of them blank except the empty string.

        Returns:
            Float32 features on the module's device, padded to the longest caption.

        Raises:
            InputError: `texts` is not a list of captions, is empty, or holds a blank one.
        """


class _Slot:
    """Holds a built backbone outside of `nn.Module`, so that checkpoints, pickles and EMA copies leave it out.

    Copies use the same backbone, since frozen weights do not change; another process builds its own.
    """

    def __init__(self) -> None:
        self.module: nn.Module | None = None
        self.tokenizer: Any = None

    def __deepcopy__(self, memo: dict) -> "_Slot":
        return self

    def __reduce__(self) -> tuple[Callable[[], "_Slot"], tuple]:
        return _Slot, ()


class FrozenTextEncoder(TextEncoder):
    """A pretrained encoder that is built at first use and never trained.

    Its weights are not in ``state_dict`` and not among the parameters; it stays in evaluation mode and in float32,
    independent of the model that holds it. Its features may enter a gradient computation also when they were made under
    ``inference_mode``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._slot = _Slot()

    @abstractmethod
    def build(self) -> nn.Module:
        """Load the backbone on the CPU: a module that encodes a list of captions as TextFeatures on its own device."""

    def build_tokenizer(self) -> Any:
        """Load the tokenizer; None if `build` does that itself."""
        return None

    def tokenizer(self) -> Any:
        """The tokenizer, loaded at the first call."""
        if self._slot.tokenizer is None:
            self._slot.tokenizer = self.build_tokenizer()
        return self._slot.tokenizer

    @property
    def is_built(self) -> bool:
        """Whether the weights are in memory."""
        return self._slot.module is not None

    def backbone(self) -> nn.Module:
        """The pretrained network on the module's device, loaded at the first call."""
        if self._slot.module is None:
            # Random initialisation must not move the generator that training draws from.
            with torch.inference_mode(False), torch.random.fork_rng(devices=[]), torch.device("cpu"):
                torch.default_generator.manual_seed(0)
                self._slot.module = self.build().float().eval().requires_grad_(False)
        module = self._slot.module
        if any(weight.device != self.device for weight in module.parameters()):
            module.to(self.device)
        return module

    def forward(self, texts: list[str]) -> TextFeatures:
        """Encode B captions without gradients, in float32."""
        check_texts(texts)
        with torch.inference_mode(False), torch.no_grad(), exact_float32(self.device):
            features = self.backbone()(texts)
            longest = int(features.mask.sum(1).max())
            tokens, mask = features.tokens[:, :longest].float(), features.mask[:, :longest]
            return TextFeatures(apply_mask(tokens, mask), mask, features.pooled.float())


def file_stem(fingerprint: str) -> str:
    """Beginning of the name of a file that keeps an encoder's features."""
    readable = re.sub(r"[^\w.-]+", "_", fingerprint)[:80]
    return f"{readable}-{blake2b(fingerprint.encode(), digest_size=6).hexdigest()}"  # what is unreadable also counts


def encode_captions(encoder: TextEncoder, captions: Sequence[str]) -> TextFeatures:
    """Features of captions; each different one is encoded once."""
    unique = list(dict.fromkeys(captions))
    rows = {caption: row for row, caption in enumerate(unique)}
    features = encoder(unique)
    if len(unique) == len(captions):
        return features
    return features[upload(torch.tensor([rows[caption] for caption in captions]), features.pooled.device)]


def check_texts(texts: Any) -> None:
    """Refuse anything but a list of captions.

    Raises:
        InputError: A single string, an empty list, an entry that is not a string or only white space.
    """
    if isinstance(texts, str) or not texts:
        raise InputError(f"Encoding text needs a list of at least one caption, not {texts!r}.")
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"Every caption must be a string, but one is {text!r}.")
        if text and not text.strip():
            raise InputError(f"A caption is blank ({text!r}); write one, or use '' for no condition.")
