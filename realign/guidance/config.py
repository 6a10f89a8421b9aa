"""Options of guidance, declared once.

The command line, the words of an evaluation's settings, YAML, ``guidance.yaml`` beside a generator's weights and the
callback all take their options from the fields of `GuidanceConfig`. This file imports nothing heavy: the command line
reads it at start-up.
"""

import math
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, Literal, cast, get_args, get_origin

from realign.errors import InputError

Method = Literal["none", "reward", "best-of"]
Word = Literal["default", "none", "reward", "best-of"]
"""How to guide, with the same words in Python, YAML and on the command line: the generator's own guidance, none, the
gradient of a reward, or the best of several motions."""
UpdateName = Literal["score_shift", "additive", "ddpm"]
ProfileName = Literal["constant", "noise", "signal"]
NormControl = Literal["none", "clip", "normalize"]
Point = Literal["x_t", "x0", "x_next"]
Embeddings = Literal["mean", "sampled"]
PresetName = Literal["none", "realign-release"]

_GRADIENT, _BOTH, _BEST = ("reward",), ("reward", "best-of"), ("best-of",)


def _option(
    default: Any, help: str, methods: tuple[str, ...], at_least: float | None = None, flag: str | None = None
) -> Any:
    """A field with its help on the command line, the methods that read it, its lower bound, and its flag."""
    return field(default=default, metadata={"help": help, "methods": methods, "at_least": at_least, "flag": flag})


PRESETS: dict[str, dict[str, Any]] = {
    "realign-release": {
        "mu": 1.0,
        "eta": 0.0,
        "strength": 100.0,
        "update": "additive",
        "profile": "constant",
        "start": 0.0,
        "stop": 1.0,
        "interval": 1,
        "norm": "none",
        "point": "x_next",
        "embeddings": "sampled",
        "batch_mean": True,
    }
}
"""Options that belong together. ``realign-release`` is what the published program of ReAlign computes, its dropout
left out: the gradient of the mean reward of the batch, at the sample after the step with the timestep before it, of
embeddings drawn anew at every step, added to that sample. Its motion-aligned part cannot run as published."""


