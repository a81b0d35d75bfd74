"""Listing models, and pulling one in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tests.support.backend import BackendProcess, Client, in_parallel
from tests.support.eventually import eventually

NAME = "smollm2-135m"


def _entry(client: Client) -> dict[str, Any]:
    models = client.get("/v1/models").json()["models"]
    (entry,) = [model for model in models if model["id"] == NAME]
    return dict(entry)


def _pull(client: Client, name: str = NAME) -> int:
    return client.request("POST", f"/v1/models/{name}/pull").status_code


def test_the_catalogue_is_listed(client: Client) -> None:
    """A fresh home has nothing that is ready."""
    entry = _entry(client)
    assert entry["ready"] is False
    assert "pull" not in entry


def test_an_unknown_model_cannot_be_pulled(client: Client) -> None:
    """404, and no process is started for it."""
    assert _pull(client, "nothing") == 404
    assert _pull(client, "..%2Fnothing") == 404


def test_a_pull_runs_once_and_tells_how_far_it_is(start: Callable[..., BackendProcess]) -> None:
    """Its failure is kept until the next try; its process goes with the backend."""
    backend = start()
    client = backend.client()
    assert in_parallel(4, lambda: _pull(client)) == [202] * 4
    eventually(lambda: _entry(client)["pull"].get("done") == 10, "the first progress is known")
    assert _entry(client)["pull"] == {"state": "running", "phase": "download", "done": 10, "total": 90}
    assert (backend.home / "pulls-started").read_text() == f"{NAME}\n"
    (backend.home / "pull").write_text("error")
    eventually(lambda: _entry(client)["pull"]["state"] == "failed", "the failure is known")
    assert _entry(client)["pull"]["error"] == "no network: scripted"
    (backend.home / "pull").unlink()
    assert _pull(client) == 202
    assert _entry(client)["pull"]["state"] == "running"
    assert backend.stop() == 0


def test_a_pull_keeps_an_idle_backend_alive(prepare: Callable[..., BackendProcess]) -> None:
    """Fetching is work too; when it is done, the backend ends."""
    backend = prepare(idle_exit=0.3)
    with backend.lock():
        assert _pull(backend.start().client()) == 202
    assert backend.process is not None
    threading.Event().wait(0.9)  # three times its patience
    assert backend.process.poll() is None
    (backend.home / "pull").write_text("ready")
    assert backend.process.wait(10) == 0
