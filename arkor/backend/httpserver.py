"""Waitress, run so that it can be stopped from outside."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from waitress import create_server, wasyncore

if TYPE_CHECKING:
    import socket

    from _typeshed.wsgi import WSGIApplication

_LOOP_S = 1.0  # waitress looks for abandoned connections this often
_SPARE_THREADS = 16  # for everything that is neither an event stream nor a chat
_MAX_CONNECTIONS = 1000
_SHUTDOWN_S = 5
# The application has its own limits and answers with JSON; this one only ends what nobody could mean.
_MAX_BODY_BYTES = 64 * 1024**3


class HttpServer:
    """Serves an application on a bound socket, in threads of its own.

    ``waitress.serve`` ends by an exception in the main thread only; here the loop runs a turn at a time.

    Args:
        app: the application.
        bound: the socket; it listens as soon as this object exists.
        streams: how many answers may stay open at the same time, event streams and chats.
    """

    def __init__(self, app: WSGIApplication, bound: socket.socket, streams: int) -> None:
        self._map: dict[int, Any] = {}
        self._server = create_server(
            app,
            map=self._map,
            sockets=[bound],
            threads=streams + _SPARE_THREADS,
            channel_request_lookahead=1,  # notices a client that has left while its answer is under way
            connection_limit=_MAX_CONNECTIONS,
            max_request_body_size=_MAX_BODY_BYTES,
            asyncore_use_poll=True,  # select() knows 1024 files
            log_socket_errors=False,
            ident=None,
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="http", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Let the answers under way end, up to 5 s, then close every connection."""
        self._server.task_dispatcher.shutdown(timeout=_SHUTDOWN_S)
        self._stopping.set()
        self._server.pull_trigger()
        self._thread.join()
        wasyncore.close_all(self._map)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            wasyncore.loop(timeout=_LOOP_S, use_poll=True, map=self._map, count=1)
