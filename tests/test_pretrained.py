"""The shipped weights do what the README says: motions follow their captions."""

from pathlib import Path

import numpy as np
import pytest
import torch

from realign import MotionClip, MotionSearch, TextToMotion
from realign.inference import pretrained_folder
from realign.motion.features import joints_to_features
from realign.motion.skeleton import get_skeleton
from realign.tasks import EvaluatorTask, load_task

SIDES = {"left": 20, "right": 21}  # wrists


@pytest.fixture(scope="module", params=["generator", "generator_features"])
def clips(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, MotionClip]:
    patch = pytest.MonkeyPatch()
    patch.setenv("REALIGN_CACHE", str(tmp_path_factory.mktemp("cache")))
    sentences = [
        "a person walks forward",
        "a person runs",
        "a person walks and turns left",
        "a person walks and turns right",
        "a person raises the left hand",
        "a person waves the right hand",
    ]
    model = TextToMotion.from_pretrained(pretrained_folder(request.param), device="cpu")
    assert model.default is not None, "guided where nobody says otherwise"
    made = model.generate(sentences, seconds=4, steps=20)
    patch.undo()
    return {clip.caption: clip for clip in made}


def turned(clip: MotionClip) -> float:
    across = clip.joints[:, 1] - clip.joints[:, 2]
    heading = np.unwrap(np.arctan2(-across[:, 2], across[:, 0]))
    return float(np.degrees(heading[-1] - heading[0]))


def travelled(clip: MotionClip) -> float:
    return float(np.linalg.norm(clip.joints[-1, 0, [0, 2]] - clip.joints[0, 0, [0, 2]]))


def test_gaits_and_turns(clips: dict[str, MotionClip]) -> None:
    assert travelled(clips["a person walks forward"]) > 1.5 and abs(turned(clips["a person walks forward"])) < 40
    assert travelled(clips["a person runs"]) > travelled(clips["a person walks forward"])
    assert turned(clips["a person walks and turns left"]) > 45
    assert turned(clips["a person walks and turns right"]) < -45


@pytest.mark.parametrize(
    ("sentence", "side", "other"),
    [("a person raises the left hand", "left", "right"), ("a person waves the right hand", "right", "left")],
)
def test_hands(clips: dict[str, MotionClip], sentence: str, side: str, other: str) -> None:
    joints = clips[sentence].joints
    shoulder = joints[:, 16:18, 1].mean()
    assert joints[:, SIDES[side], 1].max() > shoulder + 0.1
    assert joints[:, SIDES[other], 1].max() < shoulder
    assert travelled(clips[sentence]) < 0.5


def test_lengths_are_those_of_the_motions_that_a_search_finds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REALIGN_CACHE", str(tmp_path))
    shipped = Path(__file__).parents[1] / "realign/pretrained"
    search = MotionSearch.from_pretrained(shipped / "reward_index", shipped / "reward", device="cpu")
    texts = ["a person walks forward", "a person runs", "a person raises both hands"]
    model = TextToMotion.from_pretrained(device="cpu")
    frames = [len(clip) for clip in model.generate(texts, steps=2)]
    for text, made in zip(texts, frames, strict=True):
        (hits,) = search.by_text([text], k=10)
        assert abs(made - np.clip(np.median([hit.frames for hit in hits]), 40, 196)) <= 2, text
    assert max(frames) > 1.5 * min(frames)  # the caption decides


def test_generated_people_stand_on_the_floor(clips: dict[str, MotionClip]) -> None:
    for clip in clips.values():
        assert -0.12 < np.percentile(clip.joints[..., 1].min(1), 5) < 0.12, clip.caption
        assert 1.3 < clip.joints[:, 15, 1].max() < 1.9, clip.caption


def test_all_weights_together_are_small() -> None:
    files = [path for path in pretrained_folder("generator").parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 80e6


def test_the_evaluator_finds_the_caption_of_every_clip(clips: dict[str, MotionClip]) -> None:
    folder = Path(__file__).parents[1] / "realign/pretrained/evaluator"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 15e6
    task = load_task(folder, EvaluatorTask)
    motions = [
        torch.as_tensor(joints_to_features(torch.from_numpy(clip.joints), get_skeleton(clip.skeleton)))
        for clip in clips.values()
    ]
    padded = torch.nn.utils.rnn.pad_sequence(motions, batch_first=True).float()
    embedded = task.embed_motions(padded, torch.tensor([len(motion) for motion in motions]))
    assert torch.equal(torch.cdist(task.embed_captions(list(clips)), embedded).argmin(1), torch.arange(len(clips)))
