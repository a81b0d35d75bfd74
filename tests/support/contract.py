"""What Arkor Cloud answers, and what a test has it answer instead; who listens on which socket is another matter."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from tests.support.deployments import Deployments
from tests.support.events import END, PLAN, TIMESTAMP, frame

STREAM = "/v1/jobs/*/events/stream"
CHAT = "/v1/inference/chat"
COMPLETIONS = "/v1/inference/completions"


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

    def _pause(self, _: Recorded, job_id: str) -> tuple[int, Any]:
        job = self.jobs.get(job_id)
        if job is None or "pause-jobs" not in (self.features or ()):
            return 404, {"error": "Not found"}
        if job["status"] in _TERMINAL:
            return 409, {"error": f"The job is {job['status']} already"}
        job.update(status="paused", pauseReason="it was paused by a person")
        return 200, {"job": job}

    def _unpause(self, _: Recorded, job_id: str) -> tuple[int, Any]:
        job = self.jobs.get(job_id)
        if job is None or "pause-jobs" not in (self.features or ()):
            return 404, {"error": "Not found"}
        if job["status"] != "paused":
            return 409, {"error": f"The job is {job['status']}, not paused"}
        job.update(status="queued", pauseReason=None)
        return 200, {"job": job}

    def _resume(self, request: Recorded, job_id: str) -> tuple[int, Any]:
        job, key = self.jobs.get(job_id), request.headers["idempotency-key"]
        if job is None or "resume-jobs" not in (self.features or ()):
            return 404, {"error": "Not found"}
        if key in self._jobs_by_key:
            return 200, {"job": self._jobs_by_key[key]}
        if job["status"] not in {"failed", "cancelled"}:
            return 409, {"error": f"The job is {job['status']}"}
        new_id = f"job_{len(self.jobs) + 1}"
        began = {"jobId": job_id, "step": 2}
        self.jobs[new_id] = {**job, "id": new_id, "status": "queued", "error": None, "resumedFrom": began}
        self._jobs_by_key[key] = self.jobs[new_id]
        return 201, {"job": self.jobs[new_id]}

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


def _matches(path: str, pattern: str) -> bool:
    return re.fullmatch(pattern.replace("*", "[^/]+"), path) is not None


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
    ("POST", "/v1/jobs/([^/]+)/pause", Contract._pause),
    ("POST", "/v1/jobs/([^/]+)/unpause", Contract._unpause),
    ("POST", "/v1/jobs/([^/]+)/resume", Contract._resume),
    ("GET", "/v1/jobs/([^/]+)/events/stream", Contract._events),
    ("POST", "/v1/inference/(?:chat|completions)", Contract._chat),
    *((method, "/v1/endpoints(?:/(.*))?", Contract._deployments) for method in ("GET", "POST", "PATCH", "DELETE")),
)
