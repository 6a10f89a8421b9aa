"""`realign search`: find the motions and captions nearest to captions or motions."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realign.commands.common import add_motion_options, loading, local_path, local_set, note, read_motions
from realign.commands.models import add_computing
from realign.extras import EXTRAS
from realign.threads import use_threads

if TYPE_CHECKING:
    from realign.inference import MotionSearch
    from realign.motion.clip import MotionClip

NEEDS = EXTRAS["cpu"]


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command and its options."""
    parser = commands.add_parser("search", help="find motions by text or by motion, and captions by motion")
    parser.add_argument("text", nargs="*", metavar="TEXT", help="a caption; several are several queries")
    parser.add_argument("--file", type=Path, help="read captions from a text file, one per line")
    parser.add_argument(
        "--motion", action="extend", nargs="+", type=Path, default=[], metavar="CLIP",
        help=".npy, .npz, .bvh or .glb files: find motions like them, and captions for them; give TEXT before it",
    )  # fmt: skip
    add_motion_options(parser)
    parser.add_argument("--body-models", metavar="DIR", help="models of SMPL+H, SMPL-X or SMPL, for an .npz of AMASS")
    parser.add_argument("-k", type=int, metavar="K", help="hits per query (default: 10)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--render", type=Path, metavar="OUT",
        help="draw the hits side by side: .png .html .gif .mp4, or save them: .bvh .npy .npz .glb; one file per query",
    )  # fmt: skip
    parser.add_argument(
        "--index", type=local_path, metavar="DIR",
        help="folder of an index, or ORG/NAME[@REVISION] on the Hub (default: the shipped one)",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoint",
        type=local_path,
        help="the model that made the index, in the same ways (default: the shipped one)",
    )
    parser.add_argument("--data", type=local_set, help="prepared set with the motions, if the index holds none")
    add_computing(parser)


def run(options: argparse.Namespace) -> None:
    """Search, print and draw."""
    use_threads(options.threads, None if options.file else len(options.text) + len(options.motion))
    with loading():
        from realign.inference import MotionSearch, read_captions
        from realign.motion.skeleton import check_fps

        if options.render is not None:
            _check_render(options)
        if options.fps is not None:
            check_fps(options.fps, "--fps")
        asked = options.text or options.file is not None or not options.motion
        texts = read_captions(options.text, options.file) if asked else []
        clips = [clip for path in options.motion for clip in _queries(path, options)]
        model = MotionSearch.from_pretrained(
            options.index, options.checkpoint, options.device, trust_code=options.trust_code
        )
    answers = search(model, texts, clips, options.k)
    if options.json:
        print_json(answers)
    else:
        print_tables(answers)
    if options.render:  # after printing, so that hits are not lost if drawing fails
        for path in render(model, answers, options.render, options.data):
            note(f"wrote {path}")


def search(model: "MotionSearch", texts: list[str], clips: list["MotionClip"], k: int | None) -> list[dict[str, Any]]:
    """One answer per query, captions first: query, kind, familiarity, motions, and captions for a motion."""
    answers: list[dict[str, Any]] = []
    if texts:
        for text, hits, known in zip(texts, model.by_text(texts, k), model.familiarity(texts), strict=True):
            answers.append({"query": text, "kind": "text", "familiarity": known, "motions": hits})
    if clips:
        motions = model.by_motion(clips, k)
        captions = [[] for _ in clips] if model.library.captions is None else model.captions_for(clips, k)
        for clip, hits, found in zip(clips, motions, captions, strict=True):
            answers.append({"query": clip.caption, "kind": "motion", "motions": hits, "captions": found})
    return answers


def render(model: "MotionSearch", answers: list[dict[str, Any]], out: Path, data: Path | None) -> list[Path]:
    """Write the hits of every query; files of several queries are numbered."""
    from realign.render.save import save_motions

    digits = len(str(len(answers) - 1))
    written: list[Path] = []
    for number, answer in enumerate(answers):
        name = out if len(answers) == 1 else out.with_name(f"{out.stem}_{number:0{digits}d}{out.suffix}")
        written += save_motions(name, model.clips(answer["motions"], data))
    return written


def print_json(answers: list[dict[str, Any]]) -> None:
    """One JSON list with an object per query."""
    import json
    from dataclasses import asdict

    print(json.dumps(answers, ensure_ascii=False, indent=1, default=asdict))


def print_tables(answers: list[dict[str, Any]]) -> None:
    """A table of motions per query, and one of captions below it for a motion."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    for answer in answers:
        told = any(hit.probability is not None for hit in answer["motions"])
        names = ("#", "score", *(["right"] if told else []), "id", "seconds", "caption")
        table = Table(*names, title=Text(answer["query"]), title_justify="left")
        for rank, hit in enumerate(answer["motions"], 1):
            more = f" (+{len(hit.captions) - 1} more)" if len(hit.captions) > 1 else ""
            right = [] if hit.probability is None else [f"{hit.probability:.0%}"]
            cells = (
                str(rank), f"{hit.score:.3f}", *right, hit.id, f"{hit.seconds:.1f}", "".join(hit.captions[:1]) + more
            )  # fmt: skip
            table.add_row(*map(Text, cells))
        console.print(table)
        if answer.get("captions"):
            captions = Table("#", "score", "caption that fits the motion")
            for rank, hit in enumerate(answer["captions"], 1):
                captions.add_row(*map(Text, (str(rank), f"{hit.score:.3f}", hit.caption)))
            console.print(captions)


def _check_render(options: argparse.Namespace) -> None:
    """Refuse pictures that could only fail, before the model is loaded."""
    from realign.checkpoint.saved import saved_skeleton
    from realign.data.store import read_meta
    from realign.index.library import JOINTS
    from realign.inference import pretrained_folder
    from realign.inference.hits import keeps_no_motions
    from realign.render.save import check_output

    index = options.index or pretrained_folder("index")
    check_output(options.render, saved_skeleton(options.checkpoint or pretrained_folder("retriever")))
    if options.data is not None:
        read_meta(options.data)
    elif index.is_dir() and not (index / JOINTS).exists():
        raise keeps_no_motions(index)


def _queries(path: Path, options: argparse.Namespace) -> "list[MotionClip]":
    """The motions of a file, named after it, and numbered if it holds several."""
    clips = read_motions(path, options)
    for number, clip in enumerate(clips, start=1):
        clip.caption = str(path) if len(clips) == 1 else f"{path} {number}: {clip.caption}".removesuffix(": ")
    return clips
