"""Random numbers that belong to a sample, independent of batch, worker, process and device.

A draw is a hash of the sample's seed, a purpose and its position (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", SC 2011): there is no order of draws, so that numbers do not depend on other rows, padding or the device. The
hash is SplitMix64 (Steele et al., OOPSLA 2014) in int64 arithmetic, which wraps alike on every device.
"""

import hashlib
import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from realign.masking import lengths_to_mask
from realign.transfer import upload

_GAMMA = 0x9E3779B97F4A7C15 - 2**64  # SplitMix64's constants, as the int64 of the same bits
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64
_CHUNK = {"cpu": 2**17}  # hashes at once, which stay in the cache of a processor
_CHUNK_ELSEWHERE = 2**23  # 64 MB of hashes


def mix_seed(*parts: int | str) -> int:
    """One non-negative 63-bit seed from several parts (run seed, epoch, item, purpose): equal parts, equal seed."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def text_numbers(texts: Sequence[str]) -> Int[Tensor, "N"]:
    """A 63-bit number for every text: equal texts, equal numbers, in every process (Python's own hash is not)."""
    return torch.tensor([mix_seed(text) for text in texts], dtype=torch.int64)


def derive(seeds: Int[Tensor, "*B"], purpose: str, at: Real[Tensor, "*B"] | None = None) -> Int[Tensor, "*B"]:
    """New seeds from others: one for each seed, purpose and number, for draws that must differ from all others.

    Args:
        seeds: One a sample.
        purpose: Separates different uses of one seed.
        at: Further numbers that the new seeds depend on, such as timesteps, on the device of the seeds.
    """
    derived = _mix(_mix(seeds.long() + _GAMMA).add_(mix_seed(purpose)))
    return derived if at is None else _mix(derived + _GAMMA * at.float().view(torch.int32).long())


def uniform(seeds: Int[Tensor, "*B"], purpose: str, device: torch.device | str | None = None) -> Float[Tensor, "*B"]:
    """One number of [0, 1) for each seed, a multiple of 2^-24.

    Args:
        seeds: One a sample.
        purpose: Separates different uses of one seed.
        device: Where the numbers are wanted; where the seeds are when None.
    """
    return ((derive(upload(seeds, device), purpose) >> 40) & 0xFFFFFF).float() * 2**-24


def randn(
    seeds: Int[Tensor, "B"],
    purpose: str,
    lengths: Int[Tensor, "B"],
    width: int,
    device: torch.device | str | None = None,
    size: int | None = None,
) -> Float[Tensor, "B N W"]:
    """Standard normal noise at the leading tokens of each sample, zero beyond its length.

    A number depends on seed, purpose, token and channel alone. Devices differ only by the rounding of logarithm, sine
    and cosine.

    Args:
        seeds: One a sample.
        purpose: Separates different uses of one seed.
        lengths: Tokens of each sample.
        width: Channels W.
        device: Where the noise is wanted; where the lengths are when None.
        size: Tokens N of the padded noise; the longest length when None, which waits for the device of the lengths.
    """
    device = lengths.device if device is None else device
    size = int(lengths.max()) if size is None else size
    return noise_like_mask(seeds, purpose, lengths_to_mask(upload(lengths, device), size), width)


def noise_like_mask(
    seeds: Int[Tensor, "B"], purpose: str, mask: Bool[Tensor, "B N"], width: int
) -> Float[Tensor, "B N W"]:
    """`randn` where a mask says which tokens exist, on its device, without waiting for it."""
    pairs, chunk = (width + 1) // 2, _CHUNK.get(mask.device.type, _CHUNK_ELSEWHERE)
    keys = derive(upload(seeds, mask.device), purpose)
    tokens = _mix(keys[:, None] + _GAMMA * torch.arange(1, mask.shape[1] + 1, device=mask.device)).reshape(-1, 1)
    channels = _GAMMA * torch.arange(1, pairs + 1, device=mask.device)
    noise = torch.empty(len(tokens), width, device=mask.device)
    rows = max(1, chunk // max(1, pairs))
    for start in range(0, len(tokens), rows):
        _normal_pairs(_mix(tokens[start : start + rows] + channels), out=noise[start : start + rows])
    return noise.reshape(*mask.shape, width).mul_(mask[..., None])


def _normal_pairs(bits: Int[Tensor, "R P"], out: Float[Tensor, "R W"]) -> None:
    """Two normal numbers from each hash by the method of Box and Muller (1958), the last one alone where W is odd.

    Its low half is the probability of a larger radius, whose 32 bits reach 6.7 standard deviations; its high half is
    the angle.
    """
    radius = (bits & 0xFFFFFFFF).float().add_(0.5).mul_(2**-32).log_().mul_(-2).sqrt_()
    angle = (bits >> 32).float().mul_(math.pi * 2**-31)
    torch.mul(radius, angle.cos(), out=out[:, 0::2])
    half = out.shape[1] // 2
    torch.mul(radius[:, :half], angle[:, :half].sin_(), out=out[:, 1::2])


def _mix(z: Int[Tensor, "*B"]) -> Int[Tensor, "*B"]:
    """SplitMix64's hash, in place; int64 shifts copy the sign, which the masks take away again."""
    z.bitwise_xor_((z >> 30).bitwise_and_(2**34 - 1)).mul_(_FIRST)
    z.bitwise_xor_((z >> 27).bitwise_and_(2**37 - 1)).mul_(_SECOND)
    return z.bitwise_xor_((z >> 31).bitwise_and_(2**33 - 1))
