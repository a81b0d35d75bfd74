"""The jobs of a Ray cluster, over the REST API of its head; nothing of Ray is imported.

Ray's documentation, "Ray Jobs REST API", describes the calls, and "Token authentication" the token.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import requests
from requests.auth import AuthBase

from arkor.backend.processes.engine import EngineAway

PENDING = "PENDING"
STOPPED = "STOPPED"
SUCCEEDED = "SUCCEEDED"
_ENDED = frozenset({STOPPED, SUCCEEDED, "FAILED"})
_CONNECT_S = 5.0
_ANSWER_S = 30.0
_UNAUTHORIZED, _FORBIDDEN, _MISSING = 401, 403, 404
_MOST_LISTED = 10_000  # Ray gives no more
_ROUNDING = 1e-6
_TOKEN_FILE = Path(".ray", "auth_token")


class RayRefuses(EngineAway):
    """Something answers that will not work for this backend as it was started: a wrong token, or no Ray."""


@attrs.frozen(kw_only=True)
class RayJob:
    """A job as Ray describes it.

    Attributes:
        id: its submission id.
        status: one of Ray's words.
        has_begun: whether a node has begun to run it.
        exit_code: of its command; None while it runs, and if Ray does not know.
        error_type: what failed, in Ray's words, or None.
        message: what Ray says about it.
        metadata: what was submitted with it.
        started_at: when it was submitted, in milliseconds since the epoch.
    """

    id: str
    status: str
    has_begun: bool = False
    exit_code: int | None = None
    error_type: str | None = None
    message: str = ""
    metadata: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    started_at: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether it will not change any more."""
        return self.status in _ENDED


