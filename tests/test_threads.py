"""Number of threads: the option, variables, affinity, quotas and launchers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from launch_parts import plain_environment

from realign import threads
from realign.cli import main
from realign.errors import InputError
from realign.threads import allowed_cores, cgroup_cores, choose_threads, use_threads

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
TORCHRUN |= {"MASTER_ADDR": "n1", "MASTER_PORT": "29500"}
SRUN = {"SLURM_PROCID": "1", "SLURM_NTASKS": "4", "SLURM_STEP_NODELIST": "n1", "SLURM_JOB_ID": "3"}


@pytest.fixture
def _sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "affinity_cores", lambda: 16)
    monkeypatch.setattr(threads, "cgroup_cores", lambda: None)


@pytest.mark.usefixtures("_sixteen")
@pytest.mark.parametrize(
    ("given", "motions", "processes", "environment", "chosen"),
    [
        (None, 1, 1, {}, 1),  # one sentence
        (None, 5, 1, {}, 5),
        (None, 64, 1, {}, 16),
        (None, None, 1, {}, 16),
        (None, 0, 1, {}, 1),  # refused elsewhere
        (None, 64, 4, {}, 4),
        (None, 64, 100, {}, 1),
        (3, 1, 4, {"OMP_NUM_THREADS": "7"}, 3),  # the option wins
        (None, 64, 1, {"OMP_NUM_THREADS": "7"}, None),
        (None, 64, 1, {"OMP_NUM_THREADS": ""}, 16),
        (None, 64, 1, TORCHRUN, 4),
        (None, 64, 4, TORCHRUN, 4),  # a trainer counts the same processes
        (None, 64, 1, SRUN, 4),
        (None, 64, 4, SRUN | {"SLURM_CPUS_PER_TASK": "6"}, 6),  # of each process
        (None, 2, 1, SRUN | {"SLURM_CPUS_PER_TASK": "6"}, 2),
    ],
)
def test_threads_fit_work_and_cores(
    given: int | None, motions: int | None, processes: int, environment: dict[str, str], chosen: int | None
) -> None:
    assert choose_threads(given, motions, processes, environment) == chosen


def test_no_threads_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="--threads 0 is too few; give at least 1"):
        choose_threads(0)
    assert main(["generate", "walk", "--threads", "-2"]) == 2
    assert "--threads -2 is too small; give 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "own", "cores"),
    [
        ({"cpu.max": "max 100000\n"}, "0::/\n", None),
        ({"cpu.max": "250000 100000\n"}, "0::/\n", 2),  # a container sees its own group at the root
        ({"cpu.max": "50000 100000\n"}, "0::/\n", 1),
        ({"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, "0::/a/b\n", 3),  # of a group around it
        ({"a/cpu.max": "300000 100000\n", "cpu.max": "200000 100000\n"}, "0::/a\n", 2),
        ({"cpu/x/cpu.cfs_quota_us": "40000", "cpu/x/cpu.cfs_period_us": "10000"}, "3:memory:/\n2:cpu,cpuacct:/x\n", 4),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "1:cpu:/\n", None),
        ({"cpu.max": "damaged"}, "0::/\n", None),
        ({}, "0::/gone\n", None),
    ],
)  # fmt: skip
def test_quotas_of_containers_count(tmp_path: Path, files: dict[str, str], own: str, cores: int | None) -> None:
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "own").write_text(own)
    assert cgroup_cores(tmp_path / "root", tmp_path / "own") == cores
    assert cgroup_cores(tmp_path / "root", tmp_path / "nothing") is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process")
def test_affinity_counts() -> None:
    code = (
        "import os\nos.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])\n"
        "from realign.threads import allowed_cores\nprint(allowed_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1
    assert allowed_cores({"SLURM_CPUS_PER_TASK": "1"}) == 1 <= allowed_cores({"SLURM_CPUS_PER_TASK": "damaged"})


def test_threads_apply_to_libraries_imported_before_and_after() -> None:
    code = (
        "import os, sys\nfrom realign.threads import use_threads\n"
        "use_threads(1)\nimport torch\nprint(torch.get_num_threads(), os.environ['OMP_WAIT_POLICY'])\n"
        "import faiss\nprint(faiss.omp_get_max_threads())\n"
        "use_threads(2)\nprint(torch.get_num_threads(), faiss.omp_get_max_threads())"
    )
    environment = {name: value for name, value in plain_environment().items() if not name.startswith(("OMP", "GOMP"))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["1", "PASSIVE", "1", "2", "2"]


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_variables_of_users_about_waiting_are_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {name: "given", "OMP_NUM_THREADS": "5"}
    monkeypatch.setattr(os, "environ", environment)
    use_threads(None, 1)
    assert environment == {name: "given", "OMP_NUM_THREADS": "5"}


def test_training_uses_the_given_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = []
    monkeypatch.setattr("realign.training.use_threads", lambda *words, **more: given.append((words, more)))
    monkeypatch.chdir(tmp_path)
    quick = ["--trainer.max_steps=1", "--trainer.logger=false", "--trainer.callbacks=null", "--trainer.devices=1"]
    assert main(["validate", "--config", "tiny/vae", "--threads", "2", "--trainer.limit_val_batches=1", *quick]) == 0
    assert given == [((2,), {"processes": 1})]
