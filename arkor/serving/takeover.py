"""Taking a connection over from waitress, which gives every answer a thread until its last byte.

An event stream has its last byte hours later. The application answers such a request with an empty body and calls
``take_over``: waitress writes nothing then. It hands the socket and the answer's head on, and its thread is free.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from arkor.serving.bodies import Task
from arkor.serving.connections import Channel

_KEY = "arkor.taker"

Taker = Callable[["TakenConnection | None"], None]


class TakenConnection:
    """A connection that waitress has let go of. Whoever takes it closes it.

    Attributes:
        socket: the connection, not blocking.
        head: the answer's status line and headers, as bytes; nothing of the answer has been sent.
        is_chunked: whether the body has to be in chunks (RFC 9112, section 7.1); else the connection's end is its end.
    """

    def __init__(self, connection: socket.socket, head: bytes, *, is_chunked: bool) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.head = head
        self.is_chunked = is_chunked


def take_over(environ: dict[str, Any], taker: Taker) -> None:
    """Have the connection of a request handed to ``taker``, when the application has returned its (empty) answer.

    Args:
        environ: the request's WSGI environment.
        taker: called on the server's thread, once; with None if the client has left before.
    """
    environ[_KEY] = taker


class _Task(Task):
    chunked_response: bool

    def finish(self) -> None:
        taker: Taker | None = self.environ.get(_KEY)
        if taker is None or not self.status.startswith("200"):
            super().finish()
            return
        head = self.build_response_header()
        is_chunked = bool(self.chunked_response)
        self.chunked_response = False
        self.wrote_header = self.close_on_finish = True
        try:
            # Waitress closes its own descriptor after this, which leaves the connection open.
            connection = socket.socket(fileno=os.dup(self.channel.socket.fileno()))
        except OSError:
            taker(None)
            raise
        taker(TakenConnection(connection, head, is_chunked=is_chunked))


class TakeOverChannel(Channel):
    """A connection of waitress that can be taken over."""

    task_class = _Task
