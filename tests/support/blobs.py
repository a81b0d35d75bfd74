"""A web server that sends scripted bytes: where a blob's rows come from."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Sequence
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO

Answer = bytes | Callable[[BinaryIO], None]

ROWS = b'{"text": "a"}\n'


def head(status: str = "200 OK", *headers: str) -> bytes:
    """Return the head of an answer."""
    return "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", "Connection: close", *headers, "")).encode()


def whole(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Return an answer with its length."""
    return head(status, *headers, f"Content-Length: {len(body)}") + body


def redirect(url: str) -> bytes:
    """Return a redirect."""
    return whole(b"", f"Location: {url}", status="302 Found")


class BlobHost:
    """A server on a free port, for a ``with`` block.

    Args:
        answers: sent one after the other, each with its head; the last one also to everybody later. A function writes
            its answer itself.
        address: where it listens.
        tls: its certificate; None speaks plain HTTP.

    Attributes:
        port: its port.
        heads: the headers of each request.
        leaving: set at the end of the block, for an answer that waits.
    """

    def __init__(
        self, answers: Sequence[Answer] = (whole(ROWS),), address: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.answers = list(answers)
        self.heads: list[Message] = []
        self.leaving = threading.Event()
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.heads.append(self.headers)
                answer = host.answers[min(len(host.heads), len(host.answers)) - 1]
                self.close_connection = True
                with contextlib.suppress(OSError):  # the client has left
                    if callable(answer):
                        answer(self.wfile)  # type: ignore[arg-type]
                    else:
                        self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((address, 0), Handler)
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port: int = self._server.server_address[1]

    def url(self, name: str = "127.0.0.1") -> str:
        """Return the URL of its rows, by the name that the host is to have."""
        return f"{self._scheme}://{name}:{self.port}/rows.jsonl"

    def seen(self, header: str) -> list[str | None]:
        """Return what each request had for a header."""
        return [sent[header] for sent in self.heads]

    def __enter__(self) -> BlobHost:
        threading.Thread(target=self._server.serve_forever, args=(0.01,)).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.leaving.set()
        self._server.shutdown()
        self._server.server_close()
