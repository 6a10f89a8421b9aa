"""Every row of configs/paper without the published weights: from synthetic downloads to tables. Numbers mean nothing.

    python benchmarks/rehearse_paper.py [--folder FOLDER] [--steps 4] [--clips 32] [--only NAME ...]

What docs/reproduce.md describes runs here step by step, with checkpoints of the published names, shapes and nesting
that the specifications in REALIGN_OFFICIAL describe, clips of the mocap set in REALIGN_DATA in the layouts of HumanML3D
and KIT-ML, and random text encoders of the published widths: import, index, `realign evaluate --config paper/NAME`. It
shows that every row runs to its table. `--steps 0` keeps the published numbers of sampling steps.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests/parts"))

from guo_parts import write_official  # noqa: E402
from official_parts import read_spec, write_published  # noqa: E402

from realign.cli import main  # noqa: E402
from realign.data.store import PackedMotions  # noqa: E402
from realign.text import OpenClipEncoder  # noqa: E402

SAID = "synthetic weights, random text encoders, other motions: the numbers mean nothing"
CLIPS = {"train": 64, "val": 8, "test": 64}
TO_KIT = (0, 3, 6, 12, 15, 17, 19, 21, 16, 18, 20, 2, 5, 8, 8, 11, 1, 4, 7, 7, 10)
"""Joints of HumanML3D in the places of KIT-ML's, which has one more in each foot."""
MOCAP = Path(os.environ.get("REALIGN_DATA", ROOT.parent / "shared/data")) / "mocap"


def make_layout(folder: Path, skeleton: str) -> None:
    """Some clips as the data set is laid out."""
    for name in ("new_joints", "texts"):
        (folder / name).mkdir(parents=True)
    for split, count in CLIPS.items():
        ids = [line for line in (MOCAP / f"{split}.txt").read_text().split() if line.startswith(("B", "0"))]
        (folder / f"{split}.txt").write_text("\n".join(ids[:count]) + "\n")
        for each in ids[:count]:
            joints = np.load(MOCAP / f"new_joints/{each}.npy")
            if skeleton == "kit":
                joints = joints[:, TO_KIT]
                joints[:, (14, 19)] = (joints[:, (13, 18)] + joints[:, (15, 20)]) / 2
            np.save(folder / f"new_joints/{each}.npy", joints)
            shutil.copy(MOCAP / f"texts/{each}.txt", folder / f"texts/{each}.txt")


