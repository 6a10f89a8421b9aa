"""What a visitor of the demo may ask for."""

from dataclasses import dataclass

from realign.errors import InputError

UPLOADS = (".npy", ".bvh", ".glb")
"""Files that a visitor may drop: those that hold a whole motion in one file without body models."""


@dataclass(frozen=True)
class Limits:
    """Bounds on what is computed and kept, whatever is requested.

    Attributes:
        letters: Characters of a caption.
        samples: Motions for a caption.
        steps: Denoising steps.
        strength: Factor of the gradient of guidance.
        captions: Captions of a batch.
        hits: Results of a search.
        upload: Bytes of a dropped file.
        seconds: Of a dropped motion.
        nodes: Nodes of a dropped figure times its key frames.
        body: Bytes of any other request.
        waiting: Requests that wait for the models; further ones are refused.
        files: Requests that wait for a file to be written; further ones are refused.
        connections: Open connections; further ones are refused.
        kept: Results whose motions are kept in memory; the oldest is forgotten first.
        kept_bytes: Bytes of these motions together.
        drawn: Motions in one picture or video.
    """

    letters: int = 300
    samples: int = 4
    steps: int = 100
    strength: float = 10_000.0
    captions: int = 32
    hits: int = 20
    upload: int = 4 << 20
    seconds: float = 120.0
    nodes: int = 4_000_000
    body: int = 64 << 10
    waiting: int = 32
    files: int = 16
    connections: int = 512
    kept: int = 200
    kept_bytes: int = 64 << 20
    drawn: int = 8

    def caption(self, text: object) -> str:
        """A caption that is not too long; whether it is blank is checked by the models.

        Raises:
            InputError: It is too long, or is not text.
        """
        if not isinstance(text, str):
            raise InputError(f"A caption is text, but got a {type(text).__name__}; write one.")
        if len(text) > self.letters:
            raise InputError(f"The caption has {len(text)} characters; write at most {self.letters}.")
        return text

    def batch(self, text: object) -> list[str]:
        """The captions of a batch, one a line without blank lines.

        Raises:
            InputError: There is none, there are too many, or as `caption`.
        """
        if not isinstance(text, str):
            raise InputError(f"Captions are text with one a line, but got a {type(text).__name__}; write them.")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines:
            raise InputError("No caption was given; write or drop a file with one caption a line.")
        if len(lines) > self.captions:
            raise InputError(f"There are {len(lines)} captions; give at most {self.captions} at a time.")
        return [self.caption(line) for line in lines]


def number(name: str, value: object, low: float, high: float) -> float:
    """A number between two bounds.

    Raises:
        InputError: It is not one; JSON from a browser may hold anything.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        shown = f"{value!r}"[:40]
        raise InputError(f"The {name} must be a number from {low:g} to {high:g}, but is {shown}.")
    return value


def whole(name: str, value: object, low: int, high: int) -> int:
    """A whole number between two bounds.

    Raises:
        InputError: It is not one.
    """
    found = number(name, value, low, high)
    if found != int(found):
        raise InputError(f"The {name} must be a whole number from {low} to {high}, but is {found:g}.")
    return int(found)
