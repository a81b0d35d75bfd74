"""What stands between a client and a backend: TLS, proxies, and lines that are cut."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

from tests.support.cloud import Cloud

TIMEOUT_S = 15.0
Kind = TypeVar("Kind", bound="Listener")


class TlsCloud(Cloud):
    """The stand-in for Arkor Cloud, behind TLS.

    Args:
        context: its certificate.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._tls = context
        super().__init__()
        self.url = f"https://127.0.0.1:{self.port}"

    def _wrapped(self, listener: socket.socket) -> socket.socket:
        # The handshake belongs to the thread of its connection: a client that refuses it must not stop the others.
        return self._tls.wrap_socket(listener, server_side=True, do_handshake_on_connect=False)


class Listener:
    """A server of bytes on a free port, one thread a connection. Use it as a context manager.

    Attributes:
        address: host and port.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        self._closed = False

    def __enter__(self: Kind) -> Kind:
        threading.Thread(target=self._accept, name="listener", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        shut(self._listener)
        self._listener.close()
        for connection in list(self._open):
            shut(connection)

    def serve(self, client: socket.socket) -> None:
        """Speak to one client; the connection is closed afterwards."""
        raise NotImplementedError

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while not self._closed:
                client, _ = self._listener.accept()
                self._open.add(client)
                threading.Thread(target=self._run, args=(client,), daemon=True).start()

    def _run(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            self.serve(client)
        self._open.discard(client)


class Proxy(Listener):
    """A proxy that opens tunnels.

    Args:
        targets: where a host really is: ``{"example.com:443": "127.0.0.1:4711"}``; any other is refused with 403.

    Attributes:
        heads: the head of every request, in order.
    """

    def __init__(self, targets: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.heads: list[str] = []
        self._targets = dict(targets or {})

    def serve(self, client: socket.socket) -> None:
        """Open one tunnel, and carry bytes both ways until either side ends."""
        head = b""
        while b"\r\n\r\n" not in head and (piece := client.recv(4096)):
            head += piece
        self.heads.append(head.decode("latin-1"))
        method, where, *_ = head.decode("latin-1").split()
        if method != "CONNECT" or where not in self._targets:
            client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        tie(client, self._targets[where])


class Line(Listener):
    """A line to a server, which can be cut.

    Args:
        target: the server's host and port.

    Attributes:
        limit: how many more bytes reach the client before its connection ends; None for all. Each connection counts
            for itself.
    """

    def __init__(self, target: str) -> None:
        super().__init__()
        self.limit: int | None = None
        self.cuts = 0
        self._target = target

    def serve(self, client: socket.socket) -> None:
        """Carry bytes both ways until either side ends, or the limit is reached."""
        passed = [0]

        def cut(piece: bytes) -> bytes:
            if self.limit is None:
                return piece
            rest = max(0, self.limit - passed[0])
            passed[0] += len(piece)
            if len(piece) >= rest:
                self.cuts += 1
            return piece[:rest]

        tie(client, self._target, cut)


def tie(client: socket.socket, target: str, down: Callable[[bytes], bytes] = lambda piece: piece) -> None:
    """Carry bytes both ways until either side ends, or ``down``, which sees those to the client, drops some."""
    host, port = target.split(":")
    with socket.create_connection((host, int(port)), TIMEOUT_S) as server:
        server.settimeout(None)
        threading.Thread(target=_carry, args=(client, server, lambda piece: piece), daemon=True).start()
        _carry(server, client, down)


def _carry(source: socket.socket, sink: socket.socket, change: Callable[[bytes], bytes]) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            changed = change(piece)
            sink.sendall(changed)
            if changed != piece:
                break
    shut(source)
    shut(sink)


def shut(sock: socket.socket) -> None:
    """End both directions of a connection, so that whoever is blocked on it wakes."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
