"""Key maps of transformers built on torch's layers or on MLD's skip transformer."""

_LAYER = {
    "self_attn.in_proj_*": "attention.in_proj.*",
    "self_attn.out_proj.*": "attention.out_proj.*",
    "linear1.*": "fc1.*",
    "linear2.*": "fc2.*",
    "norm1.*": "attention_norm.*",
}
_SELF = {**_LAYER, "norm2.*": "feedforward_norm.*"}
_CROSS = {
    **_LAYER,
    "multihead_attn.in_proj_*": "cross.in_proj.*",
    "multihead_attn.out_proj.*": "cross.out_proj.*",
    "norm2.*": "cross_norm.*",
    "norm3.*": "feedforward_norm.*",
}


def layer_keys(published: str, here: str, cross: bool = False) -> dict[str, str]:
    """Patterns of a `KeyMap` for a layer of ``nn.TransformerEncoder``, or with `cross` of ``nn.TransformerDecoder``.

    Args:
        published: Name of the layer; a ``*`` stands for its number.
        here: Name of the `TransformerLayer`.
        cross: It attends to a memory.
    """
    return {f"{published}.{name}": f"{here}.{own}" for name, own in (_CROSS if cross else _SELF).items()}


def skip_keys(published: str, here: str, cross: bool = False, layers: int = 9) -> dict[str, str]:
    """Patterns of a `KeyMap` for the skip transformer of MLD.

    Args:
        published: Name of the stack.
        here: Name of the `SkipTransformer`.
        cross: It attends to a memory.
        layers: Its layers.
    """
    half = layers // 2
    found: dict[str, str] = {}
    blocks = ["input_blocks." + str(number) for number in range(half)]
    blocks += ["middle_block", *("output_blocks." + str(number) for number in range(half))]
    for number, block in enumerate(blocks):
        found |= layer_keys(f"{published}.{block}", f"{here}.layers.{number}", cross)
    return {**found, f"{published}.linear_blocks.*": f"{here}.skip_proj.*", f"{published}.norm.*": f"{here}.norm.*"}
