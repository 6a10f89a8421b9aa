"""Files are complete or absent, whatever happens to their writers."""

import errno
import os
import resource
import stat
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from kill_parts import die, end, hidden, run, start

from realign import system
from realign.errors import InputError, explain
from realign.files import atomic_path, sweep

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")


def write_folder(path: Path, text: str) -> None:
    with atomic_path(path) as made:
        made.mkdir()
        (made / "file").write_text(text)


def leave(path: Path) -> None:
    """A writer of a file is killed in the middle."""

    def write() -> None:
        with atomic_path(path) as made:
            made.write_text("half")
            die()

    end(start(write))


def test_leftovers_of_killed_writers_are_removed_by_the_next_writer(tmp_path: Path) -> None:
    for name in ("a [1].txt", "b*", "c" * 250):
        leave(tmp_path / name)
        assert len(list(hidden(tmp_path)[0].iterdir())) == 1 and not (tmp_path / name).exists()
    with atomic_path(tmp_path / "other.txt") as path:
        path.write_text("whole")
    assert [path.name for path in tmp_path.rglob("*")] == ["other.txt"]


def test_files_of_running_writers_are_kept(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "x") as mine:
        mine.write_text("mine")
        run(lambda: write_folder(tmp_path / "y", "theirs"))
        with atomic_path(tmp_path / "x") as same:
            same.write_text("earlier")
        assert mine.read_text() == "mine"
    assert (tmp_path / "x").read_text() == "mine" and not hidden(tmp_path)


def test_files_of_another_machine_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(tmp_path / "x")
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    write_folder(tmp_path / "x", "whole")
    assert [path.read_text() for path in hidden(tmp_path)[0].rglob("x")] == ["half"]
    monkeypatch.undo()
    sweep(tmp_path / "x")
    assert not hidden(tmp_path)


def test_many_writers_of_one_folder_do_not_disturb_one_another(tmp_path: Path) -> None:
    def write(name: str) -> None:
        for number in range(40):
            write_folder(tmp_path / "all", name)
            with atomic_path(tmp_path / f"{name}{number}") as path:
                path.write_text(name)

    children = [start(lambda name=name: write(name)) for name in "abc"]  # type: ignore[misc]
    assert [end(child) for child in children] == [0, 0, 0]
    assert len(list(tmp_path.iterdir())) == 121 and not hidden(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux to exchange folders")
def test_a_reader_always_finds_a_folder_that_is_being_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    if not system.exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("the file system exchanges no folders")
    monkeypatch.setattr(os, "fsync", lambda file: None)  # 200 times quicker
    write_folder(tmp_path / "x", "-1")

    def look() -> None:
        while not (tmp_path / "done").exists():
            os.stat(tmp_path / "x")

    readers = [start(look) for _ in range(2)]
    for number in range(200):
        write_folder(tmp_path / "x", str(number))
    (tmp_path / "done").touch()
    assert [end(reader) for reader in readers] == [0, 0] and (tmp_path / "x" / "file").read_text() == "199"


@pytest.mark.parametrize("reads", [False, True])
def test_a_kill_between_two_renames_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: bool) -> None:
    monkeypatch.setattr(system, "exchange", lambda first, second: False)  # as on network file systems
    write_folder(tmp_path / "x", "old")
    write_folder(tmp_path / "x", "older")
    assert not hidden(tmp_path)
    rename = os.rename

    def killed() -> None:
        monkeypatch.setattr(os, "rename", lambda *names: (rename(*names), die()))
        write_folder(tmp_path / "x", "new")

    end(start(killed))
    assert not (tmp_path / "x").exists()
    if reads:
        sweep(tmp_path / "x")
    else:
        write_folder(tmp_path / "y", "another")
    assert (tmp_path / "x" / "file").read_text() == "older" and not hidden(tmp_path)


def test_files_are_flushed_before_they_are_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note(file: int) -> None:
        told.append(Path(os.readlink(f"/proc/self/fd/{file}")).name)
        fsync(file)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "replace", lambda *names: (told.append("rename"), replace(*names)))
    with atomic_path(tmp_path / "x") as path:
        (path / "inner").mkdir(parents=True)
        (path / "inner" / "file").write_text("x")
        (path / "link").symlink_to("nowhere")
    assert sorted(told[:3]) == ["file", "inner", "x"] and told[3:] == ["rename", tmp_path.name]


def test_links_stay_and_files_follow_the_umask(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near.txt").symlink_to(tmp_path / "far" / "file")
    (tmp_path / "folder").symlink_to("far/folder")
    before = os.umask(0o027)
    try:
        for _ in range(2):
            write_folder(tmp_path / "folder", "x")
            with atomic_path(tmp_path / "near.txt") as path:
                assert path.suffix == ".txt"
                path.write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "near.txt").is_symlink() and (tmp_path / "folder").is_symlink()
    assert stat.S_IMODE((tmp_path / "far" / "file").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "far" / "folder").stat().st_mode) == 0o750 and not hidden(tmp_path)


def test_targets_that_cannot_be_replaced_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe is neither a file nor a folder"), atomic_path(tmp_path / "pipe"):
        pytest.fail("told before any work")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="the folder that this runs in"), atomic_path("."):
        pytest.fail("told before any work")
    Path("file").write_text("kept")
    with pytest.raises(NotADirectoryError, match="A file has that name"):
        write_folder(Path("file"), "x")
    for ask in (atomic_path, system.locked):
        for path in ("file/x", "file/x/y"):
            with pytest.raises(NotADirectoryError, match="A file is where a folder is needed"), ask(path):
                pytest.fail("told before any work")
    assert Path("file").read_text() == "kept" and not hidden(tmp_path)


def test_a_full_disk_is_one_sentence_with_the_final_name(tmp_path: Path) -> None:
    with pytest.raises(OSError) as told, atomic_path(tmp_path / "x.npy") as path:
        raise OSError(errno.ENOSPC, "No space left on device")  # raised by writing, not by opening
    assert explain(told.value) == (
        f"The disk is full while writing {tmp_path / 'x.npy'}; free some space or choose another output place."
    )

    with pytest.raises(OSError) as told, atomic_path(tmp_path / "x" / "y.npy") as path:
        np.load(path)
    assert told.value.filename == str(tmp_path / "x" / "y.npy")
    (tmp_path / "x").rmdir()

    def write() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            with atomic_path(tmp_path / "y.npy") as path:
                np.save(path, np.zeros(1000))
        except OSError as error:
            assert error.errno is None and str(explain(error)).startswith("The disk is full")
        else:
            raise AssertionError

    run(write)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_held_by_one_process_at_a_time_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")

    def count() -> None:
        for _ in range(100):
            with system.locked(tmp_path / "count"):
                number = int((tmp_path / "count").read_text())
                time.sleep(0.0001)
                (tmp_path / "count").write_text(str(number + 1))

    def killed() -> None:
        with system.locked(tmp_path / "count"):
            die()

    end(start(killed))
    assert len(hidden(tmp_path)) == 1
    children = [start(count) for _ in range(3)]
    assert [end(child) for child in children] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "300" and not hidden(tmp_path)


def test_without_locks_nothing_is_removed_and_writing_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(tmp_path / "x")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    write_folder(tmp_path / "y", "whole")
    with system.locked(tmp_path / "y") as alone:
        assert not alone
    assert (tmp_path / "y" / "file").read_text() == "whole" and len(list(hidden(tmp_path)[0].iterdir())) == 1
