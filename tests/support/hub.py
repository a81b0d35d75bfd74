"""A stand-in for the Hugging Face hub, which cannot be had in a test: it takes uploads, and keeps them in memory.

It knows the calls that ``huggingface_hub`` makes to upload a folder, and takes all files as parts of the commit.
"""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_StandInToken00000000000000000000"


class Hub:
    """The hub. Use it as a context manager.

    Attributes:
        url: its address, for ``HF_ENDPOINT``.
        repos: by name, whether it is private.
        files: by the name of the repository and the path.
        held: what a commit waits for, if it is not None.
        committing: set when a commit has come.
    """

    def __init__(self) -> None:
        self.repos: dict[str, bool] = {}
        self.files: dict[tuple[str, str], bytes] = {}
        self.held: threading.Event | None = None
        self.committing = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Keep quiet."""

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
        if parts == ["api", "whoami-v2"]:
            self._send(handler, 200, {"name": "ada"})
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
            self._send(handler, 200, {"commitUrl": f"{self.url}/{repo}/commit/{'1' * 40}", "commitOid": "1" * 40})
        else:
            self._send(handler, 200, {"id": "/".join(parts[2:4]), "sha": "0" * 40, "siblings": []})

    def _commit(self, repo: str, body: bytes) -> None:
        self.committing.set()
        if self.held is not None:
            self.held.wait()
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.files[repo, line["value"]["path"]] = base64.b64decode(line["value"]["content"])

    def _send(self, handler: BaseHTTPRequestHandler, status: int, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        try:
            handler.send_response(status)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)
        except OSError:  # the client has left
            return
