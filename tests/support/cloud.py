"""A scripted stand-in for Arkor Cloud, which cannot be had in a test: everything else here is the real thing.

It is a real HTTP server on a free port. It answers the calls of docs/protocol.md as the cloud would, answers 404 to
what only a self-hosted backend has, and notes every request. A test scripts what differs: the next answers of a call,
the next event streams and how they end, or a while in which nobody listens.
"""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs

from tests.support.deployments import Deployments

STREAM = "/v1/jobs/*/events/stream"
CHAT = "/v1/inference/chat"
TIMESTAMP = "2026-01-01T00:00:00.000Z"


@attrs.frozen
class Recorded:
    """A request as it arrived: the path still encoded, header names in lowercase."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return its body, parsed."""
        return json.loads(self.body)


@attrs.frozen(kw_only=True)
class Answer:
    """A scripted answer to one request.

    Attributes:
        status: the HTTP status.
        body: an object to send as JSON, or bytes to send as they are.
        headers: sent too.
        gate: held back until this is set.
        cut: how many bytes of the whole answer, its head included, are sent before the connection ends; None for all.
        reset: whether a cut connection ends with RST.
    """

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    gate: threading.Event | None = None
    cut: int | None = None
    reset: bool = False


@attrs.frozen(kw_only=True)
class Late:
    """The stand-in's own answer to one request, which takes effect at once.

    Attributes:
        gate: the answer is held back until this is set.
    """

    gate: threading.Event


@attrs.frozen(kw_only=True)
class Stream:
    """A scripted event stream, for one connection.

    Attributes:
        frames: what it sends; None for the events of the cloud's plan after ``Last-Event-ID``, then the end.
        cut: how many bytes of the body are sent; None for all.
        piece: bytes of each write; None for one write.
        gate: held open, silent, until this is set; None ends it at once.
        reset: whether it ends with RST, not in order.
        chunked: whether the body is chunked; a cut body then misses its end.
    """

    frames: Sequence[bytes] | None = None
    cut: int | None = None
    piece: int | None = None
    gate: threading.Event | None = None
    reset: bool = False
    chunked: bool = False


def chunk(content: str | None = None, **fields: Any) -> bytes:
    """Return a chunk of a streamed answer, in chat completions form; ``fields`` join its choice."""
    delta = {"content": content} if content is not None else fields.pop("delta", {})
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta, **fields}]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def started(**metadata: Any) -> dict[str, Any]:
    """Return the event that training began."""
    return {"type": "training.started", "metadata": metadata}


def log(step: int, loss: float | None = None, **figures: Any) -> dict[str, Any]:
    """Return a line of the training log."""
    return {"type": "training.log", "step": step, "loss": loss, **figures}


