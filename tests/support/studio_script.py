"""A scripted stand-in for Studio's server: the real page, with the real headers, before answers that a test writes.

It shows the page in states that the real server is hard to bring into: a backend that stalls, a log that is cut off, a
server that goes away and comes back. It notes every request.
"""

from __future__ import annotations

import json
import secrets
import select
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import attrs

from arkor.studio.guard import HEADERS, TOKEN_HEADER
from arkor.studio.routes.page import STATIC, TABLES, TOKEN_PLACE
from tests.support.studio_job import ScriptedJob

ABOUT: Mapping[str, Any] = {
    "mode": "anon",
    "org": "anon-1a2b3c4d",
    "project": "support-bot",
    "host": "127.0.0.1:4747",
    "baseUrl": "http://127.0.0.1:4747",
    "local": False,
    "backend": "arkor-local",
    "features": ["datasets", "artifacts", "idempotent-jobs", "models", "cancelled-event", "inference"],
    "error": None,
}

_LOOK_S = 0.02
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@attrs.define
class Answer:
    """What a call answers; an answer with a gate waits until that is set."""

    body: Any
    status: int = 200
    gate: threading.Event | None = None

    def to(self, body: Any) -> Answer:
        """Return the answer to one question, by its body."""
        return self


class Streamed(Answer):
    """An answer that comes bit by bit; one that is given pieces ends after them. Each question gets all of it.

    Attributes:
        left: set where a browser left before the end.
    """

    def __init__(self, *pieces: bytes) -> None:
        super().__init__(None)
        self.left = threading.Event()
        self._pieces = list(pieces)
        self._state = "whole" if pieces else "open"
        self._changed = threading.Condition()

    def say(self, *pieces: bytes) -> None:
        """Send something."""
        with self._changed:
            self._pieces += pieces
            self._changed.notify_all()

    def cut(self) -> None:
        """Break the connection off."""
        with self._changed:
            self._state = "cut"
            self._changed.notify_all()

    def send(self, write: Callable[[bytes], object], gone: Callable[[], bool]) -> bool:
        """Send it from its start, and say whether its end is a proper one."""
        sent = 0
        while True:
            with self._changed:
                if len(self._pieces) == sent and self._state == "open":
                    self._changed.wait(_LOOK_S)
                pieces, state = self._pieces[sent:], self._state
            sent += len(pieces)
            with suppress(OSError):
                for piece in pieces:
                    write(piece)
                if state != "open":
                    return state == "whole"
                if not gone():
                    continue
            self.left.set()
            return False


class ByQuestion(Answer):
    """An answer that depends on the question."""

    def __init__(self, choose: Callable[[Any], Answer]) -> None:
        super().__init__(None)
        self._choose = choose

    def to(self, body: Any) -> Answer:
        """Return the answer to one question, by its body."""
        return self._choose(body)


class Run:
    """A run and what it prints."""

    def __init__(self, number: int, *, dry_run: bool = False, job_id: str | None = None) -> None:
        self.number, self.dry_run, self.job_id = number, dry_run, job_id
        self.exit_code: int | None = None
        self.stopping = False
        self.cuts = 0
        self._printed = b""
        self._changed = threading.Condition()

    def say(self, text: str) -> None:
        """Print something."""
        with self._changed:
            self._printed += text.encode()
            self._changed.notify_all()

    def end(self, code: int) -> None:
        """Exit."""
        with self._changed:
            self.exit_code = code
            start = "\n" if self._printed and not self._printed.endswith(b"\n") else ""
            self._printed += f"{start}[exit {code}]\n".encode()
            self._changed.notify_all()

    def cut(self) -> None:
        """Break off every stream of the output that is open."""
        with self._changed:
            self.cuts += 1
            self._changed.notify_all()

    def output(self) -> Generator[bytes, None, None]:
        """Give the output from its first byte as it comes; it ends with the run, or where it is cut off."""
        sent, cuts = 0, self.cuts
        while True:
            with self._changed:
                while not (over := self.exit_code is not None or self.cuts > cuts) and len(self._printed) == sent:
                    self._changed.wait()
                piece, sent = self._printed[sent:], len(self._printed)
            if piece:
                yield piece
            if over:
                return

    def to_wire(self) -> dict[str, Any]:
        """Describe it as GET /api/train does."""
        return {
            "id": self.number,
            "dryRun": self.dry_run,
            "jobId": self.job_id,
            "startedAt": "2026-01-31T09:30:00.000Z",
            "exitCode": self.exit_code,
            "stopping": self.stopping,
        }


