"""Networks, and trained models that sample and embed without Lightning."""

from typing import Any

from realign.errors import renamed
from realign.nn.denoisers import Denoiser, MdmDenoiser, MldDenoiser
from realign.nn.diffusion import Diffusion, Generator
from realign.nn.embedder import Embedder, JointEmbedding
from realign.nn.official_mdm import OfficialMdmDecoder, OfficialMdmEncoder
from realign.nn.official_mld import OfficialMldDenoiser
from realign.nn.official_motiondiffuse import OfficialMotionDiffuse
from realign.nn.reward import TransformerReward
from realign.nn.spaces import FeatureSpace, LatentSpace, MotionSpace
from realign.nn.spm import SPM
from realign.nn.tmr import TMR
from realign.nn.vae import ConvVAE, MotionVAE, SkipTransformerVAE

__all__ = [
    "SPM",
    "TMR",
    "ConvVAE",
    "Denoiser",
    "Diffusion",
    "Embedder",
    "FeatureSpace",
    "Generator",
    "JointEmbedding",
    "LatentSpace",
    "MdmDenoiser",
    "MldDenoiser",
    "MotionSpace",
    "MotionVAE",
    "OfficialMdmDecoder",
    "OfficialMdmEncoder",
    "OfficialMldDenoiser",
    "OfficialMotionDiffuse",
    "SkipTransformerVAE",
    "TransformerReward",
]


def __getattr__(name: str) -> Any:
    if name == "RewardModel":  # now the name of the base class in `realign.interfaces`
        renamed("realign.nn.RewardModel", "realign.nn.TransformerReward")
        return TransformerReward
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