def checkpoint(step: int, *artifacts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event of a saved checkpoint."""
    return {"type": "checkpoint.saved", "step": step, "artifacts": list(artifacts)}


def completed(*artifacts: Mapping[str, Any], **metrics: Any) -> dict[str, Any]:
    """Return the event of a completed job."""
    return {"type": "training.completed", "artifacts": list(artifacts), "metrics": metrics}


def failed(error: str) -> dict[str, Any]:
    """Return the event of a failed job."""
    return {"type": "training.failed", "error": error}


def frame(number: int | str, event: Mapping[str, Any], job_id: str = "job_1") -> bytes:
    """Return an event as it travels."""
    body = json.dumps({"jobId": job_id, "timestamp": TIMESTAMP, **event}, ensure_ascii=False)
    return f"id: {number}\nevent: {event['type']}\ndata: {body}\n\n".encode()


def frames(plan: Sequence[Mapping[str, Any]]) -> list[bytes]:
    """Return events as they travel, numbered from 1."""
    return [frame(number, event) for number, event in enumerate(plan, 1)]


def long_plan(events: int = 40) -> list[dict[str, Any]]:
    """Return the events of a longer job, with characters of one to four bytes in them."""
    return [started(model="größer 😀"), *(log(step, 1 / step, note="é€") for step in range(1, events - 1)), completed()]


PING = b"event: ping\ndata: {}\n\n"
END = b"event: end\ndata: {}\n\n"
ADAPTER = {"name": "adapter", "kind": "adapter", "sizeBytes": 12, "sha256": "00"}
PLAN = (started(model="m"), log(1, 2.5), log(2, 1.5), checkpoint(2), log(3, 0.5), completed(ADAPTER, trainLoss=0.5))
_TERMINAL = frozenset({"completed", "failed", "cancelled"})
_STATUS_AFTER = {"training.started": "running", "training.completed": "completed", "training.failed": "failed"}


class Contract:
    """What a stand-in knows and answers, however it is spoken to.

    Attributes:
        plan: the events of every job, numbered from 1.
        jobs: the jobs that were created, by id.
        deployments: the deployments that were created.
        features: None for Arkor Cloud; a set makes it say that it has those of a self-hosted backend.
        oauth: how accounts log in; None for no accounts.
        url: its address, once somebody serves it.

    Thread-safety: a test may script and look while requests are served.
    """

    url: str

    def __init__(self, plan: Sequence[Mapping[str, Any]] = PLAN) -> None:
        self.plan = list(plan)
        self.jobs: dict[str, dict[str, Any]] = {}
        self._jobs_by_key: dict[str, dict[str, Any]] = {}
        self.deployments = Deployments()
        self.features: set[str] | None = None
        self.oauth: Mapping[str, Any] | None = None
        self._lock = threading.RLock()
        self._recorded: list[Recorded] = []
        self._scripted: list[tuple[str, str, Any]] = []
        self._projects: dict[str, list[dict[str, Any]]] = {}
        self._tokens: dict[str, str] = {}

    def settle(self, status: str, error: str | None = None) -> None:
        """Give every job this status, without an event."""
        with self._lock:
            for job in self.jobs.values():
                job.update(status=status, error=error, completedAt=TIMESTAMP)

    def know(self, token: str, org_slug: str) -> None:
        """Accept a token, as one of this organisation."""
        self._tokens[token] = org_slug

    def expire(self, token: str) -> None:
        """Accept a token no longer."""
        del self._tokens[token]

    # What a test looks at

    @property
    def requests(self) -> list[Recorded]:
        """Every request so far, in order."""
        with self._lock:
            return list(self._recorded)

    def calls(self, method: str, path: str) -> list[Recorded]:
        """Return the requests of one call; ``*`` in the path stands for one segment."""
        return [item for item in self.requests if item.method == method and _matches(item.path, path)]

    @property
    def streams(self) -> list[Recorded]:
        """The event streams that were asked for, in order."""
        return self.calls("GET", STREAM)

    # How it answers

    def _take(self, request: Recorded) -> Any:
        """Note a request, and return what a test scripted for it, or None."""
        with self._lock:
            self._recorded.append(request)
            for index, (method, path, item) in enumerate(self._scripted):
                if method == request.method and _matches(request.path, path):
                    del self._scripted[index]
                    return item
        return None

    def _respond(self, request: Recorded) -> tuple[int, Any]:
        """Return status and body; 200 without a body stands for an event stream."""
        return self._refuse(request) or self._route(request)

    def _refuse(self, request: Recorded) -> tuple[int, Any] | None:
        """Return why a request is refused before it is looked at."""
        if not re.match(r"arkor/\d", request.headers.get("x-arkor-client", "")):
            return 426, {
                "error": "sdk_version_unsupported",
                "supportedRange": ">=0.1",
                "upgrade": "pip install -U arkor",
            }
        if request.path.startswith("/v1/auth/"):
            return None
        org = self._org_of(request)
        if org is None:
            return 401, {"error": "Unknown token"}
        if request.query.get("orgSlug", org) != org:
            return 403, {"error": "Not a member of this organisation"}
        return None

    def _org_of(self, request: Recorded) -> str | None:
        return self._tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))

    def _route(self, request: Recorded) -> tuple[int, Any]:
        with self._lock:
            for method, path, route in _ROUTES:
                match = re.fullmatch(path, request.path)
                if match and method == request.method:
                    status, body = route(self, request, *match.groups())
                    return status, body
        return 404, {"error": "Not found"}

    def _anonymous(self, _: Recorded) -> tuple[int, Any]:
        number = len(self._tokens) + 1
        org = f"anon-{number}"
        self._tokens[f"token-{number}"] = org
        body = {"id": f"org_{number}", "slug": org, "name": "Anonymous"}
        return 200, {"token": f"token-{number}", "anonymousId": f"id-{number}", "kind": "cli", "personalOrg": body}

    def _cli_config(self, _: Recorded) -> tuple[int, Any]:
        return 200, self.oauth or {"auth0Domain": None, "clientId": None, "audience": None, "callbackPorts": []}

    def _me(self, request: Recorded) -> tuple[int, Any]:
        org = self._org_of(request)
        return 200, {"user": {"id": "user_1"}, "orgs": [{"id": "org_1", "slug": org, "name": "Anonymous"}]}

    def _capabilities(self, _: Recorded) -> tuple[int, Any]:
        if self.features is None:
            return 404, {"error": "Not found"}
        return 200, {"backend": "stand-in", "version": "0", "features": sorted(self.features)}

    def _create_project(self, request: Recorded) -> tuple[int, Any]:
        wanted, projects = request.json(), self._projects.setdefault(request.query["orgSlug"], [])
        if any(project["slug"] == wanted["slug"] for project in projects):
            return 409, {"error": "Slug is taken"}
        projects.append({"id": f"project_{len(projects) + 1}", "orgId": "org_1", **wanted})
        return 201, {"project": projects[-1]}

    def _list_projects(self, request: Recorded) -> tuple[int, Any]:
        org = request.query["orgSlug"]
        return 200, {"org": {"slug": org}, "projects": self._projects.get(org, [])}

    def _create_job(self, request: Recorded) -> tuple[int, Any]:
        wanted = request.json()
        key = request.headers["idempotency-key"] if "idempotent-jobs" in (self.features or ()) else ""
        if key in self._jobs_by_key:
            known = self._jobs_by_key[key]
            same = all(known[field] == wanted[field] for field in ("name", "config"))
            return (200, {"job": known}) if same else (409, {"error": "The key belongs to another job"})
        job_id = f"job_{len(self.jobs) + 1}"
        job = {"id": job_id, "orgId": "org_1", "projectId": "project_1", "status": "queued", "createdAt": TIMESTAMP}
        self.jobs[job_id] = {**wanted, **job}
        if key:
            self._jobs_by_key[key] = self.jobs[job_id]
        return 201, {"job": self.jobs[job_id]}

    def _list_jobs(self, _: Recorded) -> tuple[int, Any]:
        return 200, {"jobs": list(self.jobs.values())}

    def _job(self, _: Recorded, job_id: str) -> tuple[int, Any]:
        return (200, {"job": self.jobs[job_id]}) if job_id in self.jobs else (404, {"error": "No such job"})

    def _cancel(self, _: Recorded, job_id: str) -> tuple[int, Any]:
        job = self.jobs.get(job_id)
        if job is None:
            return 404, {"error": "No such job"}
        if job["status"] in _TERMINAL:
            return 409, {"error": f"The job is {job['status']} already"}
        job["status"] = "cancelled"
        return 200, {"job": job}

    def _events(self, _: Recorded, job_id: str) -> tuple[int, Any]:
        return (200, None) if job_id in self.jobs else (404, {"error": "No such job"})

    def _chat(self, _: Recorded) -> tuple[int, Any]:
        return 200, None

    def _deployments(self, request: Recorded, rest: str | None) -> tuple[int, Any]:
        return self.deployments.answer(request.method, rest, request.json() if request.body else {})

    def _planned(self, request: Recorded, job_id: str) -> list[bytes]:
        """Return the rest of the plan, and let the job be where its last event says."""
        done = int(request.headers.get("last-event-id", 0))
        job = self.jobs[job_id]
        with self._lock:
            if job["status"] in _TERMINAL - {_STATUS_AFTER.get(self.plan[-1]["type"]) if self.plan else None}:
                return [END]
            for event in self.plan:
                job["status"] = _STATUS_AFTER.get(event["type"], job["status"])
                job["error"] = event.get("error")
        return [frame(number, event, job_id) for number, event in enumerate(self.plan, 1) if number > done] + [END]


_ROUTES: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/v1/auth/anonymous", Contract._anonymous),
    ("GET", "/v1/auth/cli/config", Contract._cli_config),
    ("GET", "/v1/me", Contract._me),
    ("GET", "/v1/capabilities", Contract._capabilities),
    ("POST", "/v1/projects", Contract._create_project),
    ("GET", "/v1/projects", Contract._list_projects),
    ("POST", "/v1/jobs", Contract._create_job),
    ("GET", "/v1/jobs", Contract._list_jobs),
    ("GET", "/v1/jobs/([^/]+)", Contract._job),
    ("POST", "/v1/jobs/([^/]+)/cancel", Contract._cancel),
    ("GET", "/v1/jobs/([^/]+)/events/stream", Contract._events),
    ("POST", "/v1/inference/chat", Contract._chat),
    *((method, "/v1/endpoints(?:/(.*))?", Contract._deployments) for method in ("GET", "POST", "PATCH", "DELETE")),
)


def _matches(path: str, pattern: str) -> bool:
    return re.fullmatch(pattern.replace("*", "[^/]+"), path) is not None


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
            return
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
