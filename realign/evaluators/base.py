"""The interface of evaluators: embeddings of motions and captions that are compared by distance."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

from jaxtyping import Float, Int
from torch import Tensor, nn

from realign.errors import InputError

CONTACTS = 4
"""Foot contacts, the last channels of the features, which evaluators do not read: generators rarely predict them well,
and they do not affect the joints."""


class Evaluator(nn.Module, ABC):
    """Embeds motions and captions so that matching ones lie close together by Euclidean distance.

    The embedding of a sample depends neither on the other samples of its batch nor on padding.

    Args:
        features: Channels C of the motion features, the four foot contacts included.
        embedding: Width E of the embeddings.

    Raises:
        InputError: When a number does not make sense.
    """

    def __init__(self, features: int, embedding: int) -> None:
        super().__init__()
        if features <= CONTACTS or embedding < 1:
            raise InputError(
                f"features={features} must be more than the {CONTACTS} foot contacts, and embedding={embedding} at "
                "least 1."
            )
        self.features, self.embedding = features, embedding

    @property
    @abstractmethod
    def signature(self) -> str:
        """The kind of network and its sizes, which the weights do not tell."""

    @abstractmethod
    def embed_motion(self, motion: Float[Tensor, "B F C"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B E"]:
        """Embeddings of motions, in the order given.

        Args:
            motion: Normalised features, zero behind each motion's end.
            lengths: Frames of each.
        """

    @abstractmethod
    def embed_text(self, captions: Sequence[str]) -> Float[Tensor, "B E"]:
        """Embeddings of captions, in the order given."""

    def learn_words(self, captions: Iterable[str]) -> None:
        """Build the vocabulary from the captions of a training set; nothing by default."""
        return None

    def take_tokens(self, tokens: Mapping[str, str]) -> None:
        """Store the words and parts of speech of captions; nothing by default.

        Args:
            tokens: "word/POS word/POS ..." by caption.
        """
        return None
