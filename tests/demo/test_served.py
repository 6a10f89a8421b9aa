"""`realign demo` as a process with the shipped weights: its addresses, a crowd, and a browser."""

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from made import person

from realign.motion.clip import MotionClip

if find_spec("gradio") is None:
    pytest.skip("gradio is not installed; pip install 'realign[demo]'", allow_module_level=True)

WAITING, CROWD, GENERATING = 10, 200, 12
_SPY = """
import os, socket
def spied(real):
    def connect(self, address):
        if self.family != socket.AF_UNIX and str(address[0]) not in ("127.0.0.1", "::1"):
            open(os.environ["SPY"], "a").write(f"{address}\\n")
        return real(self, address)
    return connect
class Spied(socket.socket):
    connect, connect_ex = spied(socket.socket.connect), spied(socket.socket.connect_ex)
socket.socket = Spied
looked = socket.getaddrinfo
def look(host, *rest, **more):
    if host not in ("127.0.0.1", "localhost", "::1", None):
        open(os.environ["SPY"], "a").write(f"{host}\\n")
    return looked(host, *rest, **more)
socket.getaddrinfo = look
"""


class Server:
    """The running command."""

    def __init__(self, folder: Path) -> None:
        (folder / "sitecustomize.py").write_text(_SPY)
        (folder / "temporary").mkdir()
        self.folder, self.spy = folder, folder / "calls"
        root = str(Path(__file__).parents[2])
        paths = os.pathsep.join([str(folder), root, *filter(None, [os.environ.get("PYTHONPATH")])])
        with (folder / "errors").open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "realign.cli", "demo", "--port", "0", "--no-browser", "--waiting", str(WAITING)],
                stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder,
                env=os.environ | {"PYTHONPATH": paths, "SPY": str(self.spy), "TMPDIR": str(folder / "temporary")},
            )  # fmt: skip
        line = self.process.stdout.readline() if self.process.stdout else ""
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found, (folder / "errors").read_text()
        self.port = int(found[1])
        for _ in range(100):
            try:
                self.ask("GET", "/config")
                break
            except ConnectionError:
                time.sleep(0.1)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Status and body of one request; the path is sent as it is."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} | headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def call(self, name: str, *data: Any) -> tuple[int, str]:
        """Ask for a result and wait for it; the status, and the page or the sentence."""
        asked = f"/gradio_api/call/{name}"
        status, told = self.ask("POST", asked, json.dumps({"data": data}).encode())
        if status != 200:
            return status, json.loads(told)["detail"]
        _, stream = self.ask("GET", f"{asked}/{json.loads(told)['event_id']}")
        event, data_line = stream.decode().rsplit("event: ", 1)[1].split("\n", 1)
        assert event == "complete", stream
        return status, json.loads(data_line.removeprefix("data: ").strip())[0]

    @property
    def megabytes(self) -> int:
        """Memory that the process holds."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found
        return int(found[1]) >> 10


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("served"))
    with running.process as process:
        yield running
        process.terminate()
        assert process.wait(20) == 143
    assert not list((running.folder / "temporary").glob("realign-*"))  # the private folder is gone
    assert not running.spy.exists(), running.spy.read_text()  # nothing but this machine was called
    assert "Traceback" not in (running.folder / "errors").read_text()


def generate(server: Server, text: str = "a person bows", seed: int = 0) -> tuple[int, str]:
    return server.call("generate", text, 2, seed, 1, 1, True, 300, 0, 1)


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd", "/file=/etc/passwd", "/gradio_api/file=%2Fetc%2Fpasswd",
        "/assets/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/static/..%2f..%2froutes.py", "/assets/../../routes.py",
        "/svelte/..%2f..%2f..%2froutes.py", "/gradio_api/proxy=http://127.0.0.1:1/", "//etc/passwd", "/%2fetc/passwd",
        f"/gradio_api/file={Path(__file__).parents[2]}/realign/cli.py", "/motions/..%2f..%2fetc/passwd.npy",
    ],
)  # fmt: skip
def test_no_address_gives_a_file_of_this_machine(server: Server, path: str) -> None:
    status, told = server.ask("GET", path)
    assert status in (404, 422) and b"root:" not in told and b"import" not in told and len(told) < 200


def test_gradio_itself_gives_no_file(server: Server) -> None:
    """Also without the gate: the paths that gradio may serve are none."""
    status, told = server.ask("GET", "/config")
    assert status == 200 and str(Path.home()) not in told.decode() and str(server.folder) not in told.decode()


def test_a_request_takes_no_path(server: Server) -> None:
    file = {"path": "/etc/passwd", "url": "http://127.0.0.1:1/", "meta": {"_type": "gradio.FileData"}}
    assert server.call("search_motion", file, 3)[0] == 400
    assert "not kept any more" in server.call("search_motion", "/etc/passwd", 3)[1]
    status, told = server.ask("POST", "/motions?name=/etc/passwd", b"x")
    assert status == 422 and "'passwd' is not a motion that can be read" in json.loads(told)["detail"]


def test_what_is_out_of_range_is_told(server: Server) -> None:
    for call, told in (
        (("generate", "x" * 301, 2, 0, 1, 1, True, 300, 0, 1), "301 characters"),
        (("generate", " ", 2, 0, 1, 1, True, 300, 0, 1), "caption is blank"),
        (("generate", "walk", 99, 0, 1, 1, True, 300, 0, 1), "length must be a number from 1 to 9.8"),
        (("generate", "walk", 2, -1, 1, 1, True, 300, 0, 1), "seed must be a number from 0"),
        (("generate", "walk", 2, 0, 1, 5000, True, 300, 0, 1), "steps must be a number from 1 to 100"),
        (("generate", "walk", 2, 0, 1, 1, True, 300, 0.9, 0.1), "window"),
        (("search", "", 3), "caption is blank"),
        (("batch", "\n".join(["walk"] * 33), 2, 0), "33 captions; give at most 32"),
        (("batch", " \n ", 2, 0), "No caption was given"),
    ):
        status, page = server.call(*call)
        assert status == 200 and "rd-refusal" in page and told in page, page


def test_texts_are_escaped(server: Server) -> None:
    for text in ("<script>alert(1)</script> Ω", "walk'><img src=x onerror=alert(1)>"):
        for page in (generate(server, text)[1], server.call("search", text, 3)[1]):
            assert "iframe" in page or "<table>" in page
            assert "<script" not in page and "<img" not in page and "alert(1)'" not in page


def test_captions_unlike_the_training_set_are_named(server: Server) -> None:
    for call in (("batch", "colourless green ideas sleep furiously", 2, 0), ("search", "ドアを開ける", 3)):
        assert "rd-note" in server.call(*call)[1]
    assert "like &#x27;colourless" in generate(server, "colourless green ideas sleep furiously")[1]
    page = server.call("search", "a person walks forward", 3)[1]
    assert "rd-note" not in page and re.search(r"<td>\d+%</td>", page)


def test_results_are_served_in_every_format(server: Server) -> None:
    page = generate(server)[1]
    links = re.findall(r"href='(motions/[\w-]+/motion(\.\w+))'", page)
    assert {suffix for _, suffix in links} == {".gif", ".mp4", ".html", ".png", ".bvh", ".npy", ".npz", ".glb"}
    heads = {".html": b"<!DOCTYPE", ".png": b"\x89PNG", ".bvh": b"HIERARCHY", ".npy": b"\x93NUMPY", ".glb": b"glTF"}
    for link, suffix in links:
        if suffix in heads:
            status, data = server.ask("GET", f"/{link}")
            assert status == 200 and data.startswith(heads[suffix])


def test_two_hundred_at_once(server: Server) -> None:
    if sys.platform != "linux":
        pytest.skip("memory of a process is read from /proc")
    generate(server)
    before = server.megabytes

    def visit(number: int) -> tuple[int, str]:
        return generate(server, seed=number) if number % 16 == 0 else server.call("search", f"walks {number}", 3)

    def crowd() -> Counter[int]:
        with ThreadPoolExecutor(CROWD) as pool:
            answers = list(pool.map(visit, range(CROWD)))
        for status, told in answers:
            assert status in (200, 503)
            assert (f"{WAITING} requests wait already" in told) == (status == 503)
        return Counter(status for status, _ in answers)

    first = crowd()
    between = server.megabytes
    second = crowd()
    after = server.megabytes
    print(f"answered {first}, {second}; {before}, {between}, {after} MB")
    assert first[200] >= WAITING and second[200] >= WAITING and first[503] + second[503] > 0
    assert max(between, after) - before < 200
    assert "iframe" in generate(server)[1]


def test_each_tab_in_a_browser(server: Server, chromium: str, tmp_path: Path) -> None:
    sync = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    MotionClip(person(0, 40), 20.0).save(tmp_path / "mine.bvh")
    (tmp_path / "texts.txt").write_text("a person runs & <b>jumps</b>\n")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        asked, errors = list[str](), list[str]()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"http://127.0.0.1:{server.port}/")
        _use_generate(page)
        _use_search(page, tmp_path / "mine.bvh")
        _use_batch(page, tmp_path / "texts.txt")
        page.set_viewport_size({"width": 390, "height": 844})
        for tab in ("Generate", "Search", "Batch"):
            page.get_by_role("tab", name=tab).click()
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab
        browser.close()
    assert len(asked) > 20
    assert not [url for url in asked if not url.startswith((f"http://127.0.0.1:{server.port}/", "data:", "blob:"))]
    assert [error for error in errors if "422" not in error] == []  # the file that is not a motion


def _use_generate(page: Any) -> None:
    page.get_by_role("button", name="bows").click()
    page.get_by_role("button", name="Guidance and steps").click()
    page.get_by_label("Denoising steps").fill("2")
    page.get_by_role("button", name="Generate", exact=True).click()
    player = page.frame_locator("iframe.rd-player")
    player.locator("figcaption", has_text="unguided").wait_for(timeout=60_000)
    assert player.locator("canvas").count() == 2 and "a person bows" in player.locator("figcaption").first.inner_text()
    clock = player.locator("#clock")
    told = clock.inner_text()
    page.wait_for_timeout(300)
    assert clock.inner_text() != told  # it plays
    with page.expect_download() as download:
        page.get_by_role("link", name="BVH").click()
    assert download.value.path().read_bytes().startswith(b"HIERARCHY")


def _use_search(page: Any, motion: Path) -> None:
    page.get_by_role("tab", name="Search").click()
    page.get_by_label("By a sentence").fill("a person waves the left hand")
    page.get_by_role("button", name="Search", exact=True).click()
    page.locator("td:visible", has_text="wav").first.wait_for(timeout=30_000)
    page.locator(".rd-drop:visible input").set_input_files(motion)
    page.get_by_text("Captions that fit the motion").wait_for(timeout=30_000)
    page.locator(".rd-drop:visible", has_text="mine.bvh, 2 s").wait_for()
    (motion.parent / "bad.npy").write_bytes(b"no")
    page.locator(".rd-drop:visible input").set_input_files(motion.parent / "bad.npy")
    page.locator(".rd-drop:visible", has_text="bad.npy is not").or_(
        page.locator(".rd-drop:visible", has_text="bad.npy")
    ).first.wait_for()


def _use_batch(page: Any, texts: Path) -> None:
    page.get_by_role("tab", name="Batch").click()
    page.locator(".rd-drop:visible input").set_input_files(texts)
    field = page.get_by_label("Sentences, one a line")
    for _ in range(50):
        if "jumps" in field.input_value():
            break
        page.wait_for_timeout(100)
    page.locator("input[type=number]:visible").first.fill("1.5")
    page.get_by_role("button", name="Generate all").click()
    page.get_by_text("All motions, as a .zip").wait_for(timeout=60_000)
    assert page.locator("td:visible", has_text="<b>jumps</b>").count() == 1
