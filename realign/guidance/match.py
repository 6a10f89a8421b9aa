"""Whether a reward fits a generator."""

import torch

from realign.errors import InputError
from realign.guidance.config import Point
from realign.nn.diffusion import Diffusion
from realign.nn.embedder import JointEmbedding
from realign.nn.spaces import FeatureSpace, MotionSpace


def needs_decoder(reward: JointEmbedding, generator: Diffusion) -> bool:
    """Whether a generator's samples must be decoded and normalised anew for a reward on motion features."""
    own, other = reward.space, generator.space
    if not isinstance(own, FeatureSpace):
        return False
    if not isinstance(other, FeatureSpace) or own.frames != other.frames:  # tokens are not the frames of the motion
        return True
    return not _alike(reward.normalizer, generator.normalizer)


def check_match(
    reward: JointEmbedding, generator: Diffusion, through_decoder: bool = False, point: Point = "x_t"
) -> None:
    """Refuse a reward that does not fit a generator. Their text encoders may differ.

    Args:
        reward: The reward or retriever that guides.
        generator: The diffusion that is guided.
        through_decoder: Samples are decoded to motion features before the reward reads them; latents always are for a
            reward on features.
        point: Where the reward is evaluated: at noisy samples, whose noise it must have been trained with, or at
            predicted clean ones.

    Raises:
        InputError: Space, width or skeleton differ; or statistics or noise, where they matter.
    """
    if reward.skeleton != generator.skeleton:
        raise InputError(
            f"The reward reads motions of the skeleton {reward.skeleton!r}, but the generator makes "
            f"{generator.skeleton!r}; take a reward trained on the generator's data."
        )
    decoded = through_decoder or needs_decoder(reward, generator)
    _check_space(reward.space, generator.space, decoded)
    if point != "x0":
        _check_noise(reward, generator)
    if _alike(reward.normalizer, generator.normalizer):
        return
    if not decoded:
        raise InputError(
            "The reward was trained on data with another Mean and Std than the generator's; train both on the same "
            "prepared data."
        )
    if point != "x0" and isinstance(generator.space, FeatureSpace):
        raise InputError(
            "The reward was trained on data with another Mean and Std than the generator's, so that the same noise is "
            "of another size in each; guide at the point x0, where motions are normalised anew, or train both on the "
            "same prepared data."
        )


def _check_noise(reward: JointEmbedding, generator: Diffusion) -> None:
    if not reward.path.noisy:
        raise InputError(
            "The reward has never seen noise, but guidance at the points x_t and x_next shows it noisy motions; guide "
            "at the point x0, or take a reward trained with the generator's noise schedule."
        )
    own, other = reward.path.fingerprint, generator.path.fingerprint
    if own != other:
        raise InputError(
            f"The reward was trained with the noise schedule {own!r}, but the generator with {other!r}; guide at the "
            "point x0, which has no noise, or train the reward with the generator's noise schedule."
        )


def _check_space(own: MotionSpace, other: MotionSpace, through_decoder: bool) -> None:
    if through_decoder:
        if not isinstance(own, FeatureSpace) or own.width != other.features:
            raise InputError(
                f"Decoded motions have {other.features} features a frame, but the reward reads {own.width} channels "
                f"of a {type(own).__name__}; take a reward trained in a FeatureSpace of {other.features}."
            )
        return
    if type(own) is not type(other):
        raise InputError(
            f"The reward lives in a {type(own).__name__}, but the generator in a {type(other).__name__}; take a reward "
            "of the generator's space, or one of motion features, which guides latents through the decoder."
        )
    if own.width != other.width:
        raise InputError(
            f"The reward reads tokens of width {own.width}, but the generator makes {other.width}; take a reward "
            "trained in the generator's space."
        )
    if not _alike(own, other):
        raise InputError(
            "The reward and the generator hold different autoencoders, so that their latents mean different things; "
            "train the reward with the checkpoint that the generator's space came from."
        )


def _alike(own: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether the weights are equal up to half precision."""
    mine, theirs = own.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(
        value.shape == theirs[name].shape
        and torch.allclose(value.float(), theirs[name].to(value.device).float(), 1e-2, 1e-3)
        for name, value in mine.items()
    )
