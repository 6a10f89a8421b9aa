import numpy as np
import pytest
import torch
from metric_parts import run_two

from realign.errors import InputError
from realign.metrics.retrieval import (
    dissimilar_subset,
    retrieval_metrics,
    retrieval_protocols,
    retrieval_ranks,
    similarity_matrix,
    small_batch_recall,
    small_batches,
)


def plain_ranks(scores, right, copies):
    """Average 0-based rank of every tied entry, by sorting; then the best rank of a right one, without shared code.

    Of right answers that tie as copies of each other only one stays in the row.
    """
    best = []
    for row, answers in zip(scores, right, strict=True):
        if copies:
            top = max(row[j] for j in answers)
            keep = next(j for j in answers if row[j] == top)
            row = [value for j, value in enumerate(row) if j == keep or j not in answers or value != top]
            answers = [row.index(top)]
        ordered = sorted(row, reverse=True)
        places = {value: [i for i, other in enumerate(ordered) if other == value] for value in set(row)}
        best.append(min(sum(places[row[j]]) / len(places[row[j]]) for j in answers))
    return best


def plain_table(scores, right_rows, right_columns, copies):
    table = {}
    for direction, matrix, right in (("t2m", scores, right_rows), ("m2t", scores.T, right_columns)):
        ranks = plain_ranks(matrix.tolist(), right, copies)
        for k in (1, 2, 3, 5, 10):
            table[f"{direction}/R@{k}"] = sum(rank < k for rank in ranks) / len(ranks)
        table[f"{direction}/MedR"] = float(np.median(ranks)) + 1
    return table


