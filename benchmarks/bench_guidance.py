"""Cost of guidance: seconds to sample with it over seconds without, in one run.

    python benchmarks/bench_guidance.py [--device cuda] [--threads 2] [--steps 50] [--only PATTERN] [--tiny]

Full-size parts with random weights, DDIM with classifier-free guidance, batches of 1 and 32 motions of 196 frames.
Generators: MldDenoiser, 9 layers, 256 wide, over the 49 x 16 latents of ConvVAE and over the one latent of 256 numbers
of the published autoencoder; MdmDenoiser on features, 8 layers, 512 wide, one token a frame, and that of
configs/generator/mdm_mocap.yaml, 6 layers, 256 wide, one token for four frames. Rewards: of the size of
arXiv 2511.19217 (9 layers, 256 wide, feed-forward 1024) and of the shipped one (3 layers, feed-forward 512), without
dropout, on latents or on patches of four frames. Rounds alternate between all methods; the ratios are medians of the
rounds' ratios. A multiple of five steps gives the ratios of fifty, but for the work before and after the steps.
On a CPU, seconds are those of the processor. The last lines say where the time of a guided step goes.
"""

import argparse
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from diffusers import DDPMScheduler
from table import clock, report

from realign.guidance import RewardObjective, RewardSteering
from realign.guidance.config import USUAL, GuidanceConfig
from realign.masking import lengths_to_mask
from realign.nn import (
    ConvVAE,
    FeatureSpace,
    LatentSpace,
    MdmDenoiser,
    MldDenoiser,
    MotionSpace,
    MotionVAE,
    SkipTransformerVAE,
    TransformerReward,
)
from realign.tasks import GeneratorTask, RewardTask
from realign.text.hashing import HashingEncoder

TEXT, FRAMES = 768, 196
AIMS = {
    ("latents, 49 x 16", "3 layers, every step", 1): "at most 1.25",
    ("latents, 49 x 16", "3 layers, every step", 32): "at most 1.15",
}


@dataclass
class Case:
    """One generator and the methods to steer it."""

    name: str
    task: GeneratorTask
    methods: dict[str, RewardSteering]


def seconds(call: Callable[[], object], device: torch.device) -> float:
    start = clock(device)
    call()
    return clock(device) - start


def noise() -> DDPMScheduler:
    return DDPMScheduler(beta_schedule="scaled_linear", clip_sample=False, prediction_type="sample")


def latents(vae: MotionVAE) -> LatentSpace:
    space = LatentSpace(vae)
    space.load_vae(vae, torch.zeros(vae.width), torch.ones(vae.width))
    return space


def reward(
    space: MotionSpace, patch: int, layers: int, feedforward: int, hidden: int, device: torch.device
) -> RewardTask:
    sizes = {"hidden": hidden, "layers": layers, "feedforward": feedforward, "decoder_layers": 1, "patch": patch}
    model = TransformerReward(space.width, TEXT, **sizes)
    task = RewardTask(model, space, HashingEncoder(TEXT), noise(), skeleton="humanml3d")
    task.normalizer.fit(torch.zeros(263), torch.ones(263))
    return task.eval().requires_grad_(False).to(device)


def steering(task: RewardTask, config: GuidanceConfig) -> RewardSteering:
    return RewardSteering(RewardObjective(task, config=config))


def generator(space: MotionSpace, denoiser: torch.nn.Module, steps: int, device: torch.device) -> GeneratorTask:
    task = GeneratorTask(
        denoiser, space, HashingEncoder(TEXT), noise(), steps=steps, sampling_scheduler="ddim", skeleton="humanml3d"
    )  # type: ignore[arg-type]
    task.normalizer.fit(torch.zeros(263), torch.ones(263))
    return task.eval().requires_grad_(False).to(device)


