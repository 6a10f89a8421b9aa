import copy
import multiprocessing
import pickle
import sqlite3
import time
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from realign import system
from realign.errors import InputError
from realign.text import CachedTextEncoder, HashingEncoder, TextEncoder
from realign.text.store import FeatureStore

TEXTS = ["a person walks", "", "a person walks to the left and sits down", "ünïcode \ud800 \0 text"]


class Counting(HashingEncoder):
    """Records the captions that it encodes."""

    def __init__(self, dim=8):
        super().__init__(dim)
        self.asked = []

    def forward(self, texts):
        self.asked += texts
        return super().forward(texts)


class Trainable(TextEncoder):
    dim = 4
    fingerprint = "trainable"

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))

    def forward(self, texts):
        raise AssertionError


def cached(folder, **options):
    return CachedTextEncoder(Counting(), folder, **options)


def assert_same(actual, expected):
    for a, b in zip(vars(actual).values(), vars(expected).values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_the_cache_equals_the_encoder_and_encodes_only_new_captions(tmp_path):
    expected = HashingEncoder(8)([*TEXTS, TEXTS[0]])
    first = cached(tmp_path)
    assert_same(first([*TEXTS, TEXTS[0]]), expected)
    assert first.encoder.asked == TEXTS
    assert_same(first(TEXTS), expected[[0, 1, 2, 3]])  # from memory
    assert first.encoder.asked == TEXTS
    second = cached(tmp_path)
    assert_same(second([*TEXTS, TEXTS[0]]), expected)  # from disk
    assert second.encoder.asked == []
    second(["a new one", TEXTS[0]])
    assert second.encoder.asked == ["a new one"]


def test_keys_are_exact(tmp_path):
    encoder = cached(tmp_path)
    encoder(["walk", "Walk", "walk "])
    assert encoder.encoder.asked == ["walk", "Walk", "walk "]


def test_more_captions_than_a_chunk_or_a_query(tmp_path):
    texts = [f"walk {i} steps" for i in range(1100)]
    expected = HashingEncoder(8)(texts)
    assert_same(cached(tmp_path)(texts), expected)
    again = cached(tmp_path)
    assert_same(again(texts), expected)
    assert again.encoder.asked == []


def test_memory_is_bounded(tmp_path):
    encoder = cached(tmp_path, memory_mb=1)
    encoder._memory.limit = 1000
    texts = [f"walk {i} steps" for i in range(50)]
    assert len(encoder(texts)) == 50
    held = encoder._memory.entries
    assert 0 < len(held) < 50 and sum(a.nbytes + b.nbytes for a, b in held.values()) == encoder._memory.size <= 1000
    assert list(held)[-1] == texts[-1]


def test_one_file_for_each_fingerprint(tmp_path):
    a, b = CachedTextEncoder(HashingEncoder(8), tmp_path), CachedTextEncoder(HashingEncoder(4), tmp_path)
    assert a.path != b.path and a.fingerprint == "hashing/8"
    a(TEXTS)
    assert b(TEXTS).pooled.shape == (4, 4)


def test_default_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REALIGN_CACHE", str(tmp_path))
    encoder = CachedTextEncoder(HashingEncoder())
    encoder(TEXTS)
    assert encoder.path.is_file() and encoder.path.parent == tmp_path / "text"
    monkeypatch.delenv("REALIGN_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert encoder.path.parent == tmp_path / ".cache" / "realign" / "text"


def test_an_unusable_folder_warns_once_and_memory_is_used(tmp_path):
    (tmp_path / "file").write_text("in the way")
    encoder = cached(tmp_path / "file")
    with pytest.warns(UserWarning, match="REALIGN_CACHE"):
        encoder(TEXTS[:1])
    encoder(TEXTS)
    assert encoder.encoder.asked == TEXTS
    assert pickle.loads(pickle.dumps(encoder))(TEXTS).pooled.shape == (4, 8)  # a worker does not warn again


@pytest.mark.parametrize(
    ("mounts", "network"),
    [
        ([("/", "ext4")], False),
        ([("/", "ext4"), ("{home}", "nfs4")], True),
        ([("/", "nfs"), ("{home}", "xfs")], False),
        ([("/", "ext4"), ("{home}", "fuse.sshfs"), ("{home}xyz", "tmpfs")], True),
        ([("/", "ext4"), ("{home}", "autofs"), ("{home}", "lustre")], True),  # the latest hides the others
        ([], False),
    ],
)
def test_a_network_file_system_warns_and_memory_is_used(tmp_path, monkeypatch, mounts, network):
    found = [(point.format(home=tmp_path), kind) for point, kind in reversed(mounts)]
    monkeypatch.setattr("realign.system._mounts", lambda: found)
    encoder = cached(tmp_path / f"{network} {len(mounts)}" / "text")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert_same(encoder(TEXTS), HashingEncoder(8)(TEXTS))
        encoder(["a new one"])
    assert encoder.path.exists() != network and len(caught) == network
    if network:
        assert f"network file system, {mounts[-1][1] if mounts[-1][1] != 'tmpfs' else 'fuse.sshfs'}" in str(caught[0])
        assert "set REALIGN_CACHE to a folder on a disk of this machine" in str(caught[0].message)


def test_file_systems_of_this_machine_are_read():
    assert any(point == "/" for point, _ in system._mounts())


def test_a_cache_file_that_cannot_be_written_serves_from_memory(tmp_path, monkeypatch):
    encoder = cached(tmp_path)

    def full(self, entries):
        return self._run(lambda connection: connection.execute("INSERT INTO missing VALUES (1)"))

    monkeypatch.setattr(FeatureStore, "write", full)
    with pytest.warns(UserWarning, match="memory only"):
        assert len(encoder(TEXTS)) == 4


@pytest.mark.parametrize("damage", [b"not a database at all " * 100, None])
def test_a_damaged_file_is_replaced(tmp_path, damage):
    first = cached(tmp_path)
    first([f"walk {i} steps" for i in range(300)])
    blob = first.path.read_bytes()
    first.path.write_bytes(damage or blob[:4096] + b"\xff" * (len(blob) - 4096))
    second = cached(tmp_path)
    with pytest.warns(UserWarning, match="damaged"):
        assert_same(second(TEXTS), HashingEncoder(8)(TEXTS))
    third = cached(tmp_path)
    third(TEXTS)
    assert third.encoder.asked == []


def test_a_row_of_the_wrong_size_is_encoded_again(tmp_path):
    first = cached(tmp_path)
    first(TEXTS)
    with sqlite3.connect(first.path) as connection:
        connection.execute("UPDATE features SET tokens = x'00' WHERE caption = CAST('a person walks' AS BLOB)")
    connection.close()
    second = cached(tmp_path)
    assert_same(second(TEXTS), HashingEncoder(8)(TEXTS))
    assert second.encoder.asked == ["a person walks"]


def start_all(workers):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking while threads run
        for worker in workers:
            worker.start()


def fill(folder, start, results):
    encoder = cached(folder)
    encoder._memory.limit = 0
    for i in range(10):
        texts = [f"walk {j} steps" for j in range(start + 5 * i, start + 5 * i + 20)]
        features = encoder(texts)
        results.put(np.array_equal(features.tokens.numpy(), HashingEncoder(8)(texts).tokens.numpy()))


def test_processes_share_a_file(tmp_path):
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    workers = [fork.Process(target=fill, args=(tmp_path, start, results)) for start in (0, 30)]
    start_all(workers)
    assert all(results.get(timeout=60) for _ in range(20))
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    encoder = cached(tmp_path)
    encoder([f"walk {j} steps" for j in range(95)])
    assert encoder.encoder.asked == []


def ask(encoder, results):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results.put(encoder(TEXTS).pooled.sum().item())


def test_a_damaged_file_stays_open_in_other_processes(tmp_path):
    encoder = cached(tmp_path)
    encoder(TEXTS)
    fork = multiprocessing.get_context("fork")
    inside, results = fork.Event(), fork.Queue()

    def linger(connection):
        before = encoder.path.stat().st_ino
        inside.set()
        time.sleep(0.5)
        results.put(encoder.path.stat().st_ino == before)

    worker = fork.Process(target=FeatureStore(encoder.path, 8)._run, args=(linger,))
    start_all([worker])
    assert inside.wait(30)
    encoder.path.write_bytes(b"not a database at all " * 100)
    second = cached(tmp_path)
    with pytest.warns(UserWarning, match="damaged"):
        assert_same(second(TEXTS), HashingEncoder(8)(TEXTS))
    assert results.get(timeout=30), "the file was removed under a process that had it open"
    worker.join(30)


def test_a_file_replaced_by_another_process_is_kept(tmp_path, monkeypatch):
    encoder = cached(tmp_path)
    encoder(TEXTS)
    connect, damaged = FeatureStore._connect, [True]

    def see_damage_first(self):
        if damaged.pop() if damaged else False:
            raise sqlite3.DatabaseError("file is not a database")
        return connect(self)

    monkeypatch.setattr(FeatureStore, "_connect", see_damage_first)
    second = cached(tmp_path)
    second(TEXTS)
    assert not damaged and second.encoder.asked == []


def test_the_cache_survives_fork_pickle_and_deepcopy(tmp_path):
    encoder = cached(tmp_path)
    expected = encoder(TEXTS).pooled.sum().item()
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    encoder._memory.limit = 0
    encoder._memory.put([])
    worker = fork.Process(target=ask, args=(encoder, results))
    start_all([worker])
    assert results.get(timeout=30) == expected
    worker.join(30)
    loaded, duplicate = pickle.loads(pickle.dumps(encoder)), copy.deepcopy(encoder)
    assert not loaded._memory.entries and duplicate._memory is encoder._memory
    assert loaded(TEXTS).pooled.sum().item() == duplicate(TEXTS).pooled.sum().item() == expected


def test_the_cache_does_not_enter_a_checkpoint(tmp_path):
    encoder = cached(tmp_path)
    encoder(TEXTS)
    assert encoder.state_dict() == {}
    encoder.load_state_dict({}, strict=True)


def test_bad_options_are_refused(tmp_path):
    with pytest.raises(InputError, match="trainable"):
        CachedTextEncoder(Trainable(), tmp_path)
    with pytest.raises(InputError, match="memory_mb"):
        CachedTextEncoder(HashingEncoder(), tmp_path, memory_mb=-1)
