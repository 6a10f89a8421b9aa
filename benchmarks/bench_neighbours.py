"""Motion-to-motion retrieval by an index: does the nearest other clip of a set show the same action?

    realign index build --data prepared/foreign --split all --without-captions -o foreign_index
    python benchmarks/bench_neighbours.py foreign_index shared/data/mocap/index.csv

The action of a clip is its content in index.csv, or the first part of its original name where content is empty
(`Atk_2xCombo01` is an attack). Clips whose action occurs once have no right answer and are left out as queries, not as
answers. Chance is the mean fraction of right ones among the others.
"""

import argparse
import csv
import re

import numpy as np

from realign.index import MotionIndex


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index")
    parser.add_argument("table", help="index.csv of the set")
    options = parser.parse_args()
    index = MotionIndex.load(options.index)
    with open(options.table, encoding="utf-8", newline="") as file:
        named = {row["id"]: row["content"] or _first_part(row["clip"]) for row in csv.DictReader(file)}
    actions = np.array([named[item.id] for item in index.items])
    found = index.search(index.vectors(range(len(index))), k=min(11, len(index))).positions
    same = actions[:, None] == actions
    np.fill_diagonal(same, False)
    queries = np.flatnonzero(same.any(1))
    others = [[place for place in found[query] if place != query][:10] for query in queries]
    right = np.array([same[query, row] for query, row in zip(queries, others, strict=True)])
    chance = same[queries].sum(1).mean() / (len(index) - 1)
    print(f"{len(index)} motions, {len(queries)} queries of {len(set(actions[queries]))} actions: ", end="")
    print(", ".join(f"R@{k} {right[:, :k].any(1).mean():.1%}" for k in (1, 3, 10)), end="")
    print(f", right among the ten {right.mean():.1%}, by chance {chance:.1%}")


def _first_part(name: str) -> str:
    return re.split(r"[_\d]|(?<=[a-z])(?=[A-Z])", name)[0]


if __name__ == "__main__":
    main()