class ScriptedStudio:
    """The stand-in. Use it as a context manager.

    Args:
        port: on 127.0.0.1; 0 takes a free one.

    Attributes:
        url: its address.
        answers: what a call answers, by ``"GET /api/jobs"`` and its like; a test puts others in.
        requests: the calls that were made, in the same form, with their bodies.
        run: the current or last run.
        jobs: those whose events a test scripts; any other that is asked for is there, too.
        token: what the page has to send; another one means that Studio was started anew.
    """

    def __init__(self, port: int = 0) -> None:
        self.token = secrets.token_hex(32)
        self.requests: list[tuple[str, Any]] = []
        self.run: Run | None = None
        self.jobs: dict[str, ScriptedJob] = {}
        self.answers: dict[str, Answer] = {
            "GET /api/credentials": Answer(dict(ABOUT)),
            "GET /api/manifest": Answer({"trainer": {"name": "triage"}}),
            "GET /api/jobs": Answer({"jobs": []}),
            "GET /api/models": Answer({"models": []}),
        }
        self._server = _Server(self, port)
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> ScriptedStudio:
        return self

    def can(self, feature: str) -> None:
        """Let the backend have a feature more."""
        about = self.answers["GET /api/credentials"].body
        self.answers["GET /api/credentials"] = Answer({**about, "features": [*about["features"], feature]})

    def __exit__(self, *_: object) -> None:
        for answer in self.answers.values():
            if answer.gate is not None:
                answer.gate.set()
        if self.run is not None and self.run.exit_code is None:
            self.run.end(0)
        for job in list(self.jobs.values()):
            job.cut()
        self._server.stop()

    def asked(self, call: str) -> list[Any]:
        """Return the bodies of the calls of one kind that were made."""
        return [body for name, body in list(self.requests) if name == call]

    def starts(self, **settings: Any) -> Run:
        """Let a run begin, as if another tab had started it."""
        self.run = Run(1 if self.run is None else self.run.number + 1, **settings)
        return self.run

    def job(self, job_id: str = "job_1", **settings: Any) -> ScriptedJob:
        """Let there be a job."""
        self.jobs[job_id] = ScriptedJob(job_id, **settings)
        return self.jobs[job_id]

    def the_job(self, job_id: str) -> ScriptedJob:
        """Return a job; one that no test has made is queued."""
        return self.jobs.get(job_id) or self.job(job_id, status="queued")

    @contextmanager
    def away(self) -> Iterator[None]:
        """Refuse every connection inside the block."""
        if self.run is not None:
            self.run.cut()
        for job in list(self.jobs.values()):
            job.cut()
        self._server.stop()
        try:
            yield
        finally:
            self._server = _Server(self, self.port)

    def respond(self, call: str, body: Any) -> Answer | Callable[[], Generator[bytes, None, None]]:
        """Return the answer to a call: one that a test wrote, or what the run says."""
        self.requests.append((call, body))
        if call in self.answers:
            return self.answers[call].to(body)
        if call == "GET /api/train":
            running = self.run is not None and self.run.exit_code is None
            return Answer({"running": running, "run": self.run and self.run.to_wire()})
        if call == "POST /api/train":
            return self.starts(dry_run=body.get("dryRun", False)).output
        if call == "GET /api/train/log" and self.run is not None:
            return self.run.output
        if call == "POST /api/train/stop" and self.run is not None:
            self.run.stopping = True
            return Answer({"stopping": True}, 202)
        return self._about_job(call)

    def _about_job(self, call: str) -> Answer:
        start, _, rest = call.partition("/api/jobs/")
        quoted, _, part = rest.partition("/")
        job = self.the_job(unquote(quoted))
        parts: dict[str, Callable[[], Any]] = {
            "": lambda: {"job": job.wire},
            "metrics": job.metrics,
            "samples": job.samples,
            "metrics.csv": lambda: job.table().encode(),
            "artifacts": lambda: {"artifacts": job.artifacts},
            "evaluations": lambda: {"evaluations": job.evaluations},
            "exports": lambda: {"exports": job.exports},
        }
        if start == "GET " and quoted and part in parts:
            return Answer(parts[part]())
        return Answer({"error": f"Nothing is scripted for {call}."}, 404)


