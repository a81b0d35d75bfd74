"""A stand-in for the Hugging Face hub, which cannot be had in a test: it takes uploads, and hands files out again.

It knows the calls that ``huggingface_hub`` makes to upload a folder and to fetch files, and takes all files as parts of
the commit. Each repository has one commit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any

COMMIT = "1" * 40
TOKEN = "hf_StandInToken00000000000000000000"


class Hub:
    """The hub. Use it as a context manager.

    Attributes:
        url: its address, for ``HF_ENDPOINT``.
        repos: by name, whether it is private.
        files: by the name of the repository and the path.
        held: what a commit waits for, if it is not None.
        committing: set when a commit has come.
        fetched: the paths of the files that were asked for, with the revision.
    """

    def __init__(self) -> None:
        self.repos: dict[str, bool] = {}
        self.files: dict[tuple[str, str], bytes] = {}
        self.held: threading.Event | None = None
        self.fetched: list[str] = []
        self.committing = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Keep quiet."""

            def do_HEAD(self) -> None:
                hub._answer(self, b"")

            def do_GET(self) -> None:
                hub._answer(self, b"")

            def do_POST(self) -> None:
                hub._answer(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), name="hub", daemon=True).start()

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *_: object) -> None:
        if self.held is not None:
            self.held.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if handler.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(handler, 401, {"error": "Invalid credentials in Authorization header"})
            return
        parts = handler.path.partition("?")[0].strip("/").split("/")
        if "resolve" in parts:
            self._hand_out(handler, "/".join(parts[:2]), parts[3], "/".join(parts[4:]))
            return
        if parts == ["api", "whoami-v2"]:
            self._send(handler, 200, {"name": "ada"})
        elif parts == ["api", "validate-yaml"]:
            self._send(handler, 200, {"errors": [], "warnings": []})
        elif parts == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'ada'}/{asked['name']}"
            status = 409 if name in self.repos else 200
            self.repos.setdefault(name, asked.get("visibility") == "private")
            self._send(handler, status, {"url": f"{self.url}/{name}"})
        elif parts[:2] == ["api", "models"] and "preupload" in parts:
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            self._send(handler, 200, {"files": files})
        elif parts[:2] == ["api", "models"] and "commit" in parts:
            repo = "/".join(parts[2:4])
            self._commit(repo, body)
            self._send(handler, 200, {"commitUrl": f"{self.url}/{repo}/commit/{COMMIT}", "commitOid": COMMIT})
        else:
            repo = "/".join(parts[2:4])
            paths = [path for name, path in self.files if name == repo]
            listed = [{"type": "file", "path": path, "size": 1, "oid": "0" * 40} for path in paths]
            answer = listed if "tree" in parts else {"id": repo, "sha": COMMIT}
            is_there = bool(paths) or repo in self.repos
            self._send(handler, 200 if is_there else 404, answer if is_there else {"error": "Repository not found"})

    def _hand_out(self, handler: BaseHTTPRequestHandler, repo: str, revision: str, path: str) -> None:
        self.fetched.append(f"{path}@{revision}")
        if self.held is not None:
            self.held.wait()
        content = self.files.get((repo, path))
        if content is None:
            known = any(name == repo for name, _ in self.files)
            self._send(handler, 404, {"error": "No"}, {"X-Error-Code": "EntryNotFound" if known else "RepoNotFound"})
            return
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        self._send_bytes(handler, 200, content, headers)

    def _commit(self, repo: str, body: bytes) -> None:
        self.committing.set()
        if self.held is not None:
            self.held.wait()
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.files[repo, line["value"]["path"]] = base64.b64decode(line["value"]["content"])

    def _send(
        self,
        handler: BaseHTTPRequestHandler,
        status: int,
        answer: Any,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        kind = {"Content-Type": "application/json", **headers}
        self._send_bytes(handler, status, json.dumps(answer).encode(), kind)

    def _send_bytes(
        self, handler: BaseHTTPRequestHandler, status: int, content: bytes, headers: Mapping[str, str]
    ) -> None:
        try:
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            if handler.command != "HEAD":
                handler.wfile.write(content)
        except OSError:  # the client has left
            return
