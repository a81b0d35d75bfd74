"""A server of event streams for ``bench/stream.py``, in a process of its own: it must not share the client's GIL.

It listens on a free port of 127.0.0.1, prints the port, and leaves when its standard input ends. A job's id says what
its stream is, as kind and numbers with dots between:

- ``log.<events>.<events a chunk>``: so many log events, as fast as the socket takes them
- ``frame.<bytes>.<line or lines>``: a small event, then one of so many bytes in pieces of 1 KiB, its data on one line
  or on very many short ones
- ``idle``: one event, then pings
- ``short``: one event, then the end of the connection
- ``gated.<before>.<after>``: so many events, pings until ``POST /release``, then the other events
"""

from __future__ import annotations

import functools
import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PING = b"event: ping\ndata: {}\n\n"
PING_S = 15.0
BLOCK_EVENTS = 10_000  # divisible by the events of a chunk
PIECE_BYTES = 1024
LAST_CHUNK = b"0\r\n\r\n"
JOB_ID = "job_3f2b8c1e-7d54-4a0e-9c1b-5e6f7a8b9c0d"

released = threading.Event()


def frame(number: int, **body: Any) -> bytes:
    """Return an event as it travels."""
    body = {"jobId": JOB_ID, "timestamp": "2026-01-31T09:30:09.125Z", **body}
    data = json.dumps(body, separators=(",", ":"))
    return f"id: {number}\nevent: {body['type']}\ndata: {data}\n\n".encode()


def log_frame(number: int) -> bytes:
    """Return the log event of a step, the data about 180 bytes."""
    loss, rate, epoch = 2.5 - number * 1.7e-6, 2e-4 * (1 - number * 9.1e-7), number / 1250
    return frame(
        number, type="training.log", step=number, loss=round(loss, 6), learningRate=rate, epoch=round(epoch, 4)
    )


def ending(number: int) -> bytes:
    """Return the event that ends a job, and the end of its stream."""
    return frame(number, type="training.completed") + b"event: end\ndata: {}\n\n"


def chunk(data: bytes) -> bytes:
    """Return bytes as a chunk of a body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


@functools.lru_cache(maxsize=32)
def log_block(first: int, count: int, per_chunk: int) -> bytes:
    """Return the chunks of log events, kept for the next round."""
    numbers = range(first, first + count)
    groups = (numbers[at : at + per_chunk] for at in range(0, count, per_chunk))
    return b"".join(chunk(b"".join(map(log_frame, group))) for group in groups)


def logs(events: int, per_chunk: int) -> Iterator[bytes]:
    """Yield the chunks of a job's log, many at a time."""
    for first in range(1, events + 1, BLOCK_EVENTS):
        yield log_block(first, min(BLOCK_EVENTS, events + 1 - first), per_chunk)
    yield chunk(ending(events + 1)) + LAST_CHUNK


def large(size: int, form: str) -> Iterator[bytes]:
    """Yield a small event and a large one, in small pieces."""
    yield chunk(log_frame(1))
    head = b'id: 2\nevent: training.log\ndata: {"type":"training.log","step":2,"pad":'
    if form == "line":
        event = head + b'"%s"}' % (b"x" * (size - len(head) - 5))
    else:
        line = b"data: 0,\n"
        event = head + b"[\n" + line * ((size - len(head) - 16) // len(line)) + b"data: 0]}"
    event += b"\n\n"
    for at in range(0, len(event), PIECE_BYTES):
        yield chunk(event[at : at + PIECE_BYTES])
    yield chunk(ending(3)) + LAST_CHUNK


def idle() -> Iterator[bytes]:
    """Yield one event, then pings."""
    yield chunk(log_frame(1))
    while not released.wait(PING_S):
        yield chunk(PING)


def gated(before: int, after: int) -> Iterator[bytes]:
    """Yield events, pings until the release, and the rest of the events."""
    yield chunk(b"".join(map(log_frame, range(1, before + 1))))
    while not released.wait(PING_S):
        yield chunk(PING)
    yield chunk(b"".join(map(log_frame, range(before + 1, before + after + 1))))
    yield chunk(ending(before + after + 1)) + LAST_CHUNK


def stream_of(job_id: str) -> Iterator[bytes]:
    """Return what a job's stream sends; each item is one write."""
    kind, *rest = job_id.split(".")
    if kind == "log":
        return logs(int(rest[0]), int(rest[1]))
    if kind == "frame":
        return large(int(rest[0]), rest[1])
    if kind == "gated":
        return gated(int(rest[0]), int(rest[1]))
    return idle() if kind == "idle" else iter([chunk(log_frame(1)) + LAST_CHUNK])


class Handler(BaseHTTPRequestHandler):
    """Answers the few calls that following a job needs."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer a job, or its stream."""
        job_id, _, rest = self.path.removeprefix("/v1/jobs/").partition("?")[0].partition("/")
        if rest == "events/stream":
            self._stream(job_id)
        else:
            self._answer({"job": {"id": job_id, "name": "bench", "status": "running"}})

    def do_POST(self) -> None:
        """Let the gated streams go on."""
        released.set()
        self._answer({})

    def _answer(self, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, job_id: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with suppress(OSError):  # the reader has left
            for data in stream_of(job_id):
                self.connection.sendall(data)
            return
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """A thread for each connection, and room for many that come at once."""

    daemon_threads = True
    request_queue_size = socket.SOMAXCONN

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over clients that went away; that is what aborting is."""


def main() -> None:
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
