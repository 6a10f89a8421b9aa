"""Motions of results: bounded memory, files that are written when asked for, and dropped files."""

import io
import json
import pickle
import struct
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import person

from realign.demo.limits import UPLOADS, Limits
from realign.demo.shelf import Busy, Lane, Shelf
from realign.errors import InputError
from realign.motion.clip import MotionClip


def moving(frames: int = 24, caption: str = "a person <walks>") -> MotionClip:
    return MotionClip(person(0, frames), 20.0, caption)


def saved(folder: Path, suffix: str, frames: int = 24) -> bytes:
    moving(frames).save(folder / f"made{suffix}")
    return (folder / f"made{suffix}").read_bytes()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    folder = tmp_path / "private"
    folder.mkdir()
    return Shelf(Limits(kept=3, kept_bytes=20 * moving().joints.nbytes, drawn=2), folder)


def left(shelf: Shelf) -> list[Path]:
    assert shelf.folder is not None
    return list(shelf.folder.rglob("*"))


def test_memory_is_bounded_by_number_and_by_size(shelf: Shelf) -> None:
    names = [shelf.put([moving()]) for _ in range(5)]
    assert len(shelf) == 3 and len(set(names)) == 5
    with pytest.raises(InputError, match="not kept any more"):
        shelf.get(names[0])
    shelf.get(names[2])  # used, so that the next one forgets another
    shelf.put([moving()])
    assert shelf.get(names[2]) and len(shelf) == 3
    pair = replace(moving(), unguided=moving())
    shelf.put([pair] * 9)
    assert len(shelf) == 3 and shelf.size == 20 * moving().joints.nbytes
    shelf.put([pair] * 10)
    assert len(shelf) == 1  # the unguided ones count
    shelf.put([moving()] * 21)
    assert len(shelf) == 0


@pytest.mark.parametrize("suffix", [".html", ".bvh", ".npy"])
def test_a_file_is_that_of_the_library_and_nothing_stays(shelf: Shelf, tmp_path: Path, suffix: str) -> None:
    assert shelf.file(shelf.put([moving()]), suffix) == (saved(tmp_path, suffix), suffix)
    assert not left(shelf)


def test_several_motions_of_one_come_as_an_archive(shelf: Shelf, tmp_path: Path) -> None:
    data, suffix = shelf.file(shelf.put([replace(moving(), unguided=moving())]), ".npy")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        lines = archive.read("captions.tsv").decode().splitlines()
        files = [line.split("\t")[0] for line in lines]
        assert set(archive.namelist()) == {*files, "captions.tsv"} and suffix == ".zip"
        assert files == ["motion_unguided.npy", "motion_guided.npy"]
        assert all(line.endswith("\ta person <walks>") for line in lines)
        assert all(archive.read(name) == saved(tmp_path, ".npy") for name in files)


def test_names_are_not_paths(shelf: Shelf) -> None:
    name = shelf.put([moving()])
    for other in ("", "..", "/etc/passwd", name + "/..", name[:-1]):
        with pytest.raises(InputError, match="not kept any more"):
            shelf.file(other, ".npy")
    for suffix in ("", ".py", ".npy/../../x", "./x.gif", ".NPY"):
        with pytest.raises(InputError, match="There is no format"):
            shelf.file(name, suffix)
    with pytest.raises(InputError, match="3 motions are too many for a .gif"):
        shelf.file(shelf.put([moving()] * 3), ".gif")


def test_few_work_and_few_wait() -> None:
    lane, inside, go = Lane(1, 2), threading.Semaphore(0), threading.Event()
    seen: list[str] = []

    def work() -> None:
        try:
            with lane.enter():
                inside.release()
                go.wait(10)
                seen.append("done")
        except Busy as busy:
            seen.append(str(busy))
            inside.release()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(6):  # one works, two wait, five are refused
        assert inside.acquire(timeout=10)
    go.set()
    for thread in threads:
        thread.join(10)
    assert sum("busy" in each for each in seen) == 5 and seen.count("done") == 3
    with lane.enter():  # places are given back, also after an error
        pass