@dataclass(frozen=True)
class GuidanceConfig:
    """Method, objective, schedule and strength of guidance.

    Attributes:
        method: ``reward`` steers every step by the reward's gradient, ``best-of`` keeps the best of several motions,
            ``none`` samples the generator as it is.
        mu: Weight of the cosine to the caption, R_text.
        eta: Weight of the cosine to the anchor, a real motion that an index finds for the caption, R_motion.
        anchors: Motions that make up an anchor.
        temperature: Of the softmax over several.
        through_decoder: Evaluate the reward on decoded motions: for a reward on features and a generator in latents.
        candidates: Motions that are sampled for each caption, of which the best is kept.
        strength: Factor w of the gradient. Strengths of different updates are not comparable.
        update: ``score_shift`` adds the gradient to the score, by way of the model output; ``additive`` adds it to
            x_{t-1} (the practical form of arXiv 2511.19217); ``ddpm`` adds beta_t / sqrt(alpha_t) times it (Theorem 3).
            The last two need a scheduler that continues from the sample it is given (not UniPC).
        profile: The strength over the steps: ``constant``, ``noise`` (times sigma) or ``signal`` (times alpha,
            sqrt(abar) of a diffusion; it bounds what a score shift does to nearly pure noise, where the gradient of a
            learned reward may not vanish as an exact one does).
        start: Fraction of the sampling steps after which guidance begins; 0 is the first, noisiest step.
        stop: Fraction of the sampling steps after which guidance ends; 1 is after the last step.
        interval: Compute and apply the gradient at every k-th step of the window, there k-fold, so that the interval
            does not change the strength. On Gaussians with a known tilt this is more exact than repeating the last
            gradient at the steps between (every 5th of 50 UniPC steps: the mean is off by 3 % instead of 10 %).
        norm: ``none``, or ``clip`` the gradient's root mean square over a sample's valid entries to `norm_limit`, or
            ``normalize`` it to that value.
        norm_limit: That root mean square; epsilon's is about 1.
        point: Where the gradient is taken: at the noisy sample ``x_t`` with its timestep, or at the predicted clean
            sample ``x0`` with `CLEAN_STEP`. The latter is carried back to x_t by d x_0 / d x_t = alpha / (alpha^2 +
            sigma^2), sqrt(abar) of a diffusion: exact for data of unit variance, as normalised motions are. At
            ``x_next``, the sample after the step, the reward is given the timestep before the step, as published.
        embeddings: The ``mean`` of each Gaussian, which is the embedding everywhere else, or ``sampled``: drawn anew at
            every step from the seed of the sample, the caption's without a timestep, as published.
        batch_mean: Take the gradient of the mean reward of a batch, as published. The strength of a sample is then
            divided by the size of its batch, and its motion depends on the batch that it shares.
        preset: Several options at once, ``realign-release``: see `PRESETS`. Options given beside it hold, but where
            this class is built from fields, as from YAML of a callback, one given its default value counts as not
            given. The field itself stays ``none``.

    The defaults of the gradient were measured on the val split of mocap (docs/results.md).

    Raises:
        InputError: An unknown name, or a number that is not finite or out of its range.
    """

    method: Method = _option("reward", "steer by the reward's gradient, keep the best of N motions, or neither", ())
    mu: float = _option(1.0, "weight of the similarity to the caption", _BOTH)
    eta: float = _option(0.0, "weight of the similarity to a real motion", _BOTH)
    anchors: int = _option(1, "real motions that eta compares with, softly weighted", _BOTH, 1)
    temperature: float = _option(0.1, "of the softmax over several anchors", _BOTH)
    through_decoder: bool = _option(
        False, "evaluate the reward on decoded motions: a reward on features, a generator in latents", _GRADIENT
    )
    candidates: int = _option(4, "motions that best-of chooses from", _BEST, 1)
    strength: float = _option(300.0, "factor of the gradient", _GRADIENT, 0)
    update: UpdateName = _option("score_shift", "how the gradient enters a step", _GRADIENT)
    profile: ProfileName = _option("signal", "the strength over the steps", _GRADIENT)
    start: float = _option(0.3, "fraction of the steps after which to begin", _GRADIENT)
    stop: float = _option(1.0, "fraction of the steps after which to end", _GRADIENT)
    interval: int = _option(2, "take the gradient at every K-th step, there K-fold", _GRADIENT, 1)
    norm: NormControl = _option("none", "control of the gradient's root mean square", _GRADIENT)
    norm_limit: float = _option(1.0, "the root mean square that norm goes by", _GRADIENT)
    point: Point = _option(
        "x0", "where the gradient is taken: noisy, predicted clean, or next sample (after the step)", _GRADIENT
    )
    embeddings: Embeddings = _option("mean", "of Gaussian rewards: their means, or drawn at every step", _GRADIENT)
    batch_mean: bool = _option(
        False, "gradient of the mean over the batch: a motion then depends on its batch", _GRADIENT
    )
    preset: PresetName = _option(
        "none",
        "several options at once: the published update of ReAlign, with which a motion depends on the batch it shares",
        _GRADIENT,
        flag="--guidance-preset",
    )

    def __post_init__(self) -> None:
        self._lay_preset()
        for each in fields(self):
            value, least = getattr(self, each.name), each.metadata["at_least"]
            if not _fits(value, each.type):
                raise InputError(f"Guidance {each.name}={value!r} is not {_KINDS[each.type]}; give one.")
            if get_origin(each.type) is Literal and value not in get_args(each.type):
                choices = ", ".join(get_args(each.type))
                what = "guidance" if each.name == "method" else f"guidance {each.name}"
                raise InputError(f"Unknown {what} {value!r}; choose one of {choices}.")
            if isinstance(value, (int, float)) and not math.isfinite(value):
                raise InputError(f"Guidance {each.name}={value} is not a finite number; give one.")
            if least is not None and value < least:
                raise InputError(f"Guidance {each.name}={value} is too small; give {least} or more.")
        if not 0 <= self.start <= self.stop <= 1:
            raise InputError(f"The guidance window [{self.start}, {self.stop}] must lie within [0, 1], start first.")
        for name in ("temperature", "norm_limit"):
            if getattr(self, name) <= 0:
                raise InputError(f"Guidance {name}={getattr(self, name)} must be positive.")
        if self.point == "x_next" and self.update == "score_shift":
            raise InputError(
                "Guidance point='x_next' is the sample after the step, but update='score_shift' acts before it; choose "
                "update additive or ddpm, or another point."
            )

    def __repr__(self) -> str:
        changed = [each for each in fields(self) if each.name == "method" or getattr(self, each.name) != each.default]
        return f"GuidanceConfig({', '.join(f'{each.name}={getattr(self, each.name)!r}' for each in changed)})"

    def _lay_preset(self) -> None:
        """Replace defaults by the options of the preset."""
        for name, value in _preset(self.preset).items():
            if getattr(self, name) == self.__dataclass_fields__[name].default:
                object.__setattr__(self, name, value)
        object.__setattr__(self, "preset", "none")

    @classmethod
    def plain(cls, **given: Any) -> "GuidanceConfig":
        """Guidance of strength 1 at every step and at x_t, changed by the given options; comparable with closed
        forms."""
        bare = {"strength": 1.0, "profile": "constant", "start": 0.0, "interval": 1, "point": "x_t"}
        return cls(**{**bare, **given})

    @classmethod
    def of(cls, given: "GuidanceConfig | Mapping[str, Any] | str | None") -> "GuidanceConfig":
        """A configuration from its fields or from a method's name; None is no guidance.

        Raises:
            InputError: An unknown name, or a value that makes no sense.
        """
        if isinstance(given, GuidanceConfig):
            return given
        return cls().override(given if isinstance(given, Mapping) else {"method": given or "none"})

    @classmethod
    def options(cls, method: str | None = None) -> dict[str, "Field[Any]"]:
        """All fields except `method`, by name; only those that a method reads if one is given."""
        found = {each.name: each for each in fields(cls) if each.name != "method"}
        return {name: each for name, each in found.items() if method is None or method in each.metadata["methods"]}

    def override(self, given: Mapping[str, Any]) -> "GuidanceConfig":
        """A copy with some fields changed; numbers may be text, and a preset is applied first.

        Raises:
            InputError: An unknown name, or a value that makes no sense.
        """
        unknown = next((name for name in given if name not in self.__dataclass_fields__), None)
        if unknown is not None:
            raise InputError(f"Guidance has no option {unknown!r}; choose of {', '.join(self.__dataclass_fields__)}.")
        values = {name: read_option(name, value) for name, value in given.items()}
        return replace(self, **_preset(values.pop("preset", "none")) | values)

    def concerning(self, method: str | None = None) -> dict[str, Any]:
        """The options that a method reads, with their values; of its own method when None."""
        return {name: getattr(self, name) for name in self.options(method or self.method) if name != "preset"}

    def changes(self, usual: "GuidanceConfig") -> dict[str, Any]:
        """The options of the method that differ from `usual`, as few as possible: a preset may be one of them."""
        values = self.concerning()

        def differences(start: GuidanceConfig) -> dict[str, Any]:
            return {name: value for name, value in values.items() if value != getattr(start, name)}

        presets = ({"preset": name} | differences(usual.override({"preset": name})) for name in PRESETS)
        return min((differences(usual), *presets), key=len)

    def weights(self, steps: int) -> dict[int, int]:
        """Indices of the guided sampling steps, each with the number of steps that its gradient stands for."""
        first, end = round(self.start * steps), round(self.stop * steps)
        return {i: min(self.interval, end - i) for i in range(first, end, self.interval)} if self.strength else {}


