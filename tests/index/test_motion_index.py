import subprocess
import sys

import numpy as np
import pytest
import torch

from realign.errors import InputError
from realign.index import MotionIndex, MotionItem
from realign.index.engine import EXACT_BELOW, default_factory

faiss = pytest.importorskip("faiss")
DIM = 16
KEEPING = ["Flat", "SQ8", "IVF8,Flat", "IVF8,SQ8", "PCA8,Flat", "OPQ4,IVF4,PQ4x4"]  # kinds with removal
FIXED = ["HNSW8", "PCA8,HNSW8", "IVF4,PQ4x4,RFlat"]


@pytest.fixture(autouse=True)
def one_thread():
    faiss.omp_set_num_threads(1)


def make(count=400, seed=0, start=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, DIM))
    vectors = centres[rng.integers(20, size=count)] + 0.5 * rng.standard_normal((count, DIM))
    items = [MotionItem(f"m{i}", (f"caption {i}", "läuft"), "test", i) for i in range(start, start + count)]
    return vectors.astype(np.float32), items


def build(factory=None, **kwargs):
    vectors, items = make(**kwargs)
    return vectors, MotionIndex.build(vectors, items, fingerprint="model-a", factory=factory)


def cosines(queries, vectors):
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, vectors)]
    return unit[0] @ unit[1].T


