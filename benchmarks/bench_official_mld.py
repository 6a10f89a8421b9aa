"""Imported MLD against the bare layers of its original program, unguided and guided, in one run.

    python benchmarks/bench_official_mld.py [--device cuda] [--threads 1] [--steps 50] [--batch 1 32]

Sampling is whole: classifier-free guidance at every step, then the decoder. Beside it runs a plain loop over the layers
that the published program is made of, torch's MultiheadAttention, Linear and LayerNorm, with random weights. Guided
sampling adds the gradient of a reward of the size of SPM at every second step, through the decoder on both sides.
Rounds alternate; the ratios are medians of the rounds' ratios, below 1 where the imported generator is faster. On a
CPU, seconds are those of the processor. `bench_official.py` tells what the import costs.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import DDIMScheduler
from table import clock, report
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "parts"))
from official_parts import read_spec, write_published, write_statistics

from realign.checkpoint.official.importing import build, read_official
from realign.guidance import GuidanceConfig, RewardObjective, RewardSteering
from realign.nn import SPM, Diffusion, Embedder, FeatureSpace
from realign.text.hashing import HashingEncoder

FRAMES, WIDTH, FEATURES = 196, 256, 263


class Layer(nn.Module):
    """A layer of MLD: attention, cross-attention if asked for, and feed-forward, each normalised after its sum."""

    def __init__(self, cross: bool = False) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.cross = nn.MultiheadAttention(WIDTH, 4, batch_first=True) if cross else None
        self.rise, self.fall = nn.Linear(WIDTH, 1024), nn.Linear(1024, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))

    def forward(self, x: Tensor, padding: Tensor | None, memory: Tensor | None) -> Tensor:
        x = self.norms[0](x + self.attention(x, x, x, key_padding_mask=padding)[0])
        if self.cross is not None:
            x = self.norms[1](x + self.cross(x, memory, memory)[0])
        return self.norms[2](x + self.fall(F.gelu(self.rise(x))))


class Stack(nn.Module):
    """Nine of them as a U."""

    def __init__(self, cross: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(cross) for _ in range(9))
        self.joins, self.norm = nn.ModuleList(nn.Linear(2 * WIDTH, WIDTH) for _ in range(4)), nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor, padding: Tensor | None = None, memory: Tensor | None = None) -> Tensor:
        kept = []
        for i, layer in enumerate(self.layers):
            if i > 4:
                x = self.joins[i - 5](torch.cat([x, kept.pop()], -1))
            x = layer(x, padding, memory)
            if i < 4:
                kept.append(x)
        return self.norm(x)


class Bare(nn.Module):
    """The published generator and the motion half of a reward, as plain loops over layers."""

    def __init__(self) -> None:
        super().__init__()
        self.denoiser, self.decoder, self.reward = Stack(), Stack(cross=True), Stack()
        self.time = nn.Sequential(nn.Linear(768, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))
        self.text, self.write, self.read = nn.Linear(768, WIDTH), nn.Linear(WIDTH, FEATURES), nn.Linear(FEATURES, WIDTH)
        self.positions = nn.Parameter(torch.randn(500, WIDTH))

    def denoise(self, x: Tensor, t: int, text: Tensor) -> Tensor:
        angles = t * torch.exp(-9.21 * torch.arange(384, device=x.device) / 384)
        step = self.time(torch.cat([angles.cos(), angles.sin()]).expand(len(x), -1))
        tokens = torch.cat([x, step[:, None], self.text(F.relu(text))[:, None]], 1)
        return self.denoiser(tokens + self.positions[:3])[:, :1]

    def decode(self, x: Tensor, padding: Tensor) -> Tensor:
        queries = self.positions[:FRAMES].expand(len(x), -1, -1)
        return self.write(self.decoder(queries, padding, x)).masked_fill(padding[..., None], 0)

    def score(self, x: Tensor, padding: Tensor, text: Tensor) -> Tensor:
        tokens = torch.cat([self.positions[:3].expand(len(x), -1, -1), self.read(self.decode(x, padding))], 1)
        motion = self.reward(tokens + self.positions[: tokens.shape[1]], F.pad(padding, (3, 0)))[:, 0]
        return F.cosine_similarity(motion, text, dim=-1).sum()

    @torch.no_grad()
    def sample(self, x: Tensor, text: Tensor, padding: Tensor, steps: int, guided: bool) -> Tensor:
        scheduler = DDIMScheduler(1000, 0.00085, 0.012, "scaled_linear", clip_sample=False, set_alpha_to_one=False,
                                  steps_offset=1)  # fmt: skip
        scheduler.set_timesteps(steps)
        both = torch.cat([torch.zeros_like(text), text])
        for number, t in enumerate(scheduler.timesteps.tolist()):
            free, conditional = self.denoise(torch.cat([x, x]), t, both).chunk(2)
            x = scheduler.step(free + 7.5 * (conditional - free), t, x).prev_sample
            if guided and number % 2 == 0:
                with torch.enable_grad():
                    leaf = x.detach().requires_grad_()
                    x = x + torch.autograd.grad(self.score(leaf, padding, text[:, :WIDTH]), leaf)[0]
        return self.decode(x, padding)


def reward_of(generator: Diffusion) -> Embedder:
    """A reward of the size of SPM on decoded motions."""
    made = Embedder(SPM(text_dim=768), FeatureSpace(), HashingEncoder(768), skeleton="humanml3d")
    made.normalizer.load_state_dict(generator.normalizer.state_dict())
    return made.eval().requires_grad_(False)


def compare(folder: Path, device: torch.device, steps: int, batches: list[int], rounds: int) -> None:
    """Ratios of the imported MLD to the bare layers."""
    variant = next(iter(read_spec("mld")["variants"].items()))
    (path,) = write_published(variant[1], folder / variant[0])
    generator = build(read_official("mld", path, stats=write_statistics(folder / "263", FEATURES))).to(device)
    assert isinstance(generator, Diffusion)
    generator.text_encoder, bare = HashingEncoder(768).to(device), Bare().to(device).eval().requires_grad_(False)
    config = GuidanceConfig(through_decoder=True, start=0.0, stop=1.0, interval=2, strength=1.0)
    steering = RewardSteering(RewardObjective(reward_of(generator).to(device), None, config))
    for batch in batches:
        captions, lengths = ["a person walks"] * batch, torch.full((batch,), FRAMES)
        lengths[-1] -= 1  # so that masks are needed, as nearly always
        seeds, text = torch.arange(batch), torch.randn(batch, 768, device=device)
        padding = torch.arange(FRAMES, device=device) >= lengths.to(device)[:, None]
        noise = torch.randn(batch, 1, WIDTH, device=device)
        for guided in (False, True):
            maker = steering.sample if guided else generator.sample
            first = (generator,) if guided else ()

            def ours(maker=maker, first=first, given=(captions, lengths, seeds)) -> Tensor:  # type: ignore[no-untyped-def]
                return maker(*first, *given, steps=steps)

            def theirs(guided: bool = guided, given: tuple = (noise, text, padding)) -> Tensor:
                return bare.sample(*given, steps, guided)

            times = [(seconds(ours, device), seconds(theirs, device)) for _ in range(rounds + 1)][1:]
            name = f"imported MLD, batch {batch}, {'guided' if guided else 'unguided'}"
            mine, other = (statistics.median(each) for each in zip(*times, strict=True))
            print(f"{name:40} realign {mine:8.2f} s   bare layers {other:8.2f} s", flush=True)
            report(f"{name}: seconds over bare layers", statistics.median(a / b for a, b in times), "at most 1")


def seconds(call: Callable[[], object], device: torch.device) -> float:
    start = clock(device)
    call()
    return clock(device) - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    print(f"{device}, {options.threads} threads")
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), device, options.steps, options.batch, options.rounds)


if __name__ == "__main__":
    main()
