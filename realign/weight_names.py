"""Names of weights that were renamed: files of version 0.1.0 load, and fingerprints of models stay what they were."""

from collections.abc import Mapping

from torch import Tensor, nn

_ENDS = {"in_proj": "read", "out_proj": "write"}
FORMER: dict[str, dict[str, str]] = {
    "realign.nn.transformer.Attention": {"in_proj": "qkv", "out_proj": "out"},
    "realign.nn.transformer.TransformerLayer": {"fc1": "rise", "fc2": "fall"},
    "realign.nn.transformer.SkipTransformer": {"skip_proj": "joins"},
    "realign.nn.denoisers._TransformerDenoiser": {"time_embedding": "step", **_ENDS},
    "realign.nn.reward.Patches": {"proj": "read"},
    "realign.nn.reward.TransformerReward": {"time_embedding": "step", "latent_proj": "spread", "out_proj": "write"},
    "realign.nn.vae.SkipTransformerVAE": _ENDS,
    "realign.nn.vae.ConvVAE": _ENDS,
    "realign.nn.vae.ResidualBlock": {"conv1": "wide", "conv2": "point"},
    "realign.evaluators.contrastive.MotionTower": {"down": "read", "convs": "refine", "out_proj": "write"},
    "realign.evaluators.contrastive.TextTower": {"out_proj": "write"},
}
"""By class, which also holds for its subclasses: names of its parts, and those that version 0.1.0 wrote."""


def former_names(module: nn.Module) -> dict[str, str]:
    """Names of the parameters and saved buffers of a module, each with the name that version 0.1.0 gave it."""
    parts = {"": ""}  # names of the modules within, each before those inside it
    for name, each in module.named_modules(remove_duplicate=False):
        renamed: dict[str, str] = {}
        for kind in reversed(type(each).__mro__):
            renamed |= FORMER.get(f"{kind.__module__}.{kind.__qualname__}", {})
        for child in each._modules:
            parts[_join(name, child)] = _join(parts[name], renamed.get(child, child))
    names = {}
    for name in module.state_dict():
        owner, _, own = name.rpartition(".")
        names[name] = _join(parts.get(owner, owner), own)
    return names


def with_current_names(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """The weights of a file under the names that a module gives them today."""
    names = former_names(module)
    current = {former: name for name, former in names.items() if former not in names}
    return {current.get(name, name): value for name, value in state.items()}


def _join(owner: str, name: str) -> str:
    return f"{owner}.{name}" if owner else name
