"""Evaluations and exports over HTTP: asked for, looked at, and waited for."""

from __future__ import annotations

from typing import Any

import attrs
import requests

from tests.support.backend import BackendProcess, Client
from tests.support.eventually import eventually


@attrs.frozen
class TaskCalls:
    """The calls of one kind of work.

    Attributes:
        noun: what one is called: ``evaluation`` or ``export``.
    """

    noun: str

    def post(
        self, client: Client, job_id: str, headers: dict[str, str] | None = None, **options: Any
    ) -> requests.Response:
        """Ask for one."""
        return client.request("POST", f"/v1/jobs/{job_id}/{self.noun}s", json=options, headers=headers or {})

    def get(self, client: Client, job_id: str, task_id: str) -> dict[str, Any]:
        """Return one as it is now."""
        found: dict[str, Any] = client.get(f"/v1/jobs/{job_id}/{self.noun}s/{task_id}").json()[self.noun]
        return found

    def ended(self, client: Client, job_id: str, task_id: str) -> dict[str, Any]:
        """Wait until one has ended, and return it."""
        active = {"queued", "running"}
        eventually(lambda: self.get(client, job_id, task_id)["status"] not in active, f"the {self.noun} has ended")
        return self.get(client, job_id, task_id)

    def begun(self, backend: BackendProcess, job_id: str, task_id: str) -> int:
        """Wait until one holds, and return the id of its process."""
        path = backend.job_dir(job_id) / f"{self.noun}s" / task_id / "pid"
        eventually(path.exists, f"the {self.noun} holds")
        return int(path.read_text())


def complete(client: Client, backend: BackendProcess, config: dict[str, Any]) -> str:
    """Train a job that leaves two checkpoints, and return its id when its worker has left."""
    job_id = str(client.submit("complete:4", {**config, "saveSteps": 2}).json()["job"]["id"])
    client.wait_for(job_id, "completed")
    backend.wait_settled(job_id)
    return job_id
