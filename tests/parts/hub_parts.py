"""A small Hub on loopback: models and data sets with commits, branches and private ones, by the Hub's protocol."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from re import fullmatch
from threading import Thread
from urllib.parse import unquote, urlsplit

TOKEN = "hf_secret"
_LARGE = (".safetensors", "features.npy")


class Repository:
    def __init__(self, private: bool = False) -> None:
        self.private, self.commits, self.refs = private, {}, {}
        self.commit({".gitattributes": b"*.safetensors filter=lfs\n"})

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        whole = self.files(branch) | files if branch in self.refs else files
        sha = sha1(repr((len(self.commits), sorted(whole.items()))).encode()).hexdigest()
        self.commits[sha], self.refs[branch] = whole, sha
        return sha

    def files(self, revision: str) -> dict[str, bytes]:
        return self.commits[self.refs.get(revision, revision)]


class Hub(ThreadingHTTPServer):
    """The server; `asked` lists requests, `stored` large files by their digests.

    It answers with the status `fails` if that is not 0, and leaves names of files out of a repository's description
    unless `lists`.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.fails, self.lists = 0, True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, content: bytes | dict | list = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        if self.server.fails:
            return self.answer(self.server.fails)
        for pattern, work in ROUTES:
            if match := fullmatch(pattern, f"{self.command} {path}"):
                return work(self, body, *match.groups())
        return self.answer(404)

    do_GET = do_HEAD = do_POST = do_PUT = handle_one

    @property
    def known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def repository(self, name: str, revision: str | None) -> Repository | None:
        """The repository; None after the answer that it, or its revision, is not there for this reader."""
        found = self.server.repositories.get(name)
        if found is None or (found.private and not self.known):
            return self.answer(404 if self.known else 401, X_Error_Code="RepoNotFound")
        if revision is not None and revision not in found.refs.keys() | found.commits.keys():
            return self.answer(404, X_Error_Code="RevisionNotFound")
        return found

    def info(self, _: bytes, name: str, revision: str | None) -> None:
        revision = revision or "main"
        if found := self.repository(name, revision):
            about = {"id": name.removeprefix("datasets/"), "sha": found.refs.get(revision, revision)}
            names = [{"rfilename": path} for path in found.files(revision)]
            self.answer(200, about | ({"siblings": names} if self.server.lists else {}))

    def tree(self, _: bytes, name: str, revision: str) -> None:
        if found := self.repository(name, revision):
            rows = []
            for path, content in found.files(revision).items():
                row = {"type": "file", "path": path, "size": len(content), "oid": sha1(content).hexdigest()}
                if path.endswith(_LARGE):
                    row["lfs"] = {"oid": sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
                rows.append(row)
            self.answer(200, rows)

    def resolve(self, _: bytes, name: str, revision: str, path: str) -> None:
        if found := self.repository(name, revision):
            files = found.files(revision)
            if path not in files:
                return self.answer(404, X_Error_Code="EntryNotFound")
            large = path.endswith(_LARGE)
            etag = (sha256 if large else sha1)(files[path]).hexdigest()
            commit = found.refs.get(revision, revision)
            self.answer(200, files[path], ETag=f'"{etag}"', X_Repo_Commit=commit)

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{'datasets/' if asked.get('type') == 'dataset' else ''}{asked['organization']}/{asked['name']}"
        if not self.known:
            return self.answer(401)
        if name in self.server.repositories:
            return self.answer(409, {"url": f"{self.server.address}/{name}"})
        private = asked.get("private") or asked.get("visibility") == "private"
        self.server.repositories[name] = Repository(bool(private))
        self.answer(200, {"url": f"{self.server.address}/{name}"})

    def preupload(self, body: bytes, name: str, revision: str) -> None:
        def row(path: str) -> dict:
            mode = "lfs" if path.endswith(_LARGE) else "regular"
            return {"path": path, "uploadMode": mode, "shouldIgnore": False}

        self.answer(200, {"files": [row(each["path"]) for each in json.loads(body)["files"]]})

    def batch(self, body: bytes, name: str) -> None:
        rows = [
            each | {"actions": {"upload": {"href": f"{self.server.address}/lfs/{each['oid']}"}}}
            for each in json.loads(body)["objects"]
        ]
        self.answer(200, {"transfer": "basic", "objects": rows})

    def store(self, body: bytes, digest: str) -> None:
        self.server.stored[digest] = body
        self.answer(200 if sha256(body).hexdigest() == digest else 400)

    def commit(self, body: bytes, name: str, revision: str) -> None:
        if not self.known:
            return self.answer(403)
        files = {}
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "lfsFile":
                files[line["value"]["path"]] = self.server.stored[line["value"]["oid"]]
        sha = self.server.repositories[name].commit(files, revision)
        self.answer(200, {"commitUrl": f"{self.server.address}/{name}/commit/{sha}", "commitOid": sha})

    def validate(self, body: bytes) -> None:
        self.answer(200, {"errors": [], "warnings": []})


_NAME = "((?:datasets/)?[^/]+/[^/]+)"
ROUTES = [
    (f"GET /api/(?:models/)?{_NAME}(?:/revision/(.+))?", Handler.info),
    (f"GET /api/(?:models/)?{_NAME}/tree/([^/]+)", Handler.tree),
    (f"(?:GET|HEAD) /{_NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
    ("POST /api/repos/create", Handler.create),
    ("POST /api/validate-yaml", Handler.validate),
    (f"POST /api/(?:models/)?{_NAME}/preupload/(.+)", Handler.preupload),
    (f"POST /{_NAME}.git/info/lfs/objects/batch", Handler.batch),
    ("PUT /lfs/([0-9a-f]+)", Handler.store),
    (f"POST /api/(?:models/)?{_NAME}/commit/(.+)", Handler.commit),
]


@contextmanager
def serve() -> Iterator[Hub]:
    hub = Hub()
    thread = Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
