"""Options of an evaluation: the protocol of measuring, and the settings of sampling."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Literal

from realign.errors import InputError, renamed
from realign.guidance.config import GuidanceConfig, Word, check_word
from realign.spelling import suggestion

Precision = Literal["fp32", "bf16"]
"""Number format of a generator's networks while they sample; rewards, decoders and measures stay in float32."""


@dataclass(frozen=True)
class Protocol:
    """How generated motions are measured.

    All protocols keep clips of 40 to 199 frames (KIT: 24 to 199), draw a caption and a crop of each anew in every
    replication, pad motions to 196 frames for the evaluator, rank in shuffled batches of 32 and draw 300 pairs.

    Attributes:
        name: The protocol's.
        clips: Clips of a replication, drawn anew each time; all when None.
        whole_batches: Motions that do not fill a batch of 32 are left out of every measure, as by loaders that drop the
            last batch; otherwise out of R-precision alone.
        identical: A motion of another clip counts as right, too, if both clips show the same content in the same style
            or, where the set does not name these, have the same first caption: captions written from labels repeat, or
            word the same differently.
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
        Protocol("mocap", whole_batches=True, identical=True),  # any motion of the same action is right
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
    """Options of sampling and guidance: a row of the table.

    Attributes:
        name: Of the row; made from the options that differ from the default when empty.
        guidance: A configuration, or a word: ``none`` (or None), ``reward``, ``best-of``, or ``default`` for the
            generator's own guidance.
        steps: Denoising steps; the generator's own when None.
        guidance_scale: Of classifier-free guidance; the generator's own when None.
        scheduler: ddim, ddpm, dpm, unipc or lcm, of a flow euler or heun; the generator's own when None.
        clean: Measure the motions as `realign generate` writes them, with constant bone lengths and feet that do not
            slide, in the place of what the network says.

    Raises:
        InputError: An unknown guidance, or a number that is not finite.
    """

    name: str = ""
    guidance: GuidanceConfig | Word = "none"
    steps: int | None = None
    guidance_scale: float | None = None
    scheduler: str | None = None
    clean: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.guidance, GuidanceConfig):
            word = check_word(self.guidance)
            object.__setattr__(self, "guidance", word if word == "default" else GuidanceConfig(method=word))
        if self.guidance_scale is not None and not math.isfinite(self.guidance_scale):
            raise InputError(f"guidance_scale={self.guidance_scale} is not a finite number; give one.")
        if not self.name:
            object.__setattr__(self, "name", self._describe(GuidanceConfig()))

    @property
    def cfg(self) -> float | None:
        """Old name of `guidance_scale`."""
        renamed("cfg", "guidance_scale")
        return self.guidance_scale

    @property
    def config(self) -> GuidanceConfig:
        """The guidance of a resolved setting.

        Raises:
            InputError: The guidance is still ``default``.
        """
        if isinstance(self.guidance, GuidanceConfig):
            return self.guidance
        raise InputError(f"The setting {self.name!r} asks for the generator's own guidance; call resolved(own) first.")

    def resolved(self, own: GuidanceConfig | None) -> "Setting":
        """The same setting, with ``default`` replaced by a generator's own guidance.

        Args:
            own: The generator's own guidance; None is no guidance.
        """
        if isinstance(self.guidance, GuidanceConfig):
            return self
        made = replace(self, guidance=own or GuidanceConfig(method="none"))
        given = self.name != self._describe(GuidanceConfig())
        return made if given else replace(made, name=made._describe(own or GuidanceConfig()))

    def told(self) -> dict[str, Any]:
        """The options as plain values, without those that the method does not read."""
        sampling = {name: getattr(self, name) for name in ("name", *_SAMPLING)}
        sampling |= {CLEAN: True} if self.clean else {}  # otherwise left out, as in results of earlier versions
        return sampling | {"guidance": self.config.method} | self.config.concerning()

    def _describe(self, usual: GuidanceConfig) -> str:
        """A name made of the options that differ from the default."""
        told: dict[str, Any] = {name: getattr(self, name) for name in _SAMPLING}
        told = {name: value for name, value in told.items() if value is not None}
        last = [CLEAN] if self.clean else []
        if not isinstance(self.guidance, GuidanceConfig):
            return " ".join(["default", *(f"{name}={value}" for name, value in told.items()), *last])
        changed = self.config.changes(usual)
        method = {"none": "unguided"}.get(self.config.method, self.config.method)
        return " ".join([method, *(f"{name}={value}" for name, value in (changed | told).items()), *last])

    @property
    def sampled(self) -> "Setting":
        """What is sampled, equal for settings that only name or clean the same motions differently."""
        return replace(self, name="sampled", clean=False)

    def cleaned(self) -> "Setting":
        """The same setting, of which the clean motions are measured, under its name with "clean" behind it."""
        return self if self.clean else replace(self, name=f"{self.name} {CLEAN}", clean=True)

    @classmethod
    def parse(cls, text: str, common: Mapping[str, Any] | None = None, own: GuidanceConfig | None = None) -> "Setting":
        """A setting from words such as ``guidance=reward strength=2 steps=20``.

        Args:
            text: The words: fields of a setting and of `GuidanceConfig`.
            common: Values of options that the words leave out.
            own: The generator's own guidance: defaults of the other options. The name tells the differences from it,
                and ``guidance=default`` stands for it.

        Raises:
            InputError: An unknown word, or a value that does not fit.
        """
        check_words(text)
        given = dict(common or {})
        for word in text.split():
            key, _, value = word.partition("=")
            if key == "cfg":
                renamed("cfg=", "guidance_scale=")
                key = "guidance_scale"
            given[key] = value
        asked = check_word(given.pop("guidance", "none" if given.get("preset", "none") == "none" else "reward"))
        method: str = asked if asked != "default" else own.method if own else "none"
        usual = GuidanceConfig.of({"method": method} | (own.concerning(method) if own else {}))
        guiding = {name: given.pop(name) for name in GuidanceConfig.options() if name in given}
        named = {name: _value(name, value) for name, value in given.items()}
        made = cls(guidance=usual.override(guiding), **named)
        return made if named.get("name") else replace(made, name=made._describe(usual))


def check_words(text: str) -> None:
    """Refuse words that are not options of a setting.

    Raises:
        InputError: As said, with a similar option if there is one.
    """
    for word in text.split():
        key, found, _ = word.partition("=")
        if not found or key not in (*SETTING_WORDS, "cfg"):
            remedy = suggestion(key, SETTING_WORDS, "")
            raise InputError(
                f"The setting {word!r} is not understood; {remedy + ' Write' if remedy else 'write'} KEY=VALUE with "
                f"one of {', '.join(SETTING_WORDS)}."
            )


def default_settings(own: GuidanceConfig | None) -> list[Setting]:
    """The default settings of an evaluation: the generator unguided, and guided as `generate` guides it.

    Args:
        own: As for `Setting.resolved`; without any, `generate` does not guide either.
    """
    return list({each.name: each for each in (Setting(), Setting(guidance="default").resolved(own))}.values())


def unique_settings(settings: Sequence[Setting]) -> list[Setting]:
    """Refuse an empty list and two settings of one name.

    Raises:
        InputError: As said.
    """
    names = [setting.name for setting in settings]
    twice = next((name for name in names if names.count(name) > 1 or name == "real"), None)
    if not names or twice is not None:
        raise InputError(
            f"The setting {twice!r} is there already; give each its own name with name=..."
            if names
            else "No setting was given; give one, such as Setting()."
        )
    return list(settings)


_SAMPLING = ("steps", "guidance_scale", "scheduler")
CLEAN = "clean"
SETTING_WORDS = ("name", "guidance", *_SAMPLING, CLEAN, *GuidanceConfig.options())
_READ: dict[str, tuple[Callable[[str], Any], str]] = {
    "steps": (int, "a whole number"),
    "guidance_scale": (float, "a number"),
    CLEAN: ({"true": True, "false": False}.__getitem__, "true or false"),
}


def _value(key: str, value: Any) -> Any:
    """The value of a word of sampling, in the type of its field."""
    if not isinstance(value, str) or key not in _READ:
        return value
    read, name = _READ[key]
    try:
        return read(value)
    except (KeyError, ValueError):
        raise InputError(f"{key}={value} does not fit; give {name}.") from None
