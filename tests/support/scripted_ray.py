"""A stand-in for the head of a Ray cluster: its jobs are what the test says, and its answers can fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class ScriptedRay:
    """Keeps jobs and runs none. The test changes them, and what is answered.

    Attributes:
        jobs: what was submitted and not deleted, by id, as Ray describes it.
        asked: every request, as method and path.
        headers: those of the last request.
        token: what requests have to carry; None takes all.
        answers: for the next requests, in place of the usual answer: a status and a text; a status of 0 hangs up,
            after the request was done.
        log: the output of every job; None if its node is gone.
        fails_to_delete: whether no job can be removed.
        placed: the names of the placement groups that have room.
        nodes: the resources of each node that is there.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.headers: dict[str, str] = {}
        self.token: str | None = None
        self.answers: list[tuple[int, str]] = []
        self.log: str | None = "out\n"
        self.fails_to_delete = False
        self.placed: list[str] = []
        self.nodes: list[dict[str, float]] = []
        ray = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                ray._handle(self)

            do_POST = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def end(self, job_id: str, status: str, **details: Any) -> None:
        """Have a job end."""
        self.jobs[job_id] |= {"status": status, **details}

    def close(self) -> None:
        """Answer nothing any more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers.get("Content-Length") or 0)) or b"null")
        self.asked.append(f"{request.command} {request.path}")
        self.headers = dict(request.headers)
        path = request.path.removeprefix("/api/")
        status, text = self._refusal() or self._state(path) or self._answer(request.command, path, body)
        if self.answers:
            status, text = self.answers.pop(0)
        if status == 0:
            return
        content = text.encode()
        request.send_response(status)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _refusal(self) -> tuple[int, str] | None:
        given = self.headers.get("Authorization")
        if self.token is None or given == f"Bearer {self.token}":
            return None
        return (403, "Forbidden") if given else (401, "Unauthorized")

    def _answer(self, method: str, path: str, body: Any) -> tuple[int, str]:
        if path == "version":
            return 200, json.dumps({"version": "4", "ray_version": "2.60.0"})
        if path == "jobs/":
            return self._submit(body) if method == "POST" else (200, json.dumps(list(self.jobs.values())))
        job_id, _, what = path.removeprefix("jobs/").partition("/")
        if job_id not in self.jobs:
            return 404, f"Job {job_id} does not exist"
        if what == "logs":
            return (500, "no such node") if self.log is None else (200, json.dumps({"logs": self.log}))
        if method == "DELETE":
            if self.fails_to_delete:
                return 500, "not removed"
            del self.jobs[job_id]
        return 200, json.dumps(self.jobs.get(job_id, {}))

    def _state(self, path: str) -> tuple[int, str] | None:
        if path.startswith("v0/placement_groups?filter_keys=state&filter_predicates=%3D&filter_values=CREATED&"):
            found: list[dict[str, Any]] = [{"name": name, "state": "CREATED"} for name in self.placed]
        elif path.startswith("v0/nodes?detail=true&"):
            gone = {"state": "DEAD", "resources_total": {"CPU": 99.0, "GPU": 99.0}}
            found = [gone, *({"state": "ALIVE", "resources_total": node} for node in self.nodes)]
        else:
            return None
        return 200, json.dumps({"result": True, "data": {"result": {"result": found}}})

    def _submit(self, body: dict[str, Any]) -> tuple[int, str]:
        job_id = body["submission_id"]
        if job_id in self.jobs:
            return 400, f"Traceback …\nValueError: Job with submission_id {job_id} already exists."
        self.jobs[job_id] = {**body, "type": "SUBMISSION", "status": "PENDING", "start_time": len(self.jobs)}
        return 200, json.dumps({"submission_id": job_id})


@contextmanager
def scripted_ray() -> Iterator[ScriptedRay]:
    """Run one inside the block."""
    ray = ScriptedRay()
    try:
        yield ray
    finally:
        ray.close()
