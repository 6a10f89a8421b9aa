"""What an evaluation varies: the protocol that measures, and the settings that sample."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import wraps
from typing import Any, Literal

from realign.diffusion.guidance import DEFAULT_OPTIONS, GuidanceOptions
from realign.errors import InputError, renamed
from realign.guidance.config import Word, check_word

CONCERNS = {
    "mu": ("reward", "best-of"),
    "eta": ("reward", "best-of"),
    "anchors": ("reward", "best-of"),
    "temperature": ("reward", "best-of"),
    "strength": ("reward",),
    "candidates": ("best-of",),
    "through_decoder": ("reward",),
}
"""The ways that an option of guidance concerns; what is not here steers by the gradient."""
Precision = Literal["fp32", "bf16"]
"""What a generator's networks compute in while they sample; rewards, decoders and measures stay in float32."""


@dataclass(frozen=True)
class Protocol:
    """How generated motions are measured.

    All protocols keep clips of 40 to 199 frames (KIT: 24), draw a caption and a crop of each anew in every replication,
    show an evaluator motions padded to 196 frames, rank in shuffled batches of 32 and draw 300 pairs.

    Attributes:
        name: The protocol's.
        clips: Clips of a replication, drawn anew each time; all when None.
        whole_batches: Whatever does not fill a batch of 32 is left out of every measure, as loaders that drop the last
            batch do; otherwise of R-precision alone.
        identical: A motion counts as right, too, where the first captions of both clips are identical.
        batch: Motions that R-precision ranks.
        pairs: Pairs of Diversity.
        captions: Captions of MModality.
        samples: Motions of each of them.
        caption_pairs: Pairs among these.
    """

    name: str
    clips: int | None = None
    whole_batches: bool = False
    identical: bool = False
    batch: int = 32
    pairs: int = 300
    captions: int = 100
    samples: int = 30
    caption_pairs: int = 10


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("guo", whole_batches=True),  # Guo et al. 2022: their loaders drop the last batch
        Protocol("mld"),  # Chen et al. 2023: all embeddings are shuffled, then grouped
        Protocol("mdm", clips=1000, whole_batches=True),  # Tevet et al. 2023: about 1000 clips a replication
        Protocol("mocap", whole_batches=True, identical=True),  # labels repeat: another of the same is no mistake
    )
}


def _takes_cfg(kind: type["Setting"]) -> type["Setting"]:
    """Let the old name of `guidance_scale` work for one version."""
    made = kind.__init__

    @wraps(made)
    def init(self: "Setting", *values: Any, cfg: float | None = None, **named: Any) -> None:
        if cfg is not None:
            renamed("cfg", "guidance_scale")
            named["guidance_scale"] = cfg
        made(self, *values, **named)

    kind.__init__ = init  # type: ignore[method-assign]
    return kind


