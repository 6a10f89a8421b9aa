"""The script that runs benchmarks on a GPU, and the table that it makes."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


def test_ratios_become_one_table(tmp_path: Path) -> None:
    code = (
        f"import os, sys\nsys.path.insert(0, {str(FOLDER)!r})\nfrom pathlib import Path\nfrom table import *\n"
        f"os.environ[FILE] = {str(tmp_path / 'rows')!r}\nsys.argv[0] = 'bench_x.py'\n"
        "report('speed, small', 0.954, 'at least 0.9')\nreport('cost', 1.2)\n"
        "print_table(Path(os.environ[FILE]), 'cpu')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["= speed, small: 0.95 (aim: at least 0.9)", "= cost: 1.20"]
    assert lines[-2:] == ["| bench_x | speed, small | 0.95 | at least 0.9 |", "| bench_x | cost | 1.20 |  |"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_script_runs_what_there_is_and_refuses_other_words() -> None:
    script = FOLDER / "run_gpu.sh"
    done = subprocess.run(["bash", str(script), "--fast"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("usage: ")
    called = re.findall(r"^run .*python (benchmarks/\w+\.py) --device", script.read_text(), re.MULTILINE)
    assert len(called) >= 5 and all((FOLDER.parent / name).is_file() for name in called)
    for name in called:
        assert '"--device"' in (FOLDER.parent / name).read_text(), f"{name} has no --device"
