"""What a user sees in Python before anything is called: names, help and short representations."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import realign
from realign import MotionClip, MotionSearch, TextToMotion
from realign.evaluation.results import Results, Row
from realign.guidance import GuidanceConfig
from realign.index import MotionIndex, MotionItem
from realign.inference import CaptionHit, MotionHit
from realign.motion.skeleton import get_skeleton
from realign.spelling import similar


def test_names_are_listed_without_loading_anything_heavy() -> None:
    code = (
        "import sys, realign\n"
        "print(*dir(realign))\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'yaml')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {*realign.__all__, "guidance", "nn", "tasks", "__version__"} <= {*done.stdout.split()}


def test_every_listed_name_can_be_taken_and_help_shows_the_classes() -> None:
    assert all(getattr(realign, name) is not None for name in dir(realign))
    import pydoc

    shown = pydoc.plain(pydoc.render_doc(realign))
    for name in ("class TextToMotion", "class MotionSearch", "class MotionClip", "features_to_joints(", "walk.gif"):
        assert name in shown
    with pytest.raises(AttributeError, match="no attribute 'MotionClp'; did you mean MotionClip?"):
        realign.MotionClp  # noqa: B018
    assert not hasattr(realign, "__wrapped__")


def test_python_runs_the_package() -> None:
    words = [sys.executable, "-m", "realign", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert done.stdout == f"realign {realign.__version__}\n"


def test_similar_names_ignore_case_and_come_best_first() -> None:
    assert similar("mdmdenoisr", ["MldDenoiser", "MdmDenoiser"], 2) == ["MdmDenoiser", "MldDenoiser"]
    assert similar("zzz", ["MdmDenoiser"]) == []


def test_a_configuration_shows_what_was_changed_and_can_be_read_back() -> None:
    assert repr(GuidanceConfig()) == "GuidanceConfig(method='reward')"
    for config in (
        GuidanceConfig(strength=5.0, eta=1.0),
        GuidanceConfig(preset="realign-release"),
        GuidanceConfig("none"),
    ):
        assert eval(repr(config)) == config and len(repr(config)) < 300


def test_results_are_shown_in_a_line_each() -> None:
    clip = MotionClip(np.zeros((40, 22, 3)), 20, "a person walks")
    assert repr(clip) == "MotionClip('a person walks', 2 s, 40 frames at 20 fps, humanml3d)"
    hit = MotionHit("a1", 0.87654, ("a person walks", "someone goes"), 40, 2.0, "recorded", 7)
    assert repr(hit) == "MotionHit('a1', 0.877, 2.0 s, 'a person walks' and 1 more)"
    assert repr(CaptionHit("a person walks", 0.5)) == "CaptionHit('a person walks', 0.500)"
    index = MotionIndex.build(np.eye(3), [MotionItem(name) for name in "abc"], fingerprint="model")
    assert repr(index) == "MotionIndex(3 motions, width 3, Flat, by model)"
    assert repr(index.search(np.eye(3)[1:2], 2)) == "SearchResult(2 nearest of 1 queries, the first found 'b' (1.000))"
    assert repr(get_skeleton("humanml3d")) == "Skeleton('humanml3d', 22 joints, 20 fps, unit m)"
    records = [{"excluded": 0, "measures": {}, "evaluators": {"guo": {"R@1": value}}} for value in (0.5, 0.6)]
    results = Results({"evaluators": ["guo"]}, [Row("real", None), Row("reward", {}, records)])
    assert (
        repr(results)
        == "Results(2 rows\n  Row('real', 0 replications)\n  Row('reward', 2 replications, R@1 0.55 ± 0.64))"
    )


def test_models_are_shown_in_a_line_each(tmp_path: Path) -> None:
    model, search = TextToMotion.from_pretrained(device="cpu"), MotionSearch.from_pretrained(device="cpu")
    for each, told in ((model, "M parameters on cpu, humanml3d at 20 fps"), (search, "motions and")):
        assert told in repr(each) and "\n" not in repr(each) and len(repr(each)) < 400
    assert "GuidanceConfig(" in repr(model) and f"{len(search)} motions" in repr(search)
    assert repr(model.load_guidance("best-of")).startswith("BestOfN(GuidanceConfig(method='best-of'")
