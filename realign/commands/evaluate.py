"""`realign evaluate`: measure generated motions."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realign.commands import configured
from realign.commands.common import local_path, note
from realign.commands.configured import add_config
from realign.commands.guiding import add_guidance, given_guidance, own_guidance
from realign.commands.models import SAMPLING, add_computing, add_model, add_sampling, add_set
from realign.commands.progress import add_quiet, progress_bar
from realign.errors import InputError
from realign.extras import EXTRAS
from realign.files import atomic_path
from realign.guidance.arguments import check_concern
from realign.threads import use_threads

if TYPE_CHECKING:
    import torch

    from realign.evaluation.settings import Setting

NEEDS = EXTRAS["train"]
_RETRIEVAL_ONLY = ("sentence_encoder", "subset")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command and its options."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a generator: R-precision, FID, MM-Dist, diversity, physics, speed",
        description="Sample a generator for the captions of real clips and measure the motions, by one evaluator or "
        "several. Writes OUT.json after every replication, and tables (.md, .tex) and a picture (.png) beside it; the "
        "same command continues after a kill.",
    )
    add_measuring(parser)
    parser.add_argument("--mm-replications", type=int, default=0, help="how often to measure MModality (default: 0)")
    parser.add_argument("--aits", type=int, default=0, metavar="N", help="time N captions, one at a time (default: 0)")
    parser.add_argument("-o", "--output", type=Path, default=Path("results.json"), help="(default: results.json)")
    add_config(parser, "paper/mld_humanml3d")
    for name in ("published", "published_real"):  # of configurations: figures of the row, and of real motions
        parser.add_argument(f"--{name.replace('_', '-')}", type=_figures, default={}, help=argparse.SUPPRESS)
    _add_settings(parser)
    _add_retrieval(parser)


def expand(words: Sequence[str]) -> list[str]:
    """The command line with the options of its configurations."""
    own = argparse.ArgumentParser(prog="realign").add_subparsers()
    add_parser(own)
    return [words[0], *configured.expand(words[1:], own.choices[words[0]])]


def _figures(text: str) -> Any:
    """Figures of a configuration, which come as words of a command line."""
    try:
        return json.loads(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON") from None


def _add_retrieval(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("retrieval", "in the place of a generator: all protocols of TMR, both directions")
    group.add_argument("--retriever", type=local_path, help="a reward, retriever or evaluator to search with")
    group.add_argument(
        "--sentence-encoder", metavar="NAME",
        help="folder or hub name of a sentence encoder that tells which captions are nearly the same, such as "
        "sentence-transformers/all-mpnet-base-v2, for the protocols that need one (default: they are left out)",
    )  # fmt: skip
    group.add_argument("--subset", type=Path, help="ids of the dissimilar subset, one a line")


def add_measuring(parser: argparse.ArgumentParser) -> None:
    """Options of what is measured, on which clips, by which evaluators."""
    add_model(parser, "--generator", "generator")
    add_set(parser)
    parser.add_argument(
        "--evaluator", action="append", metavar="[NAME=]PATH",
        help="an evaluator or an independent retriever: a .ckpt, a folder of weights, a shipped name or "
        "ORG/NAME on the Hub; repeat it for second opinions (default: evaluator)",
    )  # fmt: skip
    parser.add_argument("--protocol", default="guo", help="guo, mld, mdm or mocap (default: %(default)s)")
    parser.add_argument("--replications", type=int, default=20, help="how often to measure (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="motions made at once (default: 32)")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), default="fp32",
        help="of the generator's networks; bf16 is faster on hardware that supports it (default: fp32)",
    )  # fmt: skip
    add_computing(parser, "sample")
    add_quiet(parser)
    group = parser.add_argument_group("clips")
    group.add_argument("--split", default="test", help="train, val, test or all (default: %(default)s)")
    group.add_argument(
        "--kind", choices=("recorded", "composed", "unlabelled"),
        help="clips of this kind alone; unlabelled: those whose captions are not written from labels of index.csv",
    )  # fmt: skip
    group.add_argument("--limit", type=int, metavar="N", help="number of clips, for a quick look")
    group.add_argument("--seed", type=int, default=0, help="of all draws (default: 0)")


def _add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "settings, one row each", "Options apply to every setting whose method reads them."
    )
    group.add_argument(
        "--setting", action="append", metavar="WORDS",
        help='a further setting, such as "name=strong guidance=reward strength=600 steps=20"; what it '
        "leaves out comes from the options below (default: guidance none and default)",
    )  # fmt: skip
    add_sampling(group)
    group.add_argument(
        "--clean", action=argparse.BooleanOptionalAction, default=False,
        help="measure each setting a second time, as `realign generate` writes its motions: bones of constant length, "
        "feet that do not slide (default: what the network says alone)",
    )  # fmt: skip
    add_guidance(parser, several=True)


def settings_of(options: argparse.Namespace) -> "list[Setting]":
    """The settings that the options ask for.

    Raises:
        InputError: Words that are not understood, or options of guidance without any.
    """
    from realign.evaluation.settings import Setting
    from realign.guidance.config import GuidanceConfig

    sampling = {name: getattr(options, name) for name in SAMPLING if getattr(options, name) is not None}
    given, own = given_guidance(options), own_guidance(options.generator)
    implied = not (options.guidance or options.setting)
    words = (
        ["none", "default" if given.get("preset", "none") == "none" else "reward"]
        if implied
        else options.guidance or []
    )
    texts = [*(f"guidance={word}" for word in words), *(options.setting or ())]
    methods = [Setting.parse(text, sampling, own).config.method for text in texts]
    check_concern(given, set(methods))

    def made(text: str, method: str) -> Setting:
        """Options that a setting's method does not read must not change its name."""
        concerning = {name: value for name, value in given.items() if name in GuidanceConfig.options(method)}
        return Setting.parse(text, sampling | concerning, own)

    found = [made(text, method) for text, method in zip(texts, methods, strict=True)]
    found = list(dict.fromkeys(found)) if implied else found  # a generator without its own guidance has one setting
    return [*found, *(each.cleaned() for each in found if not each.clean)] if options.clean else found