@_takes_cfg
@dataclass(frozen=True)
class Setting:
    """One way to sample the generator: a row of the table.

    Attributes:
        name: Of the row; made from what differs from the default when empty.
        guidance: ``none`` (or None), ``reward`` (by its gradient), ``best-of`` (several motions), or ``default``: what
            the generator's own guidance says where the setting is as usual.
        mu: Weight of the cosine to the caption.
        eta: Weight of the cosine to the anchor.
        options: When and how strongly a gradient steers.
        anchors: Motions that make up an anchor.
        temperature: Of the softmax over several.
        through_decoder: Judge decoded motions, for a reward on features and a generator in latents.
        candidates: Motions that the best is taken of.
        steps: Denoising steps; the generator's own when None.
        guidance_scale: Of classifier-free guidance; the generator's own when None.
        scheduler: ddim, ddpm, dpm or unipc, of a flow euler or heun; the generator's own when None.

    Raises:
        InputError: An unknown guidance, or a number that is not finite.
    """

    name: str = ""
    guidance: Word = "none"
    mu: float = 1.0
    eta: float = 0.0
    options: GuidanceOptions = DEFAULT_OPTIONS
    anchors: int = 1
    temperature: float = 0.1
    through_decoder: bool = False
    candidates: int = 4
    steps: int | None = None
    guidance_scale: float | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "guidance", check_word(self.guidance))
        for name, value in {**vars(self), **vars(self.options)}.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"{name}={value} is no finite number; give one.")
        if not self.name:
            object.__setattr__(self, "name", self._describe(self._usual()))

    @property
    def cfg(self) -> float | None:
        """Old name of `guidance_scale`."""
        renamed("cfg", "guidance_scale")
        return self.guidance_scale

    def resolved(self, own: Mapping[str, Any] | None) -> "Setting":
        """The same setting, with ``default`` guidance replaced by what it means for a generator.

        Args:
            own: Words of the generator's own guidance, see `DefaultGuidance.words`; None where it has none, which
                means no guidance.
        """
        if self.guidance != "default":
            return self
        way = "reward" if own else "none"
        plain, options = self._usual(), asdict(DEFAULT_OPTIONS)
        told = {name: value for name, value in vars(self).items() if name != "options" and value != plain[name]}
        told |= {name: value for name, value in asdict(self.options).items() if value != options[name]}
        if self.name == self._describe(plain):
            told["name"] = ""
        return self._laid(told | {"guidance": way}, {} if own is None else own)

    @classmethod
    def _usual(cls) -> dict[str, Any]:
        return {each.name: each.default for each in fields(cls)} | {"options": DEFAULT_OPTIONS}

    def _describe(self, usual: Mapping[str, Any]) -> str:
        """A name that tells what is not as usual."""
        names = [each.name for each in fields(self) if each.name not in ("name", "guidance", "options")]
        told = [f"{name}={getattr(self, name)}" for name in names if getattr(self, name) != usual[name]]
        plain = asdict(usual["options"])
        told += [f"{name}={value}" for name, value in asdict(self.options).items() if value != plain[name]]
        return " ".join([{"none": "unguided"}.get(self.guidance, self.guidance), *told])

    @classmethod
    def parse(
        cls, text: str, common: Mapping[str, Any] | None = None, own: Mapping[str, Any] | None = None
    ) -> "Setting":
        """A setting from words such as ``guidance=reward strength=2 steps=20``; options of guidance count, too.

        Args:
            text: The words.
            common: What holds where the words say nothing.
            own: The generator's own guidance: what holds where neither says anything. The name tells what differs
                from it, and ``guidance=default`` is what it says.

        Raises:
            InputError: An unknown word, or a value that does not fit.
        """
        given = dict(common or {})
        for word in text.split():
            key, found, value = word.partition("=")
            if key == "cfg":
                renamed("cfg=", "guidance_scale=")
                key = "guidance_scale"
            if not found or key not in SETTING_WORDS:
                raise InputError(
                    f"The setting {word!r} is not understood; write KEY=VALUE with one of {', '.join(SETTING_WORDS)}."
                )
            given[key] = _value(key, value)
        if given.get("guidance") == "default":
            given["guidance"] = "reward" if own else "none"
        return cls._laid(given, own or {})

    @classmethod
    def _laid(cls, given: Mapping[str, Any], own: Mapping[str, Any]) -> "Setting":
        """What is given, over what of the generator's own guidance concerns the way to guide."""
        way = check_word(given.get("guidance", "none"))
        own = {name: value for name, value in own.items() if way in CONCERNS.get(name, ("reward",))}
        made = cls._of({**own, **given})
        if given.get("name") or not own:
            return made
        return replace(made, name=made._describe(vars(cls._of(own))))

    @classmethod
    def _of(cls, given: Mapping[str, Any]) -> "Setting":
        """A setting from values of its fields and of those of its options."""
        parts = {name: value for name, value in given.items() if name in _OPTION_TYPES}
        whole = {name: value for name, value in given.items() if name not in parts}
        return cls(**whole, options=replace(DEFAULT_OPTIONS, **parts))


def default_settings(own: Mapping[str, Any] | None) -> list[Setting]:
    """What is measured where nobody names settings: the generator unguided, and guided as `generate` guides it.

    Args:
        own: As for `Setting.resolved`; without any, `generate` does not guide either.
    """
    return list(dict.fromkeys([Setting(), Setting(guidance="default").resolved(own)]))


def unique_settings(settings: Sequence[Setting]) -> list[Setting]:
    """Refuse an empty list and two settings of one name.

    Raises:
        InputError: As said.
    """
    names = [setting.name for setting in settings]
    twice = next((name for name in names if names.count(name) > 1 or name == "real"), None)
    if not names or twice is not None:
        raise InputError(
            f"The setting {twice!r} is there already; give each a name of its own with name=..."
            if names
            else "No setting is given to sample with; give one, such as Setting()."
        )
    return list(settings)


def _types(kind: type, leave: tuple[str, ...] = ()) -> dict[str, Any]:
    return {each.name: each.type for each in fields(kind) if each.name not in leave}


_SETTING_TYPES, _OPTION_TYPES = _types(Setting, ("options",)), _types(GuidanceOptions)
SETTING_WORDS = (*_SETTING_TYPES, *_OPTION_TYPES)


def _value(key: str, text: str) -> Any:
    """The value of one word, in the type of its field."""
    wanted = (_SETTING_TYPES | _OPTION_TYPES)[key]
    if wanted not in _READ:
        return text
    read, name = _READ[wanted]
    try:
        return read(text)
    except (KeyError, ValueError):
        raise InputError(f"{key}={text} does not fit; give {name}.") from None


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


_WHOLE, _NUMBER = (int, "a whole number"), (float, "a number")
_READ: dict[Any, tuple[Callable[[str], Any], str]] = {
    bool: (_truth, "true or false"),
    int: _WHOLE,
    int | None: _WHOLE,
    float: _NUMBER,
    float | None: _NUMBER,
}