@pytest.mark.parametrize("suffix", UPLOADS)
def test_a_dropped_motion_is_read_and_nothing_stays(shelf: Shelf, tmp_path: Path, suffix: str) -> None:
    clips = shelf.read(saved(tmp_path, suffix), suffix, "mine")
    assert len(clips) == 1 and clips[0].caption == "mine" and clips[0].seconds == pytest.approx(1.2, abs=0.06)
    assert not left(shelf)


def glb(edit: Any, data: bytes) -> bytes:
    """A .glb whose JSON was edited."""
    length = struct.unpack_from("<I", data, 12)[0]
    content = json.loads(data[20 : 20 + length])
    edit(content)
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    return struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON") + text + rest


class Evil:
    def __reduce__(self) -> Any:
        return (Path.write_text, (Path("evil_was_here"), "x"))


def hostile(folder: Path) -> dict[str, tuple[bytes, str]]:
    """Files that execute, read other files, or become large, each with its suffix."""
    bvh, figure = saved(folder, ".bvh"), saved(folder, ".glb")
    (folder / "secret.bin").write_bytes(b"x" * 100_000)
    pickled = io.BytesIO()
    np.save(pickled, np.array([Evil()], dtype=object), allow_pickle=True)
    head, _, rows = bvh.partition(b"Frame Time:")
    row = rows.split(b"\n", 2)[1]

    shape = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**12}, 22, 3)}}"

    def outside(content: Any) -> None:
        content["buffers"][0]["uri"] = "../../secret.bin"

    def long(content: Any) -> None:
        content["nodes"] += [{}] * 100_000

    def broken(content: Any) -> None:
        content["animations"][0]["samplers"][0]["input"] = "x"

    return {
        "a pickle": (pickled.getvalue(), ".npy"),
        "a bare pickle": (pickle.dumps(Evil()), ".npy"),
        "a buffer outside": (glb(outside, figure), ".glb"),
        "too many nodes": (glb(long, figure), ".glb"),
        "a broken sampler": (glb(broken, figure), ".glb"),
        "frames an hour apart": (
            head.replace(b"Frames: 24", b"Frames: 200") + b"Frame Time: 1.0\n" + (row + b"\n") * 200, ".bvh",
        ),
        "nothing": (b"", ".bvh"),
        "a shape without numbers": (b"\x93NUMPY\x01\x00v\x00" + shape.ljust(117).encode() + b"\n", ".npy"),
        "a long array": (npy(np.zeros((60 * 60 * 20, 22, 3), np.int8)), ".npy"),
    }  # fmt: skip


def npy(array: np.ndarray) -> bytes:
    made = io.BytesIO()
    np.save(made, array)
    return made.getvalue()


def test_hostile_files_are_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shelf: Shelf) -> None:
    monkeypatch.chdir(tmp_path)
    shelf.limits = Limits()
    for kind, (data, suffix) in hostile(tmp_path).items():
        with pytest.raises(InputError) as caught:
            shelf.read(data, suffix, "theirs")
        assert str(tmp_path) not in str(caught.value), kind  # no path of this machine is told
        assert not left(shelf) and not (tmp_path / "evil_was_here").exists(), kind


@pytest.mark.parametrize("suffix", [".gltf", ".npz", ".py", "", ".bvh/../../x", ".pkl"])
def test_other_kinds_are_not_read(shelf: Shelf, suffix: str) -> None:
    with pytest.raises(InputError, match="drop a .npy, .bvh, .glb file"):
        shelf.read(b"x", suffix, "theirs")


def test_a_large_file_is_not_read(shelf: Shelf) -> None:
    with pytest.raises(InputError, match="larger than 4 MB"):
        shelf.read(bytes(shelf.limits.upload + 1), ".npy", "theirs")
