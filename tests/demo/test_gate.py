"""The gate before the demo's server, driven by plain ASGI messages."""

import asyncio
import json
from typing import Any

import pytest

from realign.demo import gate
from realign.demo.gate import Gate
from realign.demo.limits import Limits

LIMITS = Limits(body=200, upload=1000, connections=2, files=1)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers with the body it got; 503 where asked to be full."""
    body = (await receive())["body"] if scope["method"] == "POST" else b"seen"
    await send({"type": "http.response.start", "status": 503 if b"full" in body else 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def ask(
    path: str, method: str = "GET", body: bytes = b"", local: bool = True, pieces: int = 1, **headers: str
) -> tuple[int, bytes, dict[bytes, bytes]]:
    """Status, body and headers of the answer to one request."""
    sent: list[Any] = []
    size = max(1, -(-len(body) // pieces))
    parts = [body[start : start + size] for start in range(0, len(body), size)] or [b""]

    async def receive() -> Any:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Any) -> None:
        sent.append(message)

    given = {"host": "127.0.0.1:7860"} | headers
    scope = {
        "type": "http", "path": path, "method": method, "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }  # fmt: skip
    asyncio.run(Gate(echo, LIMITS, local)(scope, receive, send))
    assert [each["type"] for each in sent] == ["http.response.start", "http.response.body"]
    return sent[0]["status"], sent[1]["body"], dict(sent[0]["headers"])


@pytest.mark.parametrize(
    "path",
    [
        "/", "/config", "/theme.css", "/assets/index-DiEE.css", "/static/js/a.js", "/static/fonts/Source-Sans/a.woff2",
        "/gradio_api/queue/data", "/gradio_api/heartbeat/8jpt6f7uru8", "/gradio_api/call/generate/0a1b",
        "/motions/ab-C_d/motion.gif", "/motions/ab/show.html",
    ],
)  # fmt: skip
def test_the_page_needs_these_addresses(path: str) -> None:
    assert ask(path)[0] == 200


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd", "/file=/etc/passwd", "/file/etc/passwd", "/gradio_api/file/etc/passwd",
        "/gradio_api/file=realign/cli.py", "/gradio_api/proxy=http://169.254.169.254/", "/gradio_api/upload",
        "/upload", "/gradio_api/upload_progress", "/gradio_api/component_server", "/gradio_api/run/generate",
        "/gradio_api/api/generate", "/gradio_api/stream/x", "/gradio_api/custom_component/a/client/b/c",
        "/gradio_api/process_recording", "/gradio_api/vibe-code/", "/gradio_api/runs", "/monitoring", "/login",
        "/gradio_api/dev/reload", "/assets/../../../etc/passwd", "/static//etc/passwd", "/assets/.hidden",
        "/assets/..\\..\\x", "/motions/../../etc/passwd", "/motions/a/../b.gif", "/motions/a/b.gif/c", "//etc/passwd",
        "/etc/passwd", "/assets/a\x00b", "/docs", "/openapi.json", "/config\n",
    ],
)  # fmt: skip
def test_all_other_addresses_are_closed(path: str, method: str) -> None:
    assert ask(path, method)[0] == 404


def test_plain_data_pass_and_descriptions_of_files_do_not() -> None:
    plain = {"data": ["a person walks", None, 0.5, True], "session_hash": "a"}
    assert json.loads(ask("/gradio_api/queue/join", "POST", json.dumps(plain).encode(), pieces=3)[1]) == plain
    file = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    for data in ([file], [[file]], {"a": file}, ["x", {"url": "http://h"}]):
        status, told, _ = ask("/gradio_api/call/search", "POST", json.dumps({"data": data}).encode())
        assert status == 400 and b"data" in told
    for text in (b"", b"[1]", b"{", b"\xff", b"1", b"[" * 150):
        assert ask("/gradio_api/queue/join", "POST", text)[0] == 400


@pytest.mark.parametrize("pieces", [1, 50])
def test_large_requests_are_refused_while_they_arrive(pieces: int) -> None:
    assert ask("/gradio_api/queue/join", "POST", b"x" * 201, pieces=pieces)[0] == 413
    assert ask("/motions", "POST", b"x" * 1001, pieces=pieces)[0] == 413
    assert ask("/motions", "POST", b"x" * 1000, pieces=pieces)[:2] == (200, b"x" * 1000)


def test_names_and_pages_of_others_are_refused() -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "192.168.0.7:7860", "", "[::2]"):
        assert ask("/", host=host)[0] == 403
        assert ask("/", host=host, local=False)[0] == 200
    for host in ("localhost:7860", "[::1]:7860", "127.0.0.1", "127.1.2.3:1"):
        assert ask("/", host=host, origin=f"http://{host}")[0] == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        assert ask("/", host="127.0.0.1:7860", origin=origin, local=False)[0] == 403


def test_a_full_queue_is_told_in_a_sentence() -> None:
    status, told, headers = ask("/gradio_api/call/generate", "POST", b'{"data": ["full"]}')
    assert status == 503 and json.loads(told)["detail"].startswith("The demo is busy: 32 requests wait already")
    assert int(headers[b"content-length"]) == len(told)


def test_answers_keep_the_browser_on_this_server() -> None:
    policy = ask("/")[2][b"content-security-policy"]
    assert b"default-src 'self'" in policy and b"http" not in policy and b"*" not in policy


def test_connections_are_counted_and_slow_requests_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_PATIENCE", 0.05)

    async def crowd() -> list[list[Any]]:
        door, answers = Gate(echo, LIMITS, True), []

        async def visit() -> None:
            sent: list[Any] = []
            answers.append(sent)

            async def receive() -> Any:
                await asyncio.sleep(10)

            async def send(message: Any) -> None:
                sent.append(message)

            headers = [(b"host", b"localhost")]
            await door({"type": "http", "path": "/motions", "method": "POST", "headers": headers}, receive, send)

        await asyncio.gather(*(visit() for _ in range(4)))
        assert (door.open, door.uploads) == (0, 0)
        return answers

    assert sorted(sent[0]["status"] for sent in asyncio.run(crowd())) == [408, 503, 503, 503]
