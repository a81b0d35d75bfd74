"""A backend whose every byte a test scripts: it answers as the cloud does, over sockets of its own.

The calls around the event stream are answered by the contract of ``tests/support/cloud.py``. What a connection to the
stream carries, and how it ends, is a ``Connection``: bytes to send, head included, cut wherever the test likes.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs

from tests.support.contract import STREAM, Contract, Recorded
from tests.support.events import PLAN
from tests.support.eventually import eventually

CHUNKED, CLOSE, LENGTH = FORMS = ("chunked", "close", "length")
TIMEOUT_S = 15.0
BACKLOG = 8
_LOOK_S = 0.02


@attrs.frozen(kw_only=True)
class Connection:
    """What one connection sends after the request, and how it ends.

    Attributes:
        sent: the bytes, see ``answer`` and ``event_stream``; a slice of them is a connection that was cut.
        piece: bytes of each write; None for one write.
        pace_s: seconds between two writes.
        hold: then open and silent until this is set, or the client leaves; None ends it at once.
        reset: whether it ends with RST in place of FIN.
    """

    sent: bytes = b""
    piece: int | None = None
    pace_s: float = 0.0
    hold: threading.Event | None = None
    reset: bool = False


def head(headers: Mapping[str, str], status: int = 200) -> bytes:
    """Return the head of an answer, its blank line included."""
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")


def answer(status: int, body: Any) -> bytes:
    """Return an ordinary answer: a JSON body with its length."""
    content = json.dumps(body).encode()
    return head({"Content-Type": "application/json", "Content-Length": str(len(content))}, status) + content


def event_stream(*frames: bytes, form: str = CHUNKED, headers: Mapping[str, str] | None = None) -> bytes:
    """Return the whole answer of an event stream.

    Args:
        frames: what it carries; in the chunked form, each is a chunk.
        form: how its end is told: ``chunked``, ``close`` or ``length``.
        headers: sent too.
    """
    body = b"".join(frames)
    framing = {
        CHUNKED: {"Transfer-Encoding": "chunked"},
        LENGTH: {"Content-Length": str(len(body))},
        CLOSE: {},
    }[form]
    if form == CHUNKED:
        body = b"".join(b"%x\r\n%s\r\n" % (len(frame), frame) for frame in frames) + b"0\r\n\r\n"
    return head({"Content-Type": "text/event-stream; charset=utf-8", **framing, **(headers or {})}) + body


class RawServer(Contract):
    """The backend. Use it as a context manager: it leaves no thread and no socket.

    Args:
        plan: the events of every job.
        tls: what it speaks TLS with, or None.
        events: answers the event streams that no test scripted; by default the plan after ``Last-Event-ID``.

    Attributes:
        port: its port on the loopback.

    Thread-safety: a test may script and look while requests are served.
    """

    def __init__(
        self,
        plan: Sequence[Mapping[str, Any]] = PLAN,
        *,
        tls: ssl.SSLContext | None = None,
        events: Callable[[Recorded], Connection] | None = None,
    ) -> None:
        super().__init__(plan)
        self._tls = tls
        self._stream_of = events or self._planned_stream
        self._accepts = threading.Event()
        self._accepts.set()
        self._rests = threading.Event()
        self._speaks = threading.Event()
        self._speaks.set()
        self._stopped = threading.Event()
        self._serving: dict[threading.Thread, socket.socket] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._accepting = threading.Thread(target=self._accept, name="raw-server")
        self._accepting.start()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S).close()  # wakes the thread that accepts
        self._accepting.join(TIMEOUT_S)
        self._listener.close()
        with self._lock:
            serving = dict(self._serving)
        for connection in serving.values():
            _shut_down(connection)
        for thread in (self._accepting, *serving):
            thread.join(TIMEOUT_S)
            assert not thread.is_alive(), "the server's thread goes on"

    # What a test scripts

    def script(self, *connections: Connection, method: str = "GET", path: str = STREAM) -> None:
        """Let the next such requests be answered so, once each; ``*`` in the path stands for one segment."""
        with self._lock:
            self._scripted += [(method, path, connection) for connection in connections]

    @contextmanager
    def full(self) -> Iterator[None]:
        """Let every attempt to connect block inside the block: nobody accepts, and the backlog is full."""
        self._accepts.clear()
        fillers = [socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S)]
        try:
            assert self._rests.wait(TIMEOUT_S)  # with the first one in its hand
            while _is_connected(fillers[-1]):
                fillers.append(socket.socket())
                fillers[-1].setblocking(False)
                fillers[-1].connect_ex(("127.0.0.1", self.port))
            fillers.pop().close()
            yield
        finally:
            for filler in fillers:
                filler.close()
            self._rests.clear()
            self._accepts.set()
            eventually(lambda: not _can_be_read(self._listener), "the backlog is empty")

    @contextmanager
    def mute(self) -> Iterator[None]:
        """Accept connections inside the block, but say nothing on them, not even in a TLS handshake."""
        self._speaks.clear()
        try:
            yield
        finally:
            self._speaks.set()

    # What a test looks at

    @property
    def open_connections(self) -> int:
        """How many connections are being served."""
        with self._lock:
            return len(self._serving)

    # How it serves

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if not self._accepts.is_set():
                self._rests.set()
                self._accepts.wait()
            if self._stopped.is_set():
                connection.close()
                return
            thread = threading.Thread(target=self._serve, args=(connection,), name="raw-server")
            with self._lock:
                self._serving[thread] = connection
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        # OSError: the client went away, which is what many tests are about.
        with connection, suppress(OSError):
            connection.settimeout(TIMEOUT_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._speaks.wait()
            if self._tls is None:
                self._converse(connection)
            else:
                with self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as secured:
                    with self._lock:
                        self._serving[threading.current_thread()] = secured
                    secured.do_handshake()
                    self._converse(secured)
        with self._lock:
            del self._serving[threading.current_thread()]

    def _converse(self, connection: socket.socket) -> None:
        request = _read_request(connection)
        if request is not None:
            self._play(connection, self._take(request) or self._answer(request))

    def _answer(self, request: Recorded) -> Connection:
        status, body = self._respond(request)
        return self._stream_of(request) if body is None else Connection(sent=answer(status, body))

    def _planned_stream(self, request: Recorded) -> Connection:
        return Connection(sent=event_stream(*self._planned(request, request.path.split("/")[3])))

    def _play(self, connection: socket.socket, scripted: Connection) -> None:
        size = scripted.piece or max(1, len(scripted.sent))
        for start in range(0, len(scripted.sent), size):
            connection.sendall(scripted.sent[start : start + size])
            if scripted.pace_s and self._stopped.wait(scripted.pace_s):
                return
        if scripted.hold is not None:
            self._hold(connection, scripted.hold)
        if scripted.reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _hold(self, connection: socket.socket, until: threading.Event) -> None:
        while not (until.wait(_LOOK_S) or self._stopped.is_set()):
            if _can_be_read(connection):  # the client has left
                return


def _read_request(connection: socket.socket) -> Recorded | None:
    """Read a whole request; None where the client left before it was one."""
    received = b""
    while not (whole := _parse_request(received)):
        data = connection.recv(65536)
        if not data:
            return None
        received += data
    return whole


def _parse_request(received: bytes) -> Recorded | None:
    """Return the request, or None where there is more to come."""
    start, blank_line, body = received.partition(b"\r\n\r\n")
    line, *lines = start.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip(" \t") for name, _, value in (line.partition(":") for line in lines)}
    if not blank_line or len(body) < int(headers.get("content-length", 0)):
        return None
    method, target, _ = line.split(" ")
    parts = urlsplit(target)
    query = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
    return Recorded(method, parts.path, query, headers, body)


def _can_be_read(sock: socket.socket) -> bool:
    """Whether something waits to be read, or to be accepted; the end of a connection counts."""
    return bool(select.select([sock], [], [], 0)[0])


def _is_connected(connection: socket.socket) -> bool:
    """Whether a connection that was begun is accepted, at once as on the loopback, or never."""
    return bool(select.select([], [connection], [], 0.1)[1])


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