def _preset(name: Any) -> dict[str, Any]:
    """The options of a preset.

    Raises:
        InputError: There is none of that name.
    """
    if name not in get_args(PresetName):
        raise InputError(f"Unknown guidance preset {name!r}; choose one of {', '.join(get_args(PresetName))}.")
    return PRESETS.get(name, {})


def option_flag(name: str) -> str:
    """The flag of an option on the command line."""
    return GuidanceConfig.__dataclass_fields__[name].metadata["flag"] or f"--{name.replace('_', '-')}"


def read_option(name: str, value: Any) -> Any:
    """Convert text, as from a shell, to the type of a field; other values are returned unchanged.

    Raises:
        InputError: The text does not fit.
    """
    kind = GuidanceConfig.__dataclass_fields__[name].type
    if not isinstance(value, str) or kind not in _KINDS:
        return value
    try:
        return {"true": True, "false": False}[value.lower()] if kind is bool else kind(value)  # type: ignore[operator]
    except (KeyError, ValueError):
        raise InputError(f"{name}={value} does not fit; give {_KINDS[kind]}.") from None


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a field's type; a whole number is a number, a truth value is neither."""
    if kind not in _KINDS:
        return True
    return isinstance(value, (int, float) if kind is float else kind) and isinstance(value, bool) == (kind is bool)


_KINDS: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number"}


def check_word(guidance: Any) -> Word:
    """Check the name of a guidance; None is ``none``.

    Raises:
        InputError: Any other word or value.
    """
    words = get_args(Word)
    if guidance is None:
        return "none"
    if not isinstance(guidance, str) or guidance not in words:
        raise InputError(f"Unknown guidance {guidance!r}; choose one of {', '.join(words)}.")
    return cast(Word, guidance)


USUAL = GuidanceConfig()
"""The default guidance."""
