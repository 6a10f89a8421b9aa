"""How well the captions that a model was trained on cover a caption."""

from collections.abc import Iterable
from dataclasses import dataclass

_SURE, _KNOWN, _HARDLY = 0.9, 0.5, 0.1  # probabilities: from the first on, other words say the same


@dataclass(frozen=True)
class Familiarity:
    """How familiar a caption is to a model.

    Attributes:
        caption: The caption.
        probability: That it is of the kind trained on, if half of all captions are.
        likeness: Mean cosine of its sentence embedding to the nearest captions trained on.
        nearest: Captions trained on, nearest first.
        new_words: Its words that no caption trained on has, in any form.
    """

    caption: str
    probability: float
    likeness: float
    nearest: tuple[str, ...]
    new_words: tuple[str, ...] = ()

    def __float__(self) -> float:
        return self.probability

    @property
    def is_known(self) -> bool:
        """Whether the caption is more probably known than not."""
        return self.probability >= _KNOWN

    def told(self) -> str | None:
        """One sentence for the user; None if there is nothing to say."""
        if self.is_known:
            if not self.new_words or self.probability >= _SURE:
                return None
            words = " or ".join(map(repr, self.new_words))
            return f"no caption of the training set has {words}, so {self.caption!r} may be followed in part only"
        much = "nothing" if self.probability < _HARDLY else "hardly anything"
        return f"{much} like {self.caption!r} was in training; nearest: {', '.join(map(repr, self.nearest))}"


def unlike_training(judged: Iterable[Familiarity]) -> list[str]:
    """The sentences on captions of which there is something to say."""
    return [told for each in judged if (told := each.told())]