class RayJobs:
    """Submits jobs, stops them and asks about them. Thread-safe.

    Args:
        address: the dashboard of the head, such as ``http://head:8265``.
        environment: has Ray's own variables of authentication.
    """

    def __init__(self, address: str, environment: Mapping[str, str] | None = None) -> None:
        self.address = address.rstrip("/")
        self._environment = os.environ if environment is None else environment

    def version(self) -> str:
        """Return the version of Ray.

        Raises:
            RayRefuses: it is not Ray, or wants another token.
            EngineAway: no answer.
        """
        return str(self._there("version")["ray_version"])

    def submit(self, job_id: str, command: str, **details: Any) -> None:
        """Submit a job; do nothing if there is one with this id, as after an answer that was lost.

        Args:
            job_id: its submission id.
            command: what the shell of a node runs.
            details: further fields of Ray's request.

        Raises:
            EngineAway: no answer.
            OSError: Ray refuses it.
        """
        answer = self._ask("POST", "jobs/", json={"submission_id": job_id, "entrypoint": command, **details})
        if not answer.ok and self.find(job_id) is None:
            reason = answer.text.strip().rpartition("\n")[2]  # the last line of a traceback
            raise OSError(f"Ray at {self.address} refused the job with status {answer.status_code}: {reason:.500}")

    def all(self) -> dict[str, RayJob]:
        """Return every job that was submitted to the cluster and not deleted.

        Raises:
            EngineAway: no answer.
        """
        found = [_job(body) for body in self._there("jobs/") if body.get("submission_id")]
        return {job.id: job for job in found}

    def find(self, job_id: str) -> RayJob | None:
        """Return a job, or None if the cluster has none with this id.

        Raises:
            EngineAway: no answer.
        """
        body = self._json("GET", f"jobs/{job_id}")
        return None if body is None else _job(body)

    def log(self, job_id: str) -> str:
        """Return the output of a job; empty if the node that had it is gone.

        Raises:
            EngineAway: no answer, which a lost node may be the reason of.
        """
        body = self._json("GET", f"jobs/{job_id}/logs")
        return "" if body is None else str(body["logs"])

    def stop(self, job_id: str) -> None:
        """Have a job's processes asked to end, and killed after its stop time; do nothing for one that has ended.

        Raises:
            EngineAway: no answer.
        """
        self._json("POST", f"jobs/{job_id}/stop")

    def delete(self, job_id: str) -> None:
        """Remove a job that has ended from Ray's list.

        Raises:
            EngineAway: no answer.
        """
        self._json("DELETE", f"jobs/{job_id}")

    def placed(self) -> set[str]:
        """Return the names of the placement groups that the cluster has room for now.

        Raises:
            EngineAway: no answer.
        """
        query = "filter_keys=state&filter_predicates=%3D&filter_values=CREATED"
        return {group["name"] for group in self._state(f"placement_groups?{query}")}

    def room(self, cpus: float, gpus: float) -> int:
        """Return how many devices the nodes that are there have room for, if nothing else runs on them.

        Args:
            cpus: that each device reserves, above 0.
            gpus: that each device reserves.

        Raises:
            EngineAway: no answer.
        """
        nodes = [node["resources_total"] for node in self._state("nodes?detail=true") if node["state"] == "ALIVE"]
        wanted = {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
        return sum(min(int(node.get(name, 0) / each + _ROUNDING) for name, each in wanted.items()) for node in nodes)

    def _state(self, path: str) -> list[dict[str, Any]]:
        """Return a list of Ray's State API."""
        found: list[dict[str, Any]] = self._there(f"v0/{path}&limit={_MOST_LISTED}")["data"]["result"]["result"]
        return found

    def _there(self, path: str) -> Any:
        body = self._json("GET", path)
        if body is None:
            raise RayRefuses(f"{self.address} has no /api/{path}: is it Ray's dashboard?")
        return body

    def _json(self, method: str, path: str) -> Any:
        """Return the body of an answer; None for something that is not there."""
        answer = self._ask(method, path)
        if answer.status_code == _MISSING:
            return None
        if not answer.ok:
            raise EngineAway(f"Ray at {self.address} failed with status {answer.status_code}.")
        try:
            return answer.json()
        except ValueError as exc:
            raise RayRefuses(f"{self.address} does not answer as Ray does: is it Ray's dashboard?") from exc

    def _ask(self, method: str, path: str, json: Any = None) -> requests.Response:
        try:
            answer = requests.request(
                method,
                f"{self.address}/api/{path}",
                json=json,
                auth=_Bearer(ray_token(self._environment)),
                timeout=(_CONNECT_S, _ANSWER_S),
                allow_redirects=False,
            )
        except requests.RequestException as exc:
            raise EngineAway(
                f"Ray does not answer at {self.address} ({type(exc).__name__}): is its head running, and is this the "
                "address of its dashboard?"
            ) from exc
        if answer.status_code == _UNAUTHORIZED:
            raise RayRefuses(
                f"Ray at {self.address} wants a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or "
                "RAY_AUTH_TOKEN_PATH, as on the nodes."
            )
        if answer.status_code == _FORBIDDEN:
            raise RayRefuses(f"Ray at {self.address} refuses the token: it is not the one of this cluster.")
        return answer


class _Bearer(AuthBase):
    """Sends the token, or nothing; without it, requests would send a password of ``~/.netrc``."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def ray_token(environment: Mapping[str, str]) -> str | None:
    """Return the token that Ray's own client would send, or None if it would send none.

    Args:
        environment: has ``RAY_AUTH_MODE`` and the others; without a mode, a token that is there is sent.

    Raises:
        RayRefuses: a token is wanted and cannot be read.
    """
    mode = environment.get("RAY_AUTH_MODE", "").lower()
    if mode not in {"", "token"}:
        return None
    try:
        token = _read_token(environment)
    except OSError as exc:
        raise RayRefuses(f"The token for Ray cannot be read: {exc.strerror}: {exc.filename}") from exc
    if mode and not token:
        raise RayRefuses("RAY_AUTH_MODE is token, and there is no token: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH.")
    return token or None


def _read_token(environment: Mapping[str, str]) -> str:
    if environment.get("RAY_AUTH_TOKEN"):
        return environment["RAY_AUTH_TOKEN"].strip()
    if environment.get("RAY_AUTH_TOKEN_PATH"):
        return Path(environment["RAY_AUTH_TOKEN_PATH"]).expanduser().read_text().strip()
    file = Path(environment.get("HOME", "")) / _TOKEN_FILE
    return file.read_text().strip() if file.exists() else ""


def _job(body: Mapping[str, Any]) -> RayJob:
    return RayJob(
        id=body["submission_id"],
        status=body["status"],
        has_begun=body.get("driver_node_id") is not None,
        exit_code=body.get("driver_exit_code"),
        error_type=body.get("error_type"),
        message=body.get("message") or "",
        metadata=body.get("metadata") or {},
        started_at=body.get("start_time") or 0,
    )