def run(options: argparse.Namespace) -> None:
    """Evaluate, write and print the tables."""
    use_threads(options.threads, options.batch_size, options.devices)
    from realign.distributed import launch
    from realign.evaluation.published import read_figures
    from realign.evaluation.results import LEARNED, REAL, Results
    from realign.evaluation.tables import markdown, write_tables
    from realign.inference import pick_device

    if options.retriever is not None:
        return _run_retrieval(options)
    _refuse(options, _RETRIEVAL_ONLY, "only --retriever reads it")
    figures = [read_figures(each, LEARNED) for each in (options.published, options.published_real)]
    settings = settings_of(options)  # checked before models are loaded
    more = {"multimodality": options.mm_replications, "time_captions": options.aits}
    launch(measure, options.devices, pick_device(options.device), options, settings, options.output, more)
    results = Results.load(options.output)
    if any(figures):
        results.row(REAL, None).published = options.published_real
        (row,) = [row for row in results.rows if row.name == settings[0].name]
        if len(settings) == 1:
            row.published = options.published
        elif options.published:
            note("published figures belong to one row, so they are not shown beside several settings")
        results.save(options.output)
    written = write_tables(options.output, results)
    print(markdown(results))
    print(*(str(path) for path in (options.output, *written)), sep="\n")


def _run_retrieval(options: argparse.Namespace) -> None:
    """Measure retrieval, write and print."""
    generating = ("generator", "evaluator", "guidance", "setting", "reward", "index", "published_real")
    _refuse(options, generating, "it is of generators, not of --retriever")
    from realign.evaluation.retrieval import evaluate_retrieval, markdown

    found = evaluate_retrieval(
        options.retriever,
        options.data,
        options.split,
        sentence_encoder=options.sentence_encoder,
        subset=options.subset,
        kind=options.kind,
        limit=options.limit,
        batch_size=options.batch_size,
        device=options.device,
        trust_code=options.trust_code,
        published=options.published,
    )
    with atomic_path(options.output) as temporary:
        temporary.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(markdown(found))
    print(options.output)


def _refuse(options: argparse.Namespace, names: Sequence[str], reason: str) -> None:
    given = next((name for name in names if getattr(options, name)), None)
    if given is not None:
        raise InputError(f"--{given.replace('_', '-')} has no effect here, since {reason}; leave it out.")


def measure(
    device: "torch.device",
    options: argparse.Namespace,
    settings: "list[Setting]",
    output: Path,
    more: dict[str, int] | None = None,
) -> None:
    """Work of every process: load, sample its part, measure.

    Args:
        device: Where it works.
        options: Those of `add_measuring`, with reward and index.
        settings: What to sample.
        output: Results file.
        more: Further numbers for `Evaluation.run`.
    """
    from realign.distributed import processes
    from realign.evaluation.load import load_evaluation

    evaluation = load_evaluation(
        options.data,
        generator=options.generator,
        evaluators=options.evaluator or (),
        reward=options.reward,
        index=options.index,
        protocol=options.protocol,
        guided=any(each.config.method != "none" for each in settings),
        anchored=any(each.config.method != "none" and each.config.eta for each in settings),
        device=device,
        batch_size=options.batch_size,
        precision=options.precision,
        trust_code=options.trust_code,
        split=options.split,
        kind=options.kind,
        limit=options.limit,
        seed=options.seed,
    )
    with progress_bar(processes()[0] == 0 and not options.quiet, "real motions") as watch:
        evaluation.run(
            settings,
            replications=options.replications,
            output=output,
            watch=watch,
            **(more or {}),
        )
