"""`realign index`: build an index of a prepared set, merge indexes, export or push one."""

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from realign.commands.common import add_threads, local_path, note
from realign.commands.export import add_push_options
from realign.commands.models import add_computing, add_model, add_set
from realign.commands.progress import add_quiet, progress_bar
from realign.hub import check_repository, push
from realign.threads import use_threads

if TYPE_CHECKING:
    import torch


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command and its options."""
    parser = commands.add_parser("index", help="build an index of motions to search; merge, export or push indexes")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser(
        "build",
        help="embed the motions of a prepared set and write their index",
        description="Embed the clean motions of one split and all their captions with a reward model or retriever, and "
        "write them as a folder that `realign search --index` opens.",
    )
    add_model(build, "--checkpoint", "retriever")
    add_set(build)
    build.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to make")
    build.add_argument("--split", default="train", help="train, val, test or all (default: train)")
    build.add_argument("--factory", help="FAISS factory, such as Flat or HNSW32 (default: by the number of motions)")
    build.add_argument(
        "--with-motions", action="store_true",
        help="store the motions too (about 45 bytes per frame), so that hits can be drawn without --data",
    )  # fmt: skip
    build.add_argument(
        "--without-captions", action="store_true",
        help="leave out captions: enough for guidance and lengths, but captions of motions cannot be searched",
    )  # fmt: skip
    build.add_argument("--batch-size", type=int, default=64, help="motions per batch (default: 64)")
    add_computing(build, "embed")
    add_quiet(build)
    merge = actions.add_parser(
        "merge",
        help="write one index of the motions of several",
        description="Write one index of the motions and captions of several that the same model made, in their order. "
        "No two motions may have the same id.",
    )
    merge.add_argument("indexes", nargs="+", type=local_path, metavar="INDEX", help="folders of indexes, at least two")
    merge.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to make")
    add_threads(merge)
    merge.add_argument("--factory", help="FAISS factory, such as Flat or HNSW32 (default: by the number of motions)")
    export = actions.add_parser(
        "export",
        help="write embeddings and items as files for vector databases",
        description="Write embeddings.npy, unit rows of float32, and the items in the same order, as Parquet where "
        "pyarrow is installed and else as JSON lines; the captions likewise in a folder inside.",
    )
    export.add_argument("index", type=local_path, metavar="INDEX", help="folder of an index")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder to make")
    export.add_argument("--items", choices=("parquet", "jsonl"), help="form of the items (default: see above)")
    sending = actions.add_parser("push", help="write an index to a repository on the Hugging Face Hub")
    sending.add_argument("index", type=local_path, metavar="INDEX", help="folder of an index")
    add_push_options(sending, "hub")


def run(options: argparse.Namespace) -> None:
    """Build, merge, export or push."""
    {"build": run_build, "merge": run_merge, "export": run_export, "push": run_push}[options.action](options)


def run_push(options: argparse.Namespace) -> None:
    """Check the index, push it, and print the address."""
    check_repository(options.hub)
    from realign.checkpoint.card import write_card
    from realign.index.library import MotionLibrary

    library = MotionLibrary.load(options.index)
    captions = None if library.captions is None else len(library.captions)
    rows = {"motions": len(library.motions), "captions": captions, "model": library.motions.fingerprint}
    with tempfile.TemporaryDirectory() as folder:
        use = 'realign search "a person bows" --index {name} --checkpoint MODEL'
        card = write_card(Path(folder), options.hub, "index", rows, use, options.license)
        print(push(library.files() | {card.name: card}, options.hub, private=options.private))


def run_merge(options: argparse.Namespace) -> None:
    """Merge, and print what was left out."""
    use_threads(options.threads)
    from realign.index.merging import merge_libraries
    from realign.index.motion_index import MotionIndex

    with_motions = merge_libraries(options.indexes, options.output, options.factory)
    index = MotionIndex.load(options.output)
    print(f"{options.output}: {len(index)} motions, {index.factory}, {index.fingerprint}")
    if not with_motions and any((folder / "joints").exists() for folder in options.indexes):
        note("the motions themselves are left out, as not all of the indexes keep them.")


def run_export(options: argparse.Namespace) -> None:
    """Export, and print the files."""
    from realign.index.merging import export_library

    print(*export_library(options.index, options.output, options.items), sep="\n")


def run_build(options: argparse.Namespace) -> None:
    """Embed and write."""
    use_threads(options.threads, options.batch_size, options.devices)
    from realign.distributed import launch
    from realign.index.motion_index import MotionIndex
    from realign.index.storage import check_replaceable
    from realign.inference import pick_device

    check_replaceable(options.output)
    launch(build, options.devices, pick_device(options.device), options)
    index = MotionIndex.load(options.output)
    print(f"{options.output}: {len(index)} motions, {index.factory}, {index.fingerprint}")


def build(device: "torch.device", options: argparse.Namespace) -> None:
    """Work of every process: load the model, embed its part, write together.

    Args:
        device: Where it works.
        options: Those of `realign index build`.
    """
    from realign.distributed import processes
    from realign.inference import pretrained_folder
    from realign.inference.build_index import build_index
    from realign.nn.embedder import Embedder

    embedder = Embedder.load(options.checkpoint or pretrained_folder("retriever"), trust_code=options.trust_code)
    with progress_bar(processes()[0] == 0 and not options.quiet, "motions") as watch:
        build_index(
            embedder,
            options.data,
            options.output,
            split=options.split,
            factory=options.factory,
            with_motions=options.with_motions,
            with_captions=not options.without_captions,
            batch_size=options.batch_size,
            device=device,
            watch=watch,
        )
