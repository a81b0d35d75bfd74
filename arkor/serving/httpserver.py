"""Waitress, run so that it can be stopped from outside."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from waitress import create_server, wasyncore
from waitress.channel import HTTPChannel

if TYPE_CHECKING:
    import socket

    from _typeshed.wsgi import WSGIApplication

_LOOP_S = 1.0  # waitress looks for abandoned connections this often
_MAX_CONNECTIONS = 1000


class HttpServer:
    """Serves an application on a bound socket, in threads of its own.

    ``waitress.serve`` ends by an exception in the main thread only; here the loop runs a turn at a time.

    Args:
        app: the application.
        bound: the socket; it listens as soon as this object exists.
        threads: how many answers may be under way at the same time; each open stream keeps one.
        max_body_bytes: where waitress itself cuts a request off; the application's own limit is lower, and answers.
        shutdown_s: how long answers under way are waited for at the end, in seconds.
        channel: what waitress makes of a connection.
    """

    def __init__(
        self,
        app: WSGIApplication,
        bound: socket.socket,
        *,
        threads: int,
        max_body_bytes: int,
        shutdown_s: float,
        channel: type[HTTPChannel] = HTTPChannel,
    ) -> None:
        self._shutdown_s = shutdown_s
        self._map: dict[int, Any] = {}
        self._server = create_server(
            app,
            map=self._map,
            sockets=[bound],
            threads=threads,
            channel_request_lookahead=1,  # notices a client that has left while its answer is under way
            connection_limit=_MAX_CONNECTIONS,
            max_request_body_size=max_body_bytes,
            asyncore_use_poll=True,  # select() knows 1024 files
            log_socket_errors=False,
            ident=None,
        )
        self._server.channel_class = channel
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="http", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Let the answers under way end, as long as that was given, then close every connection."""
        self._server.task_dispatcher.shutdown(timeout=self._shutdown_s)
        self._stopping.set()
        self._server.pull_trigger()
        self._thread.join()
        wasyncore.close_all(self._map)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            wasyncore.loop(timeout=_LOOP_S, use_poll=True, map=self._map, count=1)