def test_exact_search_is_sorted_cosine():
    vectors, index = build()
    assert index.factory == "Flat" and index.dim == DIM and len(index) == 400
    queries = np.random.default_rng(1).standard_normal((30, DIM)) * 7
    result = index.search(queries, 10)
    expected = cosines(queries, vectors)
    assert np.array_equal(result.positions, np.argsort(-expected, axis=1, kind="stable")[:, :10])
    assert np.allclose(result.scores, np.sort(expected, axis=1)[:, :-11:-1], atol=1e-6)
    assert result.ids[3] == [f"m{p}" for p in result.positions[3]]
    assert result.items[0][0] == MotionItem(
        result.ids[0][0], (f"caption {result.positions[0, 0]}", "läuft"), "test", int(result.positions[0, 0])
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_tensors_of_any_float_type_are_taken(dtype):
    vectors, index = build()
    queries = torch.from_numpy(vectors[:4]).to(dtype).requires_grad_()
    assert index.search(queries, 1).ids == [["m0"], ["m1"], ["m2"], ["m3"]]


def test_equal_scores_come_in_the_order_of_the_index():
    vectors, items = make(30)
    index = MotionIndex.build(np.concatenate([vectors[:1]] * 30), items, fingerprint="model-a")
    assert index.search(vectors[:1], 30).positions.tolist() == [list(range(30))]


@pytest.mark.parametrize("factory", KEEPING + FIXED)
def test_every_kind_finds_k_and_survives_saving(factory, tmp_path):
    vectors, index = build(factory)
    result = index.search(vectors[:6], 400)
    assert np.array_equal(np.sort(result.positions, 1), np.tile(np.arange(400), (6, 1)))  # all found, none twice, no -1
    assert (np.diff(result.scores) <= 0).all()
    index.save(tmp_path / "index")
    for mmap in (True, False):
        loaded = MotionIndex.load(tmp_path / "index", "model-a", mmap=mmap, verify=True)
        again = loaded.search(vectors[:6], 10)
        assert np.array_equal(again.positions, index.search(vectors[:6], 10).positions)
        assert again.items[2][3] == index.items[again.positions[2, 3]]
        assert (loaded.factory, loaded.fingerprint, loaded.dim) == (factory, "model-a", DIM)
        assert len(loaded) == len(loaded.items) == 400


@pytest.mark.parametrize("factory", KEEPING)
def test_add_and_remove_by_id(factory, tmp_path):
    vectors, index = build(factory)
    more, items = make(50, seed=5, start=400)
    index.add(more, items)
    before = index.search(vectors[:3], 1)
    index.remove([f"m{i}" for i in range(0, 450, 2)])
    assert before.ids == [[f"m{p[0]}"] for p in before.positions]  # an older result keeps its items
    assert [item.id for item in index.items] == [f"m{i}" for i in range(1, 450, 2)]
    everything = np.concatenate([vectors, more])[1::2]
    with pytest.raises(InputError, match="holds no motion 'm0'"):
        index.remove(["m1", "m0"])
    index.add(vectors[:1], [MotionItem("m0")])
    index.save(tmp_path / "index")
    for found in (index, MotionIndex.load(tmp_path / "index")):
        assert len(found) == 226
        result = found.search(everything[[0, 100, 224]], 226)
        assert np.array_equal(np.sort(result.positions, 1), np.tile(np.arange(226), (3, 1)))
        scores = np.take_along_axis(
            cosines(everything[[0, 100, 224]], np.concatenate([everything, vectors[:1]])), result.positions, 1
        )
        assert np.abs(result.scores - scores).max() < (1e-6 if factory.endswith("Flat") and "P" not in factory else 0.6)
        assert np.abs(result.scores - scores).mean() < 0.15


def test_removing_all_leaves_an_index_to_add_to(tmp_path):
    vectors, index = build(count=3)
    index.remove(["m0", "m1", "m2"])
    with pytest.raises(InputError, match="k = 1"):
        index.search(vectors, 1)
    index.save(tmp_path / "index")
    loaded = MotionIndex.load(tmp_path / "index", mmap=False)
    loaded.add(vectors, make(3)[1])
    assert loaded.search(vectors, 1).ids == [["m0"], ["m1"], ["m2"]]


@pytest.mark.parametrize("factory", FIXED)
def test_kinds_without_removal_are_refused(factory):
    _, index = build(factory)
    with pytest.raises(InputError, match="cannot remove motions .*build it again without them"):
        index.remove(["m3"])
    assert len(index) == 400


def test_a_graph_with_unreachable_vectors_still_gives_k():
    vectors, items = make(300)
    vectors[40:260] = vectors[40]  # copies crowd out the links of a graph
    index = MotionIndex.build(vectors, items, fingerprint="model-a", factory="HNSW4")
    assert len(set(index.search(vectors[:1], 300).ids[0])) == 300


@pytest.mark.parametrize("factory", ["Flat", "HNSW8", "IVF8,Flat", "IVF4,PQ4x4,RFlat"])
def test_vectors_come_back(factory, tmp_path):
    vectors, index = build(factory)
    index.save(tmp_path / "index")
    if "HNSW" not in factory and "RFlat" not in factory:
        index.remove(["m1"])
        assert np.allclose(index.vectors([0, 1]), cosines(np.eye(DIM), vectors[[0, 2]]).T, atol=1e-6)
    positions = MotionIndex.load(tmp_path / "index").search(vectors[:4], 1).positions[:, 0]
    found = MotionIndex.load(tmp_path / "index").vectors(positions)
    assert np.allclose(found, cosines(np.eye(DIM), vectors[:4]).T, atol=1e-6)
    with pytest.raises(InputError, match="positions go from 0"):
        index.vectors([400])


def test_codes_that_cannot_be_decoded_are_refused():
    _, index = build("IVF4,PQ4x4fs")
    with pytest.raises(InputError, match="fast-scan codes cannot be decoded.*use a Flat, HNSW or IVF index"):
        index.vectors([0])


def test_default_is_exact_for_small_sets():
    assert default_factory(1) == default_factory(EXACT_BELOW - 1) == "Flat"
    assert default_factory(10**6).startswith("IVF1024,")


@pytest.mark.parametrize("factory", ["Bogus", "IDMap,Flat", "LSH", "IVF800,Flat", "PQ5", ""])
def test_impossible_factories_are_one_sentence(factory):
    vectors, items = make(40)
    if factory == "":
        assert MotionIndex.build(vectors, items, fingerprint="a", factory="").factory == "Flat"
        return
    with pytest.raises(InputError) as caught:
        MotionIndex.build(vectors, items, fingerprint="a", factory=factory)
    assert factory in str(caught.value) and "; use " in str(caught.value) and "\n" not in str(caught.value)


def test_bad_vectors_and_items_are_reported():
    vectors, items = make(5)
    index = MotionIndex.build(vectors, items, fingerprint="a")
    broken, zero = vectors.copy(), vectors.copy()
    broken[2, 1], zero[3] = np.nan, 0
    for action, words in [
        (lambda: index.search(vectors, 6), "k = 6 is not between 1 and the 5 motions"),
        (lambda: index.search(vectors, 0), "k = 0"),
        (lambda: index.search(vectors[:, :7], 1), r"shape \(5, 7\); give one row of width 16"),
        (lambda: index.search(broken, 1), "row 2 of the queries holds NaN"),
        (lambda: index.search(zero, 1), "row 3 of the queries"),
        (lambda: index.add(vectors, items), "the id 'm0' names two motions"),
        (lambda: index.add(vectors[:, :3], items), "width 16"),
        (lambda: MotionIndex.build(vectors, items[:4], fingerprint="a"), "5 embeddings came with 4 items"),
        (lambda: MotionIndex.build(vectors, [items[0]] * 5, fingerprint="a"), "the id 'm0' names two"),
        (lambda: MotionIndex.build(vectors[:0], [], fingerprint="a"), "no motions to index"),
        (lambda: MotionIndex.build(vectors, items, fingerprint="a", gpu=True), "gpu=True needs"),
    ]:
        if "gpu" in words and hasattr(faiss, "StandardGpuResources"):
            continue
        with pytest.raises(InputError, match=words):
            action()
    assert index.search(vectors[:0], 2).positions.shape == (0, 2)


def test_missing_faiss_is_one_sentence_and_imports_are_light():
    script = (
        "import sys; sys.modules['faiss'] = None\n"
        "from realign.index import MotionIndex, MotionItem\n"
        "assert 'torch' not in sys.modules\n"
        "import numpy as np\n"
        "try: MotionIndex.build(np.ones((1, 2)), [MotionItem('a')], fingerprint='a')\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'realign[cpu]'" in done.stdout