def make_text_encoders(folder: Path) -> dict[str, str]:
    """Encoders of the published widths and one layer, but for CLIP, whose architecture goes by its name."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import DistilBertConfig, DistilBertModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

    folder.mkdir()
    for name in ("ViT-B-32", "ViT-L-14"):
        tower: Any = OpenClipEncoder(f"{name}-quickgelu", None).build()
        torch.save({key: each.half() for key, each in tower.tower.state_dict().items()}, folder / f"{name}.pt")
    words = sorted({word for file in MOCAP.glob("texts/B000*.txt") for word in file.read_text().split("#")[0].split()})
    for name, marks in (("t5", ["</s>"]), ("distilbert", ["[CLS]", "[SEP]"])):
        vocabulary = {word: row for row, word in enumerate(dict.fromkeys(["<pad>", "<unk>", *marks, *words]))}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.post_processor = processors.TemplateProcessing(
            " ".join([*marks[:-1], "$A", marks[-1]]), special_tokens=[(mark, vocabulary[mark]) for mark in marks]
        )
        kept = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>")
        kept.save_pretrained(folder / name)
        if name == "t5":
            T5EncoderModel(
                T5Config(vocab_size=len(vocabulary), d_model=1024, num_layers=1, num_heads=16)
            ).save_pretrained(folder / name)
        else:
            DistilBertModel(DistilBertConfig(vocab_size=len(vocabulary), n_layers=1)).save_pretrained(folder / name)
    make_dense(folder / "t5")
    return {name: str(folder / name) for name in ("ViT-B-32.pt", "ViT-L-14.pt", "t5", "distilbert")}


def make_dense(folder: Path) -> None:
    """What sentence-t5-large does after its words: mean, 768 channels, unit norm."""
    from safetensors.torch import save_file

    kinds = ("Transformer", "Pooling", "Dense", "Normalize")
    places = ("", "1_Pooling", "2_Dense", "3_Normalize")
    for place in places[1:3]:
        (folder / place).mkdir()
    modules = [{"type": f"sentence_transformers.models.{k}", "path": p} for k, p in zip(kinds, places, strict=True)]
    sizes = {"in_features": 1024, "out_features": 768, "bias": False}
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode_mean_tokens": true}')
    dense = sizes | {"activation_function": "torch.nn.modules.linear.Identity"}
    (folder / "2_Dense/config.json").write_text(json.dumps(dense))
    save_file({"linear.weight": torch.randn(768, 1024) / 32}, folder / "2_Dense/model.safetensors")


def run(*words: str) -> float:
    """Run a command, and give its seconds."""
    start = time.perf_counter()
    print("\n$ realign " + " ".join(words), flush=True)
    if main(words) != 0:
        raise RuntimeError(f"realign {words[0]} failed")
    return time.perf_counter() - start


def import_all(text: dict[str, str]) -> None:
    """Synthetic downloads, imported as docs/reproduce.md says."""
    for data, channels in (("humanml3d", 259), ("kit", 247)):
        run("prepare", f"data/{data}", "-o", f"prepared/{data}", "--skeleton", data)
        packed = PackedMotions.open(f"prepared/{data}")
        for name, values in (("Mean", packed.mean), ("Std", packed.std)):
            np.save(f"data/{data}/{name}.npy", values)
        weights, glove = write_official(Path("downloads") / f"guo_{data}", channels)
        run("import", "guo", str(weights), "--glove", str(glove), "-o", f"imported/guo_{data}")
    clip, t5 = text["ViT-B-32.pt"], text["t5"]
    for name, peer, variant, encoder, more in (
        ("mdm_humanml3d", "mdm", "humanml_enc_512", clip, []),
        ("mdm_kit", "mdm", "kit_enc_512", clip, []),
        ("motiondiffuse_humanml3d", "motiondiffuse", "t2m", clip, []),
        ("motiondiffuse_kit", "motiondiffuse", "kit", clip, []),
        ("mld_humanml3d", "mld", "humanml3d", text["ViT-L-14.pt"], []),
        ("mld_kit", "mld", "kit", text["ViT-L-14.pt"], []),
        ("motionlcm_humanml3d", "motionlcm", "motionlcm_v2", t5, []),
        ("mldpp_humanml3d", "motionlcm", "mldpp_v2", t5, []),
        ("spm_humanml3d", "spm", "humanml3d", t5, []),
        ("spm_blind_humanml3d", "spm", "humanml3d", t5, ["--mode", "M0T0"]),
        ("spm_kit", "spm", "kit", t5, []),
        ("tmr_humanml3d", "tmr", "split_263", text["distilbert"], []),
    ):
        variants, data = read_spec(peer)["variants"], name.rpartition("_")[2]
        folder = Path("downloads") / name / ("model" if peer == "motiondiffuse" else "files")
        files = write_published(variants[variant], folder)
        if "args" in variants[variant]:
            (folder / "args.json").write_text(json.dumps(variants[variant]["args"]))
        stats = ["--meta" if peer == "motiondiffuse" else "--stats", f"data/{data}"]
        file = folder if len(files) > 1 else files[0]
        run("import", peer, str(file), *stats, "--text-encoder", encoder, *more, "-o", f"imported/{name}")
        shutil.rmtree(folder.parent)
    for name in ("spm_humanml3d", "spm_blind_humanml3d", "spm_kit"):
        words = ["--checkpoint", f"imported/{name}", "--data", f"prepared/{name.rpartition('_')[2]}"]
        run("index", "build", *words, "--without-captions", "-o", f"indexes/{name}")


def rehearse(name: str, clips: int, steps: int, text: dict[str, str]) -> str:
    """Run one row, and give its line of the summary."""
    words = ["evaluate", "--config", f"paper/{name}", "--limit", str(clips)]
    if name.startswith("retrieval"):
        seconds = run(*words, "--sentence-encoder", text["distilbert"])
    else:
        words += ["--replications", "1", "--batch-size", "32"]
        seconds = run(*words, *(["--steps", str(steps)] if steps and "motionlcm" not in name else []))
    found = json.loads(Path(f"results/paper_{name}.json").read_text())
    rows = [each["name"] for each in found["rows"]] if "rows" in found else [f"{len(found['measures'])} measures"]
    return f"{name:28} {seconds:6.1f} s   {', '.join(rows)}"


def rehearsal() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to work; kept, and continued (default: a temporary one)")
    parser.add_argument("--steps", type=int, default=4, help="sampling steps, 0: as configured (default: 4)")
    parser.add_argument("--clips", type=int, default=32, help="(default: 32)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these rows alone")
    options = parser.parse_args()
    if not MOCAP.is_dir():
        parser.error(f"there is no {MOCAP}; set REALIGN_DATA")
    names = options.only or sorted(path.stem for path in (ROOT / "configs/paper").glob("*.yaml"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
        print(f"Rehearsal in {folder}: {SAID}.")
        if not Path("ready.json").is_file():
            for data in ("humanml3d", "kit"):
                make_layout(Path("data") / data, data)
            text = make_text_encoders(folder / "text")
            import_all(text)
            Path("ready.json").write_text(json.dumps(text))
        text, lines, failed = json.loads(Path("ready.json").read_text()), [], 0
        for name in names:
            try:
                lines.append(rehearse(name, options.clips, options.steps, text))
            except Exception as error:
                lines.append(f"{name:28} FAILED {error!r}")
                failed += 1
        os.chdir(ROOT)
    print(f"\n{len(names) - failed} of {len(names)} rows ran ({SAID}):", *lines, sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(rehearsal())