def _plotly() -> Path:
    import plotly

    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


def _attached(name: str) -> tuple[str, str]:
    return "Content-Disposition", f'attachment; filename="{name}"'


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, studio: ScriptedStudio, port: int) -> None:
        self.studio = studio
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), name="studio", daemon=True).start()

    def stop(self) -> None:
        """Close the door, and whatever is open."""
        self.shutdown()
        self.server_close()
        for connection in list(self.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: browsers leave as they like."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/":
            page = (STATIC / "index.html").read_text(encoding="utf-8").replace(TOKEN_PLACE, self.server.studio.token)
            self._send(200, "text/html", page.encode())
        elif path.startswith("/static/"):
            self._send_file(path.removeprefix("/static/"))
        elif path.startswith("/download/"):
            self._send(200, "application/x-tar", b"tar", _attached(path.removeprefix("/download/")))
        elif path.startswith("/api/jobs/") and path.endswith("/events"):
            self._events(path.split("/")[3])
        elif path == "/api/jobs":
            limit = parse_qs(self.path.partition("?")[2]).get("limit", ["500"])[0]
            self._call(path, most=int(limit))
        else:
            self._call(path)

    def do_POST(self) -> None:
        self._call(self.path)

    def _send_file(self, name: str) -> None:
        if name in TABLES:
            return self._send(200, _TYPES[".js"], TABLES[name]().encode())
        file = _plotly() if name == "plotly.min.js" else STATIC / name
        if file.is_file() and file.suffix in _TYPES:
            kept = (("Cache-Control", "max-age=3600"),) if name == "plotly.min.js" else ()
            return self._send(200, _TYPES[file.suffix], file.read_bytes(), *kept)
        return self._send(404, "text/plain", b"")

    def _events(self, quoted: str) -> None:
        query = parse_qs(self.path.partition("?")[2])
        studio = self.server.studio
        job = studio.the_job(unquote(quoted))
        if query.get("token") != [studio.token] or job.refuses:
            return self._send(503, "application/json", b'{"error": "Too many event streams are open."}')
        after = self.headers.get("Last-Event-ID") or query.get("after", [""])[0] or None
        return self._stream(job.stream(after), "text/event-stream")

    def _call(self, path: str, most: int | None = None) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get(TOKEN_HEADER) != self.server.studio.token:
            return self._send(403, "application/json", b'{"error": "No.", "launch": "other"}')
        answer = self.server.studio.respond(f"{self.command} {path}", json.loads(sent) if sent else None)
        if isinstance(answer, Streamed):
            return self._send_streamed(answer)
        if not isinstance(answer, Answer):
            return self._stream(answer())
        if answer.gate is not None:
            answer.gate.wait()
        if isinstance(answer.body, bytes):
            kept = ("text/html", "report.html") if path.endswith(".html") else ("text/csv", "job.csv")
            return self._send(answer.status, kept[0], answer.body, _attached(kept[1]))
        body = answer.body
        if most is not None and "jobs" in body:
            body = {"jobs": body["jobs"][:most], "more": len(body["jobs"]) > most}
        return self._send(answer.status, "application/json", json.dumps(body).encode())

    def _send_streamed(self, answer: Streamed) -> None:
        def write(piece: bytes) -> None:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

        self._begin(200, "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if answer.send(write, self._is_gone):
            write(b"")
        else:
            self.close_connection = True

    def _is_gone(self) -> bool:
        """Say whether the browser has closed the connection; it sends nothing more before it has its answer."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def _begin(self, status: int, mimetype: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{mimetype}; charset=utf-8")
        for name, value in HEADERS:
            self.send_header(name, value)

    def _send(self, status: int, mimetype: str, body: bytes, *headers: tuple[str, str]) -> None:
        self._begin(status, mimetype)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, pieces: Generator[bytes, None, None], mimetype: str = "text/plain") -> None:
        self._begin(200, mimetype)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with closing(pieces):
            for piece in pieces:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