def plain_protocols(scores, ids, captions, text_similarity, subset):
    size, copies = len(ids), captions is not None
    captions = captions if copies else ids
    same = [[j for j in range(size) if captions[j] == captions[i]] for i in range(size)]
    near = [[j for j in range(size) if text_similarity[i, j] > 0.9 or j in same[i]] for i in range(size)]
    near_columns = [[i for i in range(size) if j in near[i]] for j in range(size)]

    def part(chosen):
        right = [[b for b, j in enumerate(chosen) if captions[j] == captions[i]] for i in chosen]
        return plain_table(scores[np.ix_(chosen, chosen)], right, right, copies)

    order = list(range(size))
    rng = np.random.RandomState(0)
    rng.shuffle(order)
    by_id = sorted(range(size), key=lambda i: ids[i])
    batches = [part([by_id[p] for p in order[32 * b : 32 * b + 32]]) for b in range(size // 32)]
    tables = {
        "all": plain_table(scores, same, same, copies),
        "threshold": plain_table(scores, near, near_columns, copies),
        "dissimilar": part([ids.index(name) for name in subset]),
        "small_batches": {name: float(np.mean([batch[name] for batch in batches])) for name in batches[0]},
    }
    return {f"{protocol}/{name}": value for protocol, table in tables.items() for name, value in table.items()}


@pytest.mark.parametrize("levels", [3, 12, 10**6])
@pytest.mark.parametrize("identical", [True, False])
def test_all_protocols_agree_with_plain_loops_under_ties(levels, identical):
    rng = np.random.default_rng(levels)
    size = 101
    scores = (
        np.round(rng.random((size, size)) * levels).astype(np.float32) / levels + np.eye(size, dtype=np.float32) / 4
    )
    captions = [f"caption {rng.integers(40)}" for _ in range(size)] if identical else None
    ids = [f"{i:06d}" for i in rng.permutation(size)]
    similar = rng.random((size, size)) ** 0.02  # a third above 0.9... and not symmetric
    subset = ids[5:25]
    found = retrieval_protocols(
        torch.from_numpy(scores), ids, captions=captions, text_similarity=torch.from_numpy(similar), subset=subset
    )
    assert found == pytest.approx(plain_protocols(scores, ids, captions, similar, subset), abs=1e-6)


def test_a_tie_takes_the_average_rank():
    scores = torch.tensor([[1.0, 1.0, 1.0], [0.0, 5.0, 5.0], [3.0, 2.0, 1.0]])
    text_to_motion, motion_to_text = retrieval_ranks(scores)
    assert text_to_motion.tolist() == [1.0, 0.5, 2.0]
    assert motion_to_text.tolist() == [1.0, 0.0, 1.5]
    everything = torch.ones(3, 3, dtype=torch.bool)
    assert retrieval_ranks(scores, everything)[0].tolist() == [1.0, 0.5, 0.0]
    assert retrieval_ranks(scores, everything, copies=True)[0].tolist() == [0.0, 0.0, 0.0]
    table = retrieval_metrics(scores)
    assert table["t2m/R@1"] == pytest.approx(1 / 3)
    assert table["t2m/MedR"] == 2.0


def test_even_median_is_the_mean_of_the_two_in_the_middle():
    scores = -torch.arange(4.0).expand(4, 4)  # ranks 0, 1, 2, 3
    assert retrieval_metrics(scores)["t2m/MedR"] == 2.5


def test_large_matrices_are_split_into_blocks_exactly():
    scores = torch.randint(0, 50, (1100, 1100), generator=torch.Generator().manual_seed(0)).float()
    ranks = retrieval_ranks(scores)[1]
    right = scores.diagonal()
    expected = (scores > right).sum(0) + ((scores == right).sum(0) - 1) / 2
    assert torch.equal(ranks, expected)


def test_equal_embeddings_tie_exactly():
    generator = torch.Generator().manual_seed(0)
    text = torch.randn(7, 256, generator=generator)[torch.arange(300) % 7]
    scores = similarity_matrix(text, torch.randn(300, 256, generator=generator))
    assert torch.equal(scores[:7].repeat(43, 1)[:300], scores)


def test_small_batches_follow_the_sorted_ids_and_the_legacy_shuffle():
    ids = [f"{i:03d}" for i in range(70)]
    order = np.arange(70)
    np.random.RandomState(0).shuffle(order)
    assert small_batches(ids).flatten().tolist() == order[:64].tolist()
    turned = small_batches(ids[::-1]).flatten()
    assert [ids[::-1][i] for i in turned] == [ids[i] for i in order[:64]]
    with pytest.raises(InputError, match="31 pairs do not fill one batch of 32"):
        small_batches(ids[:31])


def test_small_batch_recall_is_the_protocol():
    generator = torch.Generator().manual_seed(1)
    text = torch.randn(200, 16, generator=generator)
    motion = text + torch.randn(200, 16, generator=generator)
    ids, captions = [f"{i:03d}" for i in range(200)], [f"{i % 90}" for i in range(200)]
    protocols = retrieval_protocols(similarity_matrix(text, motion), ids, captions=captions)
    for name, value in small_batch_recall(text, motion, captions=captions).items():
        assert protocols[f"small_batches/{name}"] == pytest.approx(value, abs=1e-9)
    assert "threshold/t2m/R@1" not in protocols and "dissimilar/t2m/R@1" not in protocols


def test_dissimilar_subset_avoids_near_copies():
    points = torch.eye(6).repeat_interleave(5, 0) + 0.01 * torch.rand(30, 6, generator=torch.Generator().manual_seed(0))
    chosen = dissimilar_subset(similarity_matrix(points, points), 6)
    assert sorted(set((chosen // 5).tolist())) == list(range(6))
    assert len(dissimilar_subset(torch.eye(3))) == 3


def test_bad_input_is_named():
    scores = torch.zeros(40, 40)
    scores[3, 4] = torch.nan
    with pytest.raises(InputError, match="not a number"):
        retrieval_metrics(scores)
    with pytest.raises(InputError, match="1 of the 2 listed ids are not evaluated, 'x' first"):
        retrieval_protocols(torch.eye(40), [str(i) for i in range(40)], subset=["3", "x"])


PAIRS = """
import torch
generator = torch.Generator().manual_seed(3)
text = torch.randn(90, 8, generator=generator)[torch.arange(90) % 60]
motion, reference = text + torch.randn(90, 8, generator=generator), text + 0.1
ids, captions = [f"clip-{i * 37 % 90:02d}" for i in range(90)], [f"{i % 60}" for i in range(90)]
def feed(metric, rows):
    pick = lambda values: [values[i] for i in rows]
    metric.update(text[rows], motion[rows], pick(ids), pick(captions), reference[rows])
"""


@pytest.mark.parametrize("options", [{}, {"identical": False}, {"identical": True}])
def test_metric_does_not_depend_on_batches_and_counts_a_pair_once(options):
    from realign.metrics.retrieval_metric import RetrievalMetrics

    scope: dict = {}
    exec(PAIRS, scope)
    whole, parts = RetrievalMetrics(**options), RetrievalMetrics(**options)
    scope["feed"](whole, list(range(90)))
    for rows in (range(50, 90), range(0, 30), range(30, 52)):  # 50 and 51 twice
        scope["feed"](parts, list(rows))
    expected = retrieval_protocols(
        similarity_matrix(scope["text"], scope["motion"]),
        scope["ids"],
        captions=scope["captions"] if options.get("identical") else None,
        text_similarity=similarity_matrix(scope["reference"], scope["reference"]),
    )
    table = {name: float(value) for name, value in whole.compute().items()}
    assert table == pytest.approx(expected)
    assert {name: float(value) for name, value in parts.compute().items()} == table
    with pytest.raises(InputError, match="takes 200 bytes"):
        whole.update(torch.ones(1, 8), torch.ones(1, 8), ["x" * 200], ["y"])


WORKER = (
    PAIRS
    + """
import sys, torch.distributed as dist
from realign.metrics.retrieval_metric import RetrievalMetrics
rank, file = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
split, alone = RetrievalMetrics(), RetrievalMetrics(sync_on_compute=False)
feed(split, list(range(rank, 90, 2)) + [0])  # a padded sampler repeats a sample
feed(alone, list(range(90)))
shared, single = split.compute(), alone.compute()
assert {k: float(v) for k, v in shared.items()} == {k: float(v) for k, v in single.items()}, (shared, single)
dist.destroy_process_group()
"""
)


def test_two_processes_agree_with_one(tmp_path):
    run_two(WORKER, tmp_path)
