"""A scripted stand-in for Arkor Cloud, which cannot be had in a test: everything else here is the real thing.

It is a real HTTP server on a free port. It answers the calls of docs/protocol.md as the cloud would, answers 404 to
what only a self-hosted backend has, and notes every request. A test scripts what differs: the next answers of a call,
the next event streams and how they end, or a while in which nobody listens.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.contract import CHAT, COMPLETIONS, STREAM, Answer, Contract, Late, Recorded, Stream
from tests.support.events import DONE, PLAN, text_chunk, words


class Cloud(Contract):
    """The stand-in. Use it as a context manager; ``url`` is its address."""

    def __init__(self, plan: Sequence[Mapping[str, Any]] = PLAN) -> None:
        super().__init__(plan)
        self._gates: list[threading.Event] = []
        self._connections: set[socket.socket] = set()
        self._server = self._listen(0)
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Cloud:
        return self

    def __exit__(self, *_: object) -> None:
        for gate in self._gates:
            gate.set()
        self._stop()

    # What a test scripts

    def answer(self, method: str, path: str, *answers: Answer | Late) -> None:
        """Give these answers, once each, to the next such requests; ``*`` in the path stands for one segment."""
        with self._lock:
            self._scripted += [(method, path, answer) for answer in answers]

    def stream(self, *streams: Stream) -> None:
        """Let the next event streams be these, once each; later ones follow the plan."""
        with self._lock:
            self._scripted += [("GET", STREAM, stream) for stream in streams]

    def says(self, *answers: Stream | Answer) -> None:
        """Let the next questions to a model be answered so, once each."""
        with self._lock:
            self._scripted += [("POST", CHAT, answer) for answer in answers]

    def continues(self, *texts: str) -> None:
        """Let the next texts that a model is to continue be continued so, once each, word by word."""
        streams = [Stream(frames=[*map(text_chunk, words(text)), text_chunk("", "length"), DONE]) for text in texts]
        with self._lock:
            self._scripted += [("POST", COMPLETIONS, stream) for stream in streams]

    @contextmanager
    def away(self) -> Iterator[None]:
        """Refuse every connection inside the block."""
        self._stop()
        try:
            yield
        finally:
            self._server = self._listen(self.port)

    # How it serves

    def _listen(self, port: int) -> ThreadingHTTPServer:
        cloud = self

        class Handler(_Handler):
            def setup(self) -> None:
                super().setup()
                cloud._connections.add(self.connection)

            def serve(self) -> None:
                cloud._serve(self)

            def finish(self) -> None:
                cloud._connections.discard(self.connection)
                super().finish()

        server = _Server(("127.0.0.1", port), Handler)
        server.socket = self._wrapped(server.socket)
        threading.Thread(target=server.serve_forever, args=(0.01,), name="cloud", daemon=True).start()
        return server

    def _wrapped(self, listener: socket.socket) -> socket.socket:
        """Return the socket to accept connections from; another stand-in puts TLS around it."""
        return listener

    def _stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, handler: _Handler) -> None:
        request = handler.recorded()
        scripted = self._take(request)
        if isinstance(scripted, Answer):
            self._hold(scripted.gate)
            handler.answer(scripted)
        else:
            self._serve_as_usual(handler, request, scripted)

    def _serve_as_usual(self, handler: _Handler, request: Recorded, scripted: Late | Stream | None) -> None:
        """Answer a request that no test has an answer for."""
        status, body = self._respond(request)
        if isinstance(scripted, Late):
            self._hold(scripted.gate)
        if status == 200 and body is None:
            self._send_stream(handler, request, scripted if isinstance(scripted, Stream) else Stream())
        else:
            handler.answer(Answer(status=status, body=body))

    def _hold(self, gate: threading.Event | None) -> None:
        if gate is not None:
            self._gates.append(gate)
            gate.wait()

    def _send_stream(self, handler: _Handler, request: Recorded, stream: Stream) -> None:
        job_id = request.path.split("/")[3]
        frames = self._planned(request, job_id) if stream.frames is None else list(stream.frames)
        handler.begin_stream(chunked=stream.chunked)
        body = b"".join(frames)[: stream.cut]
        pieces = stream.piece or max(1, len(body))
        for start in range(0, len(body), pieces):
            if not handler.write_some(body[start : start + pieces], chunked=stream.chunked):
                return
        self._hold(stream.gate)
        handler.finish_stream(whole=stream.cut is None, chunked=stream.chunked, reset=stream.reset)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over clients that went away; that is what many tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def serve(self) -> None:
        raise NotImplementedError

    def do_GET(self) -> None:
        self.serve()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def recorded(self) -> Recorded:
        """Read the whole request."""
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        headers = {key.lower(): value for key, value in self.headers.items()}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return Recorded(self.command, parts.path, query, headers, body)

    def answer(self, answer: Answer) -> None:
        """Send an answer, or the start of it."""
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        headers = {"Content-Length": str(len(body)), **answer.headers}
        if not isinstance(answer.body, bytes):
            headers.setdefault("Content-Type", "application/json")
        head = f"HTTP/1.1 {answer.status} Scripted\r\n" + "".join(
            f"{key}: {value}\r\n" for key, value in headers.items()
        )
        self.wfile.write((head.encode("latin-1") + b"\r\n" + body)[: answer.cut])
        if answer.cut is not None:
            self._end(reset=answer.reset)

    def begin_stream(self, *, chunked: bool) -> None:
        """Send the head of an event stream."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Connection", "close")))
        self.end_headers()

    def write_some(self, data: bytes, *, chunked: bool) -> bool:
        """Send a part of the body; say whether anybody still listens."""
        try:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)
        except OSError:
            return False
        return True

    def finish_stream(self, *, whole: bool, chunked: bool, reset: bool) -> None:
        """End the body and the connection."""
        if chunked and whole and not reset:
            self.wfile.write(b"0\r\n\r\n")
        self._end(reset=reset)

    def _end(self, *, reset: bool) -> None:
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())  # close() would wait for the files made of it, and send FIN first
