"""Files of the evaluator with random numbers under the published names and shapes."""

import pickle
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

WORDS = ["sos", "eos", "unk", "a", "person", "walk", "walks", "left", "slowly", "man"]


def recurrent_shapes(width: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """A bidirectional GRU of one layer behind a linear map, before two more, as published."""
    shapes: dict[str, tuple[int, ...]] = {
        "hidden": (2, 1, hidden),
        "input_emb.weight": (hidden, width),
        "input_emb.bias": (hidden,),
        "output_net.0.weight": (hidden, 2 * hidden),
        "output_net.0.bias": (hidden,),
        "output_net.1.weight": (hidden,),
        "output_net.1.bias": (hidden,),
        "output_net.3.weight": (512, hidden),
        "output_net.3.bias": (512,),
    }
    for direction in ("l0", "l0_reverse"):
        shapes |= {
            f"gru.weight_ih_{direction}": (3 * hidden, hidden),
            f"gru.weight_hh_{direction}": (3 * hidden, hidden),
        }
        shapes |= {f"gru.bias_ih_{direction}": (3 * hidden,), f"gru.bias_hh_{direction}": (3 * hidden,)}
    return shapes


def published_shapes(channels: int = 259) -> dict[str, dict[str, tuple[int, ...]]]:
    """Names and shapes of the three encoders: 259 channels for HumanML3D, 247 for KIT-ML."""
    return {
        "movement_encoder": {
            "main.0.weight": (512, channels, 4),
            "main.0.bias": (512,),
            "main.3.weight": (512, 512, 4),
            "main.3.bias": (512,),
            "out_net.weight": (512, 512),
            "out_net.bias": (512,),
        },
        "motion_encoder": recurrent_shapes(512, 1024),
        "text_encoder": recurrent_shapes(300, 512) | {"pos_emb.weight": (300, 15), "pos_emb.bias": (300,)},
    }


def published_weights(channels: int = 259) -> dict[str, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return {
        part: {name: 0.02 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        for part, shapes in published_shapes(channels).items()
    }


def write_official(root: Path, channels: int = 259) -> tuple[Path, Path]:
    """Folders of weights and of word vectors, as they unpack."""
    kit = channels == 247
    folder, glove = root / ("kit" if kit else "t2m"), root / "glove"
    meta = folder / ("Comp_v6_KLD005" if kit else "Comp_v6_KLD01") / "meta"
    for each in (folder / "text_mot_match/model", meta, glove):
        each.mkdir(parents=True)
    optimizer = {"state": {}, "param_groups": [{"lr": 1e-4, "params": [0, 1]}]}
    content = published_weights(channels) | {"opt_text_encoder": optimizer, "epoch": 7, "iter": 1000}
    torch.save(content, folder / "text_mot_match/model/finest.tar")
    rng = np.random.default_rng(0)
    np.save(meta / "mean.npy", rng.normal(size=channels + 4).astype(np.float32))
    np.save(meta / "std.npy", rng.uniform(0.5, 2, size=channels + 4).astype(np.float32))
    rows = {word: len(WORDS) - 1 - i for i, word in enumerate(WORDS)}
    np.save(glove / "our_vab_data.npy", rng.normal(size=(len(WORDS), 300)))
    (glove / "our_vab_words.pkl").write_bytes(pickle.dumps(WORDS))
    (glove / "our_vab_idx.pkl").write_bytes(pickle.dumps(rows))
    return folder, glove