def cases(steps: int, device: torch.device, tiny: bool) -> list[Case]:
    small = 32 if tiny else 256
    every = GuidanceConfig.plain()
    sizes = {f"{n} layers": (n, wide, small, device) for n, wide in (((1, 64),) if tiny else ((9, 1024), (3, 512)))}
    features = {size: reward(FeatureSpace(), 4, *parts) for size, parts in sizes.items()}

    def on_latents(name: str, vae: MotionVAE, pairs: bool) -> Case:
        # one autoencoder for all: what is frozen may be shared
        methods = {}
        for size, parts in sizes.items():
            latent = reward(latents(vae), 1, *parts)
            methods[f"{size}, every step"] = steering(latent, every)
            methods[f"{size}, default options"] = steering(latent, USUAL)
            methods[f"{size}, through the decoder"] = steering(features[size], replace(every, through_decoder=True))
            if pairs:
                joined = reward(latents(vae), 2, *parts)
                methods[f"{size}, on pairs of latents, every step"] = steering(joined, every)
        denoiser = MldDenoiser(vae.width, TEXT, small, 3 if tiny else 9)
        return Case(name, generator(latents(vae), denoiser, steps, device), methods)

    def on_features(name: str, denoiser: MdmDenoiser) -> Case:
        methods = {}
        for size, task in features.items():
            methods[f"{size}, every step"] = steering(task, every)
            methods[f"{size}, default options"] = steering(task, USUAL)
        return Case(name, generator(FeatureSpace(), denoiser, steps, device), methods)

    torch.manual_seed(0)
    published = MdmDenoiser(263, TEXT, 32 if tiny else 512, 2 if tiny else 8)
    patched = MdmDenoiser(263, TEXT, small, 2 if tiny else 6, feedforward=64 if tiny else 512, patch=4)
    one_latent = SkipTransformerVAE(263, small, 1, 3 if tiny else 9)
    return [
        on_latents("latents, 49 x 16", ConvVAE(263, 16, small), True),
        on_latents("latents, 1 x 256", one_latent, False),
        on_features("features, by frame", published),
        on_features("features, by four", patched),
    ]


def compare(case: Case, batch: int, rounds: int, device: torch.device) -> None:
    captions = [f"a person walks {number} steps" for number in range(batch)]
    lengths = torch.full((batch,), FRAMES, device=device)

    seeds = torch.arange(batch)
    calls: dict[str, Callable[[], object]] = {"unguided": lambda: case.task.sample(captions, lengths, seeds)}
    for name, method in case.methods.items():
        calls[name] = lambda method=method: method.sample(case.task, captions, lengths, seeds)  # type: ignore[misc]
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            value = seconds(call, device)
            if number:  # the first round warms up
                taken[name].append(value)
    for name, values in taken.items():
        ratio = statistics.median(a / b for a, b in zip(values, taken["unguided"], strict=True))
        print(f"{case.name:20} {batch:5d} {name:42} {statistics.median(values):9.3f} {ratio:7.2f}", flush=True)
        if name != "unguided":
            aimed = (case.name, name, batch)
            report(f"guidance, {case.name}, {name}, batch {batch}", ratio, AIMS.get(aimed, ""))


def breakdown(case: Case, batch: int, device: torch.device) -> None:
    """Milliseconds of the parts of one guided step: the doubled denoiser, the reward forward, and its gradient."""
    lengths = torch.full((batch,), FRAMES, device=device)
    mask = case.task.space.token_mask(lengths_to_mask(lengths))
    x = torch.randn(*mask.shape, case.task.space.width, device=device)
    t, captions = torch.full((batch,), 500, device=device), ["a person walks"] * batch
    with torch.no_grad():
        predict = case.task.predictor(case.task.encode_text(captions), mask)
        # methods that differ in their options alone are made of the same parts
        parted = {
            (method.objective, method.config.through_decoder): name for name, method in reversed(case.methods.items())
        }
        for name in reversed(parted.values()):
            method = case.methods[name]
            guidance = method.guidance(case.task, captions, lengths)
            parts = {
                "denoiser": lambda: predict(x, t),
                "reward": lambda g=guidance: g.reward(x, t, mask),
                "reward and gradient": lambda g=guidance: g.gradient(x, t, mask),
                "binding": lambda w=method: w.guidance(case.task, captions, lengths),
            }
            times = {
                part: 1000 * statistics.median(seconds(call, device) for _ in range(5)) for part, call in parts.items()
            }
            told = ", ".join(f"{part} {value:.1f}" for part, value in times.items())
            print(f"{case.name:20} {batch:5d} {name:42} ms: {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument(
        "--only", default="", metavar="PATTERN", help='of "generator: method", such as "latents.*every"'
    )
    parser.add_argument("--tiny", action="store_true", help="small networks, to see that everything runs")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    print(f"{device}, {options.threads} threads, {options.steps} DDIM steps")
    print(f"{'generator':20} {'batch':>5} {'method':42} {'seconds':>9} {'ratio':>7}")
    made = cases(options.steps, device, options.tiny)
    for case in made:
        case.methods = {
            method: it for method, it in case.methods.items() if re.search(options.only, f"{case.name}: {method}")
        }
    made = [case for case in made if case.methods]
    for case in made:
        for batch in options.batches:
            compare(case, batch, options.rounds, device)
    for case in made:
        for batch in options.batches:
            breakdown(case, batch, device)


if __name__ == "__main__":
    main()
