"""Waitress, run so that it can be stopped from outside, and so that its own answers are protected like all others."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from waitress import create_server, wasyncore
from waitress.channel import HTTPChannel
from waitress.task import ErrorTask

from arkor.studio.guard import with_security

if TYPE_CHECKING:
    import socket

    from _typeshed.wsgi import WSGIApplication

# A stream keeps a thread: 64 of events, as many of logs, chats and downloads as anybody has open, and the rest.
_THREADS = 64 + 32 + 16
_LOOP_S = 1.0  # waitress looks for abandoned connections this often
_MAX_CONNECTIONS = 500
_SHUTDOWN_S = 1
_MAX_BODY_BYTES = 64 * 1024**2  # the application's own limit is lower, and answers with JSON


class HttpServer:
    """Serves an application on a listening socket, in threads of its own.

    Args:
        app: the application.
        bound: the socket.
    """

    def __init__(self, app: WSGIApplication, bound: socket.socket) -> None:
        self._map: dict[int, Any] = {}
        self._server = create_server(
            app,
            map=self._map,
            sockets=[bound],
            threads=_THREADS,
            channel_request_lookahead=1,  # notices a client that has left while its answer is under way
            connection_limit=_MAX_CONNECTIONS,
            max_request_body_size=_MAX_BODY_BYTES,
            asyncore_use_poll=True,  # select() knows 1024 files
            log_socket_errors=False,
            ident=None,
        )
        self._server.channel_class = _Channel
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="http", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Let the answers under way end, up to a second, then close every connection."""
        self._server.task_dispatcher.shutdown(timeout=_SHUTDOWN_S)
        self._stopping.set()
        self._server.pull_trigger()
        self._thread.join()
        wasyncore.close_all(self._map)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            wasyncore.loop(timeout=_LOOP_S, use_poll=True, map=self._map, count=1)


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


class _Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    error_task_class = _ErrorTask
