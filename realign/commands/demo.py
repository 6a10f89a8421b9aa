"""`realign demo`: a page in the browser."""

import argparse
import warnings

from realign.commands.common import loading, local_path, local_set, note
from realign.commands.models import add_computing, add_model
from realign.errors import InputError, InputWarning, need
from realign.threads import use_threads


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command and its options."""
    parser = commands.add_parser("demo", help="generate and search on a page in the browser")
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS",
        help="address to answer at; 0.0.0.0 opens the demo to the network (default: 127.0.0.1, this machine alone)",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=7860, help="port; 0 takes a free one (default: 7860)")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page in the browser")
    parser.add_argument(
        "--waiting", type=int, default=32, metavar="N", help="requests that may wait for the models (default: 32)"
    )
    add_model(parser, "--checkpoint", "generator", "generator")
    parser.add_argument(
        "--index", type=local_path, metavar="DIR", help="index to search, in the same ways (default: the shipped one)"
    )
    parser.add_argument("--retriever", type=local_path, metavar="CHECKPOINT", help="the model that made the index")
    parser.add_argument("--data", type=local_set, help="prepared set with the motions of the index, if it holds none")
    add_computing(parser)


def run(options: argparse.Namespace) -> None:
    """Load the models and serve the page until it is interrupted."""
    need("gradio")
    if options.waiting < 1:
        raise InputError(f"--waiting {options.waiting} lets nobody in; give at least 1.")
    from realign.demo.gate import is_loopback
    from realign.demo.server import bind, make_app, private_folder, serve

    use_threads(options.threads, None)
    with bind(options.host, options.port) as listening, private_folder() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # the page shows them
        with loading():
            from realign.demo.limits import Limits
            from realign.demo.shelf import Shelf
            from realign.demo.studio import Studio
            from realign.inference import MotionSearch, TextToMotion

            limits, code = Limits(waiting=options.waiting), {"trust_code": options.trust_code}
            model = TextToMotion.from_pretrained(options.checkpoint, options.device, **code)
            library = MotionSearch.from_pretrained(options.index, options.retriever, options.device, **code)
            studio = Studio(model, library, Shelf(limits, folder), limits, options.data)
            local = is_loopback(options.host)
            app = make_app(studio, local)
        host, port = listening.getsockname()[:2]
        if not local:
            note(
                f"--host {options.host} opens the demo to everyone who can reach this machine, without a password; "
                "leave it out to keep it on this machine"
            )
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        print(f"The demo is at {address} (Ctrl-C ends it)", flush=True)
        serve(app, listening, None if options.no_browser else address)
