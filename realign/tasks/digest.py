"""Where `weights_digest` was before networks needed it too."""

from realign.nn.digest import weights_digest

__all__ = ["weights_digest"]
