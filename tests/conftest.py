import os
import shutil
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # whatever the shell says: with more, a process that a test forks hangs in libgomp


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real motion capture: REALIGN_DATA, else the folder shared/data beside the checkout."""
    root = Path(os.environ.get("REALIGN_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (root / "mocap").is_dir():
        pytest.skip(f"real motion capture not found at {root}; set REALIGN_DATA to its folder")
    return root


@pytest.fixture(scope="session")
def gpu() -> str:
    """Where tests marked `cuda` compute: on the GPU, or as REALIGN_TEST_DEVICE says."""
    import torch

    device = os.environ.get("REALIGN_TEST_DEVICE", "cuda")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU here; REALIGN_TEST_DEVICE=cpu runs this on the CPU")
    return device


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser of tests that open pages: REALIGN_CHROMIUM, else one that is installed under its usual name."""
    names = [os.environ.get("REALIGN_CHROMIUM", "chromium"), "chromium-browser", "google-chrome"]
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("needs Chromium; REALIGN_CHROMIUM names its program")
    return found


@pytest.fixture(scope="session")
def reference_dir(shared_data: Path) -> Path:
    """Exact published values, beside the data folder."""
    folder = shared_data.parent / "reference"
    if not folder.is_dir():
        pytest.skip(f"reference values not found at {folder}")
    return folder


@pytest.fixture(scope="session")
def amass_dir() -> Path:
    """Values of the program that made HumanML3D: REALIGN_AMASS, else shared/reference/amass beside the checkout."""
    root = Path(os.environ.get("REALIGN_AMASS", Path(__file__).parents[2] / "shared" / "reference" / "amass"))
    if not (root / "golden_joints.npz").is_file():
        pytest.skip(f"reference values not found at {root}; set REALIGN_AMASS to their folder")
    return root
