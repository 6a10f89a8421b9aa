"""Randomness that belongs to a sample, not to a batch, a worker or a process."""

import hashlib

import torch
from jaxtyping import Float, Int
from torch import Tensor


def mix_seed(*parts: int | str) -> int:
    """One non-negative 63-bit seed from several parts (run seed, epoch, item, purpose): equal parts, equal seed."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def sample_generators(seeds: Int[Tensor, "B"] | list[int], purpose: str = "") -> list[torch.Generator]:
    """One CPU generator a sample; `purpose` keeps the draws of different uses of one seed apart."""
    return [torch.Generator().manual_seed(mix_seed(int(seed), purpose)) for seed in seeds]


def randn_per_sample(generators: list[torch.Generator], shape: tuple[int, ...]) -> Float[Tensor, "B ..."]:
    """Standard normal noise (B, *shape), row i drawn from generator i on the CPU."""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def rand_per_sample(generators: list[torch.Generator]) -> Float[Tensor, "B"]:
    """One uniform number in [0, 1) for each sample."""
    return torch.stack([torch.rand((), generator=generator) for generator in generators])


def randint_per_sample(generators: list[torch.Generator], high: int) -> Int[Tensor, "B"]:
    """One integer in [0, high) for each sample."""
    return torch.stack([torch.randint(high, (), generator=generator) for generator in generators])
