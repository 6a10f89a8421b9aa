"""Imported MDM against the bare layers of its original program, and what an import costs, in one run.

    python benchmarks/bench_official.py [--steps 5] [--batches 1,8] [--rounds 5] [--folder FOLDER]

The bare layers are torch's, sequence first as the original has them, with the same weights and no more of a loop than
two lines: one pass a step without classifier-free guidance, two passes with it, and for guidance by a reward the
gradient of the same reward at every step, also here. Rounds alternate; the ratios are medians of the rounds' ratios,
below 1 where the imported generator is faster. On a CPU, seconds are those of the processor.

Imports run in processes of their own, each over synthetic weights in the published layout, which the specifications in
the folder describe (default: REALIGN_OFFICIAL); without them that part is left out. Reading torch alone takes as much
memory as is told beside them.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from realign.guidance import RewardObjective, RewardSteering
from realign.guidance.config import GuidanceConfig
from realign.nn import Embedder, FeatureSpace, Generator, OfficialMdmEncoder, TransformerReward
from realign.text.hashing import HashingEncoder
from realign.text.without_text import ZeroWithoutText

FRAMES, SCALE = 196, 2.5


class Bare(nn.Module):
    """The encoder variant in torch's layers, with the weights of an imported one."""

    def __init__(self, taken: OfficialMdmEncoder) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(512, 4, 1024, 0.1, "gelu")
        self.stack = nn.TransformerEncoder(layer, len(taken.transformer.layers), enable_nested_tensor=False)
        self.read, self.write, self.text, self.step = (
            taken.in_proj,
            taken.out_proj,
            taken.text_proj,
            taken.time_embedding,
        )
        rate = torch.exp(torch.arange(0, 512, 2) * (-math.log(10000.0) / 512))
        angle = torch.arange(5000)[:, None] * rate
        self.table = torch.stack([angle.sin(), angle.cos()], -1).reshape(5000, 1, 512)
        for ours, theirs in zip(taken.transformer.layers, self.stack.layers, strict=True):
            pairs = (
                (theirs.self_attn.out_proj, ours.attention.out_proj), (theirs.linear1, ours.fc1),
                (theirs.linear2, ours.fc2), (theirs.norm1, ours.attention_norm), (theirs.norm2, ours.feedforward_norm),
            )  # fmt: skip
            for into, source in pairs:
                into.load_state_dict(source.state_dict())
            theirs.self_attn.in_proj_weight.data.copy_(ours.attention.in_proj.weight)
            theirs.self_attn.in_proj_bias.data.copy_(ours.attention.in_proj.bias)

    def forward(self, x: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """Prediction for noisy frames (B, F, C)."""
        first = self.step(self.table[t]).transpose(0, 1) + self.text(text)[None]
        tokens = torch.cat([first, self.read(x.transpose(0, 1))])
        return self.write(self.stack(tokens + self.table[: len(tokens)])[1:]).transpose(0, 1)


def generator(steps: int) -> Generator:
    torch.manual_seed(0)
    noise = DDPMScheduler(steps, beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=False)
    space, encoder = FeatureSpace(263, FRAMES), ZeroWithoutText(HashingEncoder(512))
    options = {"guidance_scale": SCALE, "steps": steps, "sampling_scheduler": "ancestral"}
    made = Generator(OfficialMdmEncoder(), space, encoder, "humanml3d", noise, **options)
    made.normalizer.fit(torch.zeros(263), torch.ones(263))
    return made.eval().requires_grad_(False)


def reward(steps: int) -> Embedder:
    noise = DDPMScheduler(steps, beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=False)
    model = TransformerReward(263, 512, hidden=256, layers=9, feedforward=1024, decoder_layers=0, patch=4, dropout=0.0)
    made = Embedder(model, FeatureSpace(263), HashingEncoder(512), "humanml3d", noise)
    made.normalizer.fit(torch.zeros(263), torch.ones(263))
    return made.eval().requires_grad_(False)


def bare_loop(
    model: Generator, bare: Bare, text: Tensor, scale: float, judge: Embedder | None, captions: list[str]
) -> None:
    """Ancestral sampling with nothing around it."""
    solver, count = model.path.solver(model.steps, "ancestral")(), len(text)
    x, mask = torch.randn(count, FRAMES, 263), torch.ones(count, FRAMES).bool()
    target = None if judge is None else judge.embed_captions(captions)
    for index, call in enumerate(solver.evaluations):
        t = torch.full((count,), int(call.t))
        with torch.no_grad():
            out = bare(x, t, text)
            if scale != 1:
                free = bare(x, t, 0 * text)
                out = free + scale * (out - free)
        if judge is not None:
            with torch.enable_grad():
                seen = x.detach().requires_grad_()
                (gradient,) = torch.autograd.grad((judge.model.embed_motion(seen, t, mask) * target).sum(), seen)
            out = out + gradient
        x = solver.step(index, out, x, lambda number, like=x: torch.randn_like(like))


def seconds(call: Callable[[], object]) -> float:
    """Of the processor."""
    start = time.process_time()
    call()
    return time.process_time() - start


def compare(steps: int, batch: int, rounds: int) -> None:
    """Print one line a case."""
    model, judge = generator(steps), reward(steps)
    bare, captions = Bare(model.denoiser).eval(), [f"a person walks {number} steps" for number in range(batch)]
    lengths, seeds = torch.full((batch,), FRAMES), torch.arange(batch)
    text = model.encode_text(captions).pooled
    steering = RewardSteering(RewardObjective(judge, None, GuidanceConfig.plain()))
    cases = {
        "unguided": (lambda: model.sample(captions, lengths, seeds, guidance_scale=1.0), 1.0, None),
        "classifier-free": (lambda: model.sample(captions, lengths, seeds), SCALE, None),
        "and by a reward": (lambda: steering.sample(model, captions, lengths, seeds), SCALE, judge),
    }
    for name, (ours, scale, used) in cases.items():
        pairs = []
        for number in range(rounds + 1):
            own = seconds(ours)
            other = seconds(lambda scale=scale, used=used: bare_loop(model, bare, text, scale, used, captions))
            pairs += [(own, other)] * (number > 0)
        ratio = statistics.median(own / other for own, other in pairs)
        each = [1000 * statistics.median(column) / steps for column in zip(*pairs, strict=True)]
        print(f"batch {batch:3d}  {name:16s} {each[0]:8.1f} ms a step, bare {each[1]:8.1f}, ratio {ratio:.2f}")


def imports(folder: Path) -> None:
    """Print time and memory of every published kind whose specification is there."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests/parts"))
    from official_parts import write_published, write_statistics

    _, base, _ = measured([sys.executable, "-c", "import torch"])
    print(f"torch alone: {base:.0f} MB")
    for kind in ("mdm", "motiondiffuse", "mld", "motionlcm"):
        spec = folder / f"spec_{kind}.json"
        if not spec.is_file():
            continue
        name, variant = next(iter(json.loads(spec.read_text("utf-8"))["variants"].items()))
        with tempfile.TemporaryDirectory() as home:
            (path,) = write_published(variant, Path(home) / "model")
            write_statistics(Path(home), 263)
            (Path(home) / "args.json").write_text(json.dumps(variant.get("args", {})))
            places = {"mdm": ["--stats", home, "--args", f"{home}/args.json"], "motiondiffuse": ["--meta", home]}
            words = ["import", kind, str(path), *places.get(kind, ["--stats", home]), "-o", f"{home}/out"]
            taken, memory, code = measured([sys.executable, "-m", "realign.cli", *words])
            size = path.stat().st_size / 1e6
            told = "" if code == 0 else f" (left with {code})"
            print(f"{kind} {name}: file {size:.0f} MB, {taken:.1f} s of the processor, {memory:.0f} MB at most{told}")


def measured(words: list[str]) -> tuple[float, float, int]:
    """Seconds of the processor and megabytes at most of a process, and how it left."""
    code = "import resource, subprocess, sys; c = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode; "
    code += "u = resource.getrusage(resource.RUSAGE_CHILDREN); print(u.ru_utime + u.ru_stime, u.ru_maxrss, c)"
    run = subprocess.run([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, check=True, text=True)
    taken, memory, left = run.stdout.split()
    return float(taken), int(memory) / (1e6 if sys.platform == "darwin" else 1e3), int(left)


def main() -> None:
    """Both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("REALIGN_OFFICIAL", "nowhere")))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    imports(options.folder)
    for batch in map(int, options.batches.split(",")):
        compare(options.steps, batch, options.rounds)


if __name__ == "__main__":
    main()
