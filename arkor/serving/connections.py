"""Connections that clients hold, and how long: waitress's channels, with an end to patience.

A connection is idle while no request of it is being answered. It may have sent nothing yet, a part of a request, or be
kept for the next one.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

from waitress.channel import HTTPChannel

from arkor.serving.bodies import Admission, Parser, Task

HEAD_S = 20.0  # until a request's head is complete, from its first byte, or from the connection's beginning
QUIET_S = 120.0  # without a byte, between two requests or amid a body
# How long, and how much, an unread body is thrown away behind the answer.
_LINGER_S = 2.0
_MOST_DRAINED = 4 * 1024**2


class Channel(HTTPChannel):  # type: ignore[misc]  # waitress is untyped
    """A connection.

    If a request's body is not read, the answer is followed by the end of the stream, and what the client still sends is
    thrown away for a moment: closing at once would reset the connection, and the client could lose the answer.

    Thread-safety: the server's own thread, but for waitress's methods that are for others.
    """

    task_class = Task

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._head_since: float | None = time.monotonic()
        self._has_refused = False
        self._lingers_until: float | None = None
        self._drained = 0
        super().__init__(*arguments, **options)

    def parser_class(self, adj: Any) -> Parser:
        """Return what reads the next request."""
        return Parser(adj, self._admit, self._refused)

    @property
    def is_idle(self) -> bool:
        """Whether no request of it is being answered."""
        return not self.requests

    def is_silent(self) -> bool:
        """Whether it is idle, and no byte has come that was not read."""
        if not self.is_idle:
            return False
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except OSError:  # nothing has come, or the client has left
            return True

    def is_overdue(self) -> bool:
        """Whether the client has had its time."""
        if self._lingers_until is not None:
            return self._drained >= _MOST_DRAINED or time.monotonic() > self._lingers_until
        if not self.is_idle:
            return False
        if self._head_since is not None and time.monotonic() - self._head_since > HEAD_S:
            return True
        return time.time() - float(self.last_activity) > QUIET_S

    def drop(self) -> None:
        """Close it at once."""
        super().handle_close()

    def received(self, data: bytes) -> bool:
        """Take in bytes."""
        took = bool(super().received(data))
        if self.request is None or self.request.headers_finished:
            self._head_since = None
        elif self._head_since is None:
            self._head_since = time.monotonic()
        return took

    def readable(self) -> bool:
        """Whether to look for bytes."""
        if self._has_refused:
            return self._drained < _MOST_DRAINED
        return bool(super().readable())

    def handle_read(self) -> None:
        """Read what has come."""
        if not self._has_refused:
            super().handle_read()
            return
        with contextlib.suppress(BlockingIOError):
            drained = len(self.socket.recv(self.adj.recv_bytes))
            if drained:
                self._drained += drained
            elif self._lingers_until is None:  # it sends no more, and may still read the answer
                self._drained = _MOST_DRAINED
            else:
                self.drop()

    def handle_close(self) -> None:
        """Close it, after a body that was not read in two steps."""
        if self._has_refused and self._lingers_until is None and self.socket is not None:
            self._lingers_until = time.monotonic() + _LINGER_S
            with contextlib.suppress(OSError):  # the client has left
                self.socket.shutdown(socket.SHUT_WR)
                self.will_close = False
                return
        self.drop()

    def _admit(self, request: Parser) -> Admission:
        admission: Admission = self.server.gate(self.task_class(self, request).get_environment())
        return admission

    def _refused(self) -> None:
        self._has_refused = True
