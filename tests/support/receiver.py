"""A backend's internal endpoint and nothing else: it takes a worker's reports and answers as the test says."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from arkor.protocol.proof import CHALLENGE_HEADER, attempt_secret, proof_of, secret_of

TOKEN = "attempt-token"


class Receiver:
    """Takes reports on a free port until it is closed; every attribute may be changed while it runs.

    Args:
        port: the port; 0 takes a free one.
        tls: what it speaks TLS with; None speaks plain HTTP.

    Attributes:
        events: what was reported, each seq once, in the order of arrival.
        reports: every report's body, heartbeats included.
        headers: the headers of the last report.
        status: what each report is answered with, 200 by default.
        cancel: whether the answers ask the worker to stop.
        threads: on how many threads the answers tell the worker to compute, or None.
        servers: the other servers that the answers name.
        cancel_at_step: the same from the first log of this step on.
        closes: whether the connection is closed after each report.
    """

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.reports: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.status = 200
        self.cancel = False
        self.threads: int | None = None
        self.servers: list[str] = []
        self.cancel_at_step: int | None = None
        self.closes = False
        self._connections: list[socket.socket] = []
        self._seen: set[tuple[int, int]] = set()
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                receiver._connections.append(self.connection)

            def do_GET(self) -> None:
                self._answer(
                    200,
                    {
                        "proof": proof_of(
                            attempt_secret(secret_of(TOKEN), receiver.port), self.headers[CHALLENGE_HEADER]
                        )
                    },
                )

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(*receiver.take(self.path, dict(self.headers), body))
                self.close_connection = receiver.closes

            def _answer(self, status: int, answer: dict[str, Any]) -> None:
                payload = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_: Any) -> None:
                return None

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The base URL, as a spec names it."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def take(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Take one report; return the status and the answer."""
        with self._changed:
            self.headers = headers
            self.reports.append({"path": path, **body})
            if self.status == 200:
                for event in body["events"]:
                    self._keep(body["attempt"], event)
            self._changed.notify_all()
            answer: dict[str, Any] = {"cancel": self.cancel} | (
                {} if self.threads is None else {"threads": self.threads}
            )
            answer |= {"servers": self.servers} if self.servers else {}
            return self.status, (answer if self.status == 200 else {"error": "no"})

    def _keep(self, attempt: int, event: dict[str, Any]) -> None:
        key = (attempt, event["seq"])
        if key not in self._seen:
            self._seen.add(key)
            self.events.append(event)
        if event.get("step") is not None and event["step"] == self.cancel_at_step:
            self.cancel = True

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of a type."""
        return [event for event in self.events if event["type"] == kind]

    def wait_for(self, kind: str, timeout_s: float, *, step: int | None = None) -> dict[str, Any]:
        """Wait until an event of a type (and a step) came, and return it."""

        def found() -> list[dict[str, Any]]:
            return [event for event in self.of_type(kind) if step is None or event.get("step") == step]

        with self._changed:
            assert self._changed.wait_for(found, timeout_s), f"no {kind} within {timeout_s} s; got {self.events}"
            return found()[0]

    def close(self) -> None:
        """Stop, and cut every connection; the port is free again."""
        self._server.shutdown()
        for connection in self._connections:
            with contextlib.suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()
