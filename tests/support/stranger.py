"""Another program on a port that was a backend's: it answers everything, and notes the headers it was sent."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import psutil

GOOD = b'{"status": "ok", "backend": "arkor-local", "version": "0.1.0"}'


@attrs.frozen
class Stranger:
    """A running one.

    Attributes:
        url: its address.
        requests: method, path and headers of each request, in order.
    """

    url: str
    requests: list[tuple[str, str, dict[str, str]]]

    @property
    def saw_a_token(self) -> bool:
        """Whether any request carried an identity."""
        return any("authorization" in headers for _, _, headers in self.requests)


@contextmanager
def stranger(port: int = 0, body: bytes = GOOD) -> Iterator[Stranger]:
    """Run one that answers every request with 200 and the same body."""
    seen: list[tuple[str, str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            seen.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield Stranger(f"http://127.0.0.1:{server.server_port}", seen)
        finally:
            server.shutdown()
            thread.join()


def note(url: str, **more: Any) -> str:
    """Return the content of a ``server.json`` with an address."""
    return json.dumps({"url": url, "version": "0.1.0", "startedAt": "2026-01-01T00:00:00.000Z", **more})


def write_note(home: Path, url: str) -> None:
    """Let a stand-in of this process pass for the local backend of an arkor without proofs."""
    path = home / ".arkor" / "local" / "server.json"
    path.parent.mkdir(parents=True)
    path.write_text(note(url, pid=os.getpid(), createTime=psutil.Process().create_time()))
