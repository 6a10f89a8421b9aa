"""Processes of launchers: their variables, how they meet, and their messages."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from evaluate_parts import refuse
from jsonargparse import Namespace
from launch_parts import srun

from realign.distributed import launch
from realign.errors import InputError
from realign.launcher import Launched, first_host, launched
from realign.trainer import LeaveTogether, join_launcher, states_global_batch

STEP = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_NNODES": "2", "SLURM_JOB_ID": "1234"}


def test_variables_of_torchrun_are_read() -> None:
    told = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    found = launched(told | {"MASTER_ADDR": "n1", "MASTER_PORT": "29500"} | STEP)  # torchrun under srun wins
    assert found == Launched(5, 8, 1, 4, "n1", 29500) and found.nodes == 2
    with pytest.raises(InputError, match="8 processes without MASTER_ADDR and MASTER_PORT"):
        launched(told)
    with pytest.raises(InputError, match="RANK=8 does not fit WORLD_SIZE=8"):
        launched(told | {"RANK": "8"})
    alone = launched({"RANK": "0", "WORLD_SIZE": "1"})
    assert alone is not None and alone.world == 1


def test_variables_of_srun_are_read() -> None:
    found = launched(STEP | {"SLURM_STEP_NODELIST": "gpu[03-04]", "SLURM_STEP_ID": "2"})
    assert found is not None and (found.rank, found.world, found.local_rank, found.local_world) == (5, 8, 1, 4)
    assert found.address == "gpu03" and 10_000 <= found.port < 30_000 and found.nodes == 2
    other = launched(STEP | {"SLURM_STEP_NODELIST": "gpu[03-04]", "SLURM_STEP_ID": "3"})
    assert other is not None and other.port != found.port  # two steps of a job at once
    given = launched(STEP | {"SLURM_STEP_NODELIST": "a,b", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "5"})
    assert given is not None and (given.address, given.port) == ("10.0.0.1", 5)
    assert launched(STEP | {"SLURM_PROCID": "0"}) is None  # the script of a job runs once
    assert launched({"SLURM_NTASKS": "8"}) is None and launched({}) is None
    shell = STEP | {"SLURM_STEP_NODELIST": "gpu03", "SLURM_JOB_NAME": "interactive"}
    assert launched(shell) is None
    started = launched(shell | {"SLURM_STEP_NUM_TASKS": "8"})  # srun within an allocation made by salloc
    assert started is not None and started.world == 8


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("n1", "n1"), ("n1,n2", "n1"), ("gpu[03-05,9]-ib,login1", "gpu03-ib"), ("gpu[7,9]", "gpu7"),
        ("rack[1-2]n[04-08]", "rack1n04"), ("", ""),
    ],
)  # fmt: skip
def test_the_first_host_of_a_list_of_slurm(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_processes_of_srun_meet_and_only_the_first_continues() -> None:
    ended = srun(2, ["launch_parts", "dealt"])
    assert [each.returncode for each in ended] == [0, 0], "".join(each.stderr for each in ended)
    assert [each.stdout.split() for each in ended] == [["0:0,2,4", "first"], ["1:1,3"]]


def test_errors_of_launched_processes_are_printed_once() -> None:
    ended = srun(2, ["launch_parts", "refused"])
    assert [each.returncode for each in ended] == [2, 2]
    told = "".join(each.stderr for each in ended)
    assert told.count("too few clips") == 1 and "Traceback" not in told


def test_devices_beside_a_launcher_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (STEP | {"SLURM_STEP_NODELIST": "gpu03"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="A launcher started 8 processes, .* leave --devices 2 out"):
        launch(refuse, 2, torch.device("cpu"), "never asked")
    with pytest.raises(InputError, match="8 processes cannot share cuda:1; give --device cpu or --device cuda"):
        launch(refuse, 1, torch.device("cuda:1"), "never asked")


def test_predict_counts_launched_processes_by_default() -> None:
    told = {"RANK": "1", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "n1"}
    for given, environment, counted in (
        (("auto", 1), told | {"MASTER_PORT": "29500"}, (4, 2)),
        ((2, 1), told | {"MASTER_PORT": "29500"}, (2, 1)),  # given: refused later if it does not fit
        (("auto", 1), {}, ("auto", 1)),
    ):
        options = Namespace(devices=given[0], num_nodes=given[1])
        join_launcher(options, environment)
        assert (options.devices, options.num_nodes) == counted


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the test forks")
def test_several_training_processes_leave_at_once_by_sigterm(tmp_path: Path) -> None:
    launcher = SimpleNamespace(kill=lambda number: (tmp_path / "told").write_text(str(number)))
    child = os.fork()
    if child == 0:
        trainer: Any = SimpleNamespace(world_size=2, strategy=SimpleNamespace(launcher=launcher))
        LeaveTogether().on_train_start(trainer, trainer)
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143
    assert (tmp_path / "told").read_text() == "15"
    before = signal.getsignal(signal.SIGTERM)
    alone: Any = SimpleNamespace(world_size=1)
    LeaveTogether().on_train_start(alone, alone)  # one process ends its step, as Lightning has it
    assert signal.getsignal(signal.SIGTERM) is before


def test_training_counts_launched_processes_if_its_global_batch_is_given() -> None:
    assert states_global_batch(Namespace(class_path="X", init_args=Namespace(global_batch_size=8)))
    for given in ({"global_batch_size": None}, {"batch_size": 8}, {}):
        assert not states_global_batch(Namespace(class_path="X", init_args=Namespace(**given)))
    assert not states_global_batch(Namespace(class_path="X")) and not states_global_batch(None)
