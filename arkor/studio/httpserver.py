"""Studio's waitress: what it answers by itself is protected like everything else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from waitress.task import ErrorTask

from arkor.serving.application import MAX_BODY_BYTES, gate_of
from arkor.serving.bodies import Admission
from arkor.serving.connections import Channel
from arkor.serving.httpserver import HttpServer
from arkor.studio.guard import Fence, with_security

if TYPE_CHECKING:
    import socket

    from flask import Flask

# A stream keeps a thread: 64 of events, as many of logs, chats and downloads as anybody has open, and the rest.
_THREADS = 64 + 32 + 16
_SHUTDOWN_S = 1.0


def create_server(app: Flask, bound: socket.socket) -> HttpServer:
    """Return what serves Studio's application on a socket that has its port; it is not started yet."""
    fence = Fence(app.wsgi_app, bound.getsockname()[1])
    gate = gate_of(app, lambda: Admission(MAX_BODY_BYTES))
    return HttpServer(fence, bound, gate=gate, threads=_THREADS, shutdown_s=_SHUTDOWN_S, channel=_Channel)


class _ErrorTask(ErrorTask):  # type: ignore[misc]  # waitress has no types
    """What waitress answers where a request is none, and no application ever sees it."""

    def execute(self) -> None:
        error = self.request.error
        body = json.dumps({"error": f"{error.reason}: {error.body}"}).encode()
        self.status = f"{error.code} {error.reason}"
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
        self.response_headers.extend(with_security(headers))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(Channel):
    error_task_class = _ErrorTask
