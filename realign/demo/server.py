"""The server: gradio's page, the motions of its results, and the gate before both."""

import os
import re
import signal
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realign.demo.gate import Gate
from realign.demo.shelf import Busy, Shelf
from realign.demo.studio import Studio
from realign.errors import InputError

if TYPE_CHECKING:
    from fastapi import FastAPI

_TYPES = {
    ".gif": "image/gif", ".mp4": "video/mp4", ".html": "text/html; charset=utf-8", ".png": "image/png",
    ".glb": "model/gltf-binary", ".zip": "application/zip",
}  # fmt: skip
_ALONE = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
)
_QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_SSR_MODE": "False", "GRADIO_MCP_SERVER": "False",
    "GRADIO_SHARE": "False", "GRADIO_RUN_HISTORY": "False",
}  # fmt: skip


def bind(host: str, port: int) -> socket.socket:
    """Take a port, before anything slow is done.

    Raises:
        InputError: It is in use or may not be taken, or there is no such address.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--port {port} is not a port; choose one of 1024 to 65535, or 0 for any that is free.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError):
        raise InputError(
            f"--host {host!r} is not an address of this machine; 127.0.0.1 is this machine alone."
        ) from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        reason = error.strerror or error
        raise InputError(f"{host} port {port} cannot be taken ({reason}); choose another --port, or 0.") from None
    return listening


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder of this process for whatever gradio and the shelf write; it is removed at the end.

    Settings of gradio that would call other machines are switched off, so enter this before importing it.
    """
    with tempfile.TemporaryDirectory(prefix="realign-demo-") as folder:
        settings = _QUIET | {"GRADIO_TEMP_DIR": str(Path(folder) / "gradio")}
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        try:
            yield Path(folder)
        finally:
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def make_app(studio: Studio, local: bool = True) -> Gate:
    """The application.

    Args:
        studio: What computes.
        local: Answer under names of this machine only.
    """
    from fastapi import FastAPI
    from gradio import mount_gradio_app

    from realign.demo.page import appearance, make_page

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    _add_motions(app, studio.shelf)
    mount_gradio_app(
        app, make_page(studio), "/", footer_links=[], ssr_mode=False, show_error=False,
        allowed_paths=[], blocked_paths=[str(Path(Path.cwd().anchor))], max_file_size=1, enable_monitoring=False,
        mcp_server=False, pwa=False, **appearance(),
    )  # fmt: skip
    return Gate(app, studio.limits, local)


def _add_motions(app: "FastAPI", shelf: Shelf) -> None:
    """The addresses that take motions and give them, in the thread pool."""
    from fastapi import Depends, HTTPException, Request, Response

    async def body(request: Request) -> bytes:
        return await request.body()

    def answered(work: Any) -> Any:
        try:
            return work()
        except InputError as error:
            raise HTTPException(422, str(error)) from None
        except Busy as busy:
            raise HTTPException(503, str(busy)) from None

    @app.post("/motions")
    def take(name: str, data: bytes = Depends(body)) -> dict[str, Any]:
        title, suffix = _title(name)
        clips = answered(lambda: shelf.read(data, suffix, title))
        return {"motion": shelf.put(clips), "title": title, "seconds": round(clips[0].seconds, 1)}

    @app.get("/motions/{name}/{file}")
    @app.head("/motions/{name}/{file}")
    def give(name: str, file: str) -> Response:
        stem, _, ending = file.partition(".")
        data, suffix = answered(lambda: shelf.file(name, f".{ending}"))
        headers = {"Content-Security-Policy": _ALONE, "Cache-Control": "private, max-age=600"}
        if stem != "show":
            inner = f"_{ending}" if suffix != f".{ending}" else ""
            headers["Content-Disposition"] = f'attachment; filename="motion{inner}{suffix}"'
        return Response(data, media_type=_TYPES.get(suffix, "application/octet-stream"), headers=headers)


def _title(name: str) -> tuple[str, str]:
    """How messages call a dropped file, and its suffix; nothing else of its name is used."""
    last = re.split(r"[\\/]", name)[-1]
    shown = "".join(character for character in last if character.isprintable())[-60:]
    return shown or "the file", Path(last).suffix.lower()


def serve(app: Any, listening: socket.socket, address: str | None) -> None:
    """Answer until interrupted.

    Args:
        app: From `make_app`.
        listening: From `bind`.
        address: Opened in the browser once the server answers; None opens nothing.
    """
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1, ws="none")
    )
    for each in (signal.SIGTERM, signal.SIGINT):  # uvicorn gives a signal on to these when it has ended
        signal.signal(each, _leave)
    if address is not None:
        timer = threading.Timer(1.0, webbrowser.open, [address])
        timer.daemon = True
        timer.start()
    server.run(sockets=[listening])


def _leave(number: int, frame: Any) -> None:
    """Unwind, so that the private folder is removed; the end of a demo by the keyboard is not an error."""
    raise SystemExit(0 if number == signal.SIGINT else 128 + number)
