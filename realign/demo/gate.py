"""What reaches the server: few addresses, small requests, no other site's pages."""

import asyncio
import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from realign.demo.limits import Limits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_FILES = r"(?:assets|static|svelte)(?:/[\w@~+-][\w.@~+-]*)+"
_NAME = r"[\w-]{1,64}"
_OPEN = {
    "GET": re.compile(
        rf"/(?:|config|theme\.css|favicon\.ico|manifest\.json|robots\.txt|{_FILES}|motions/{_NAME}/[a-z]+\.[a-z0-9]+|"
        rf"gradio_api/(?:info|app_id|startup-events|theme\.css|queue/data|heartbeat/{_NAME}|call/{_NAME}/{_NAME}))/?"
    ),
    "POST": re.compile(rf"/(?:motions|gradio_api/(?:queue/join|cancel|reset|call/{_NAME}))/?"),
}
"""Addresses that exist. All others of gradio are closed: its files, uploads, proxies, monitoring and editors."""
_ASKING = re.compile(r"/gradio_api/(?:queue/join|call/\w+)/?")
_PATIENCE = 30.0  # seconds in which a request must arrive
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-src 'self'; object-src 'none'; "
        b"base-uri 'self'; form-action 'self'; frame-ancestors 'self'",
    ),
]


class Refused(Exception):
    """A request that is answered with a status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Gate:
    """Checks each request before the application sees it, and reads its body within a limit.

    Args:
        app: The application.
        limits: Of sizes and connections.
        local: Only answer under a name of this machine, so that pages of other sites cannot reach the server by a name
            of theirs.
    """

    def __init__(self, app: App, limits: Limits, local: bool) -> None:
        self.app, self.limits, self.local = app, limits, local
        self.open = self.uploads = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return None  # there are no web sockets
        self.open += 1
        try:
            self._check(scope)
            if scope["method"] == "POST":
                receive = _again(await asyncio.wait_for(self._body(scope, receive), _PATIENCE), receive)
        except Refused as refused:
            return await _answer(send, refused.status, refused.sentence)
        except asyncio.TimeoutError:
            return await _answer(send, 408, "The request did not arrive in time; send it again.")
        else:
            busy = self.limits.waiting if _ASKING.fullmatch(scope["path"]) else None
            return await self.app(scope, receive, _guarded(send, busy))
        finally:
            self.open -= 1

    def _check(self, scope: MutableMapping[str, Any]) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        if self.open > self.limits.connections:
            raise Refused(503, f"The demo is busy: {self.limits.connections} connections are open; try again later.")
        if self.local and not is_loopback(urlsplit(f"//{host}").hostname or ""):
            raise Refused(403, "This demo answers on this machine only; start it with --host to open it to others.")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            raise Refused(403, "Pages of other sites may not use this demo.")
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method not in _OPEN or not _OPEN[method].fullmatch(scope["path"]):
            raise Refused(404, "There is nothing at this address.")

    async def _body(self, scope: MutableMapping[str, Any], receive: Receive) -> bytes:
        """The whole body, plain JSON unless it is a motion."""
        if scope["path"].rstrip("/") != "/motions":
            data = await self._read(receive, self.limits.body)
            check_plain(data)
            return data
        if self.uploads >= self.limits.files:
            raise Refused(
                503, f"The demo is busy: {self.limits.files} motions are sent already; try again in a minute."
            )
        self.uploads += 1
        try:
            return await self._read(receive, self.limits.upload)
        finally:
            self.uploads -= 1

    async def _read(self, receive: Receive, most: int) -> bytes:
        data = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "The request ended early.")
            data += message.get("body", b"")
            if len(data) > most:
                raise Refused(413, f"The request is larger than {most >> 10} kB; send less.")
            if not message.get("more_body"):
                return bytes(data)


def check_plain(data: bytes) -> None:
    """Refuse JSON that could describe a file to gradio: values of components are text, numbers and truth values.

    Raises:
        Refused: As said, or it is not JSON.
    """
    try:
        content = json.loads(data)
        values = content.get("data") if isinstance(content, dict) else content
    except (ValueError, RecursionError):
        raise Refused(400, "The request is not JSON.") from None
    if not isinstance(content, dict) or not (values is None or isinstance(values, list)):
        raise Refused(400, "The request is not a JSON object with a list as data.")
    if any(isinstance(value, dict | list) for value in values or []):
        raise Refused(400, "The data of a request are text, numbers and truth values; files and paths are not taken.")


def is_loopback(host: str) -> bool:
    """Whether a name or address of a host is this machine's own."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read to the application, and what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _guarded(send: Send, waiting: int | None) -> Send:
    """Adds headers that keep the browser on this server, and says in one sentence that the queue is full."""
    replaced = False

    async def guarded(message: Message) -> None:
        nonlocal replaced
        if replaced:
            return
        if message["type"] == "http.response.start":
            if waiting is not None and message["status"] == 503:
                replaced = True
                told = f"The demo is busy: {waiting} requests wait already; try again in a minute."
                return await _answer(send, 503, told)
            given = {name.lower() for name, _ in message.get("headers", [])}
            message["headers"] = [*message.get("headers", []), *(each for each in _HEADERS if each[0] not in given)]
        await send(message)

    return guarded


async def _answer(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"detail": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *_HEADERS[:2]]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
