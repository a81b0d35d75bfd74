"""A backend that has one artifact, and sends it as badly as a test wants: cut, changed, damaged, without ranges."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import struct
import tarfile
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs


def tar(files: Mapping[str, bytes]) -> bytes:
    """Return an uncompressed archive of some files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@attrs.frozen(kw_only=True)
class Sending:
    """How one answer is sent.

    Attributes:
        cut: how many bytes of the body are sent before the connection ends; None for all.
        reset: whether a cut connection ends with RST.
        hold: a cut connection stays open and silent until this is set.
        content: sent in place of the shelf's.
        etag: sent in place of the shelf's; empty for none.
        ranges: whether ``Range`` is honoured.
        conditions: whether ``If-Range`` is honoured.
        chunked: whether the body is chunked, its length not told.
        status: sent in place of the right one.
        headers: sent too, or in place of the right ones.
    """

    cut: int | None = None
    reset: bool = False
    hold: threading.Event | None = None
    content: bytes | None = None
    etag: str | None = None
    ranges: bool = True
    conditions: bool = True
    chunked: bool = False
    status: int | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)


class Shelf:
    """The backend. Use it as a context manager.

    Attributes:
        content: the artifact's bytes.
        etag: its ETag.
        requests: the headers of every request for it, names in lowercase.
        url: the backend's address.

    Thread-safety: a test may script and look while requests are served.
    """

    def __init__(self, content: bytes, etag: str = '"one"') -> None:
        self.content = content
        self.etag = etag
        self.requests: list[dict[str, str]] = []
        self._sendings: list[Sending] = []
        self._held: list[threading.Event] = []
        shelf = self

        class Handler(_Handler):
            def do_GET(self) -> None:
                shelf._serve(self)

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), name="shelf", daemon=True).start()

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, *_: object) -> None:
        for event in self._held:
            event.set()
        self._server.shutdown()
        self._server.server_close()

    def script(self, *sendings: Sending) -> None:
        """Send the next answers so, once each; later ones whole."""
        self._sendings += sendings

    @property
    def ranges(self) -> list[str | None]:
        """The ``Range`` of every request for the artifact."""
        return [headers.get("range") for headers in self.requests]

    def _serve(self, handler: _Handler) -> None:
        if handler.path == "/v1/capabilities":
            handler.send(200, {}, json.dumps({"features": ["artifacts"]}).encode())
            return
        asked = {name.lower(): value for name, value in handler.headers.items()}
        self.requests.append(asked)
        sending = self._sendings.pop(0) if self._sendings else Sending()
        if sending.hold is not None:
            self._held.append(sending.hold)
        status, headers, body = self._answer(asked, sending)
        handler.send(sending.status or status, {**headers, **sending.headers}, body, sending)

    def _answer(self, asked: Mapping[str, str], sending: Sending) -> tuple[int, dict[str, str], bytes]:
        content = self.content if sending.content is None else sending.content
        etag = self.etag if sending.etag is None else sending.etag
        headers = {"ETag": etag} if etag else {}
        match = re.fullmatch(r"bytes=(\d+)-", asked.get("range", "")) if sending.ranges else None
        if match is None or (sending.conditions and asked.get("if-range", etag) != etag):
            return 200, headers, content
        start = int(match[1])
        if start >= len(content):
            return 416, {**headers, "Content-Range": f"bytes */{len(content)}"}, b""
        return 206, {**headers, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}, content[start:]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def send(self, status: int, headers: Mapping[str, str], body: bytes, sending: Sending | None = None) -> None:
        """Send an answer, or the start of it."""
        sending = sending or Sending()
        framing = {"Transfer-Encoding": "chunked"} if sending.chunked else {"Content-Length": str(len(body))}
        lines = [f"HTTP/1.1 {status} Scripted", *(f"{key}: {value}" for key, value in {**framing, **headers}.items())]
        part = body[: sending.cut]
        if sending.chunked:
            part = b"%x\r\n%s\r\n" % (len(part), part) + (b"0\r\n\r\n" if sending.cut is None else b"")
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + part)
        if sending.cut is not None:
            self._end(sending)

    def _end(self, sending: Sending) -> None:
        self.close_connection = True
        if sending.hold is not None:
            sending.hold.wait()
        if sending.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())  # close() would wait for the files made of it, and send FIN first

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
