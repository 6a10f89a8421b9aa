"""Networks: transformer parts, motion autoencoders, denoisers and the spaces that diffusion lives in."""

from realign.nn.denoisers import Denoiser, MdmDenoiser, MldDenoiser
from realign.nn.embedder import Embedder, JointEmbedding
from realign.nn.reward import RewardModel
from realign.nn.spaces import FeatureSpace, LatentSpace, MotionSpace
from realign.nn.vae import ConvVAE, MotionVAE, SkipTransformerVAE

__all__ = [
    "ConvVAE",
    "Denoiser",
    "Embedder",
    "FeatureSpace",
    "JointEmbedding",
    "LatentSpace",
    "MdmDenoiser",
    "MldDenoiser",
    "MotionSpace",
    "MotionVAE",
    "RewardModel",
    "SkipTransformerVAE",
]
