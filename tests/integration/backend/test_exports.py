"""Exports over HTTP: queued, made, cancelled, refused, and what a crash, a restart and a deletion do to them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.backend import BackendProcess, Client, is_running
from tests.support.eventually import eventually
from tests.support.job_tasks import TaskCalls, complete

HOLD: dict[str, Any] = {"to": "merged", "dtype": "float16"}
CRASH: dict[str, Any] = {"to": "merged", "dtype": "bfloat16"}


CALLS = TaskCalls("export")
post, export, ended, begun = CALLS.post, CALLS.get, CALLS.ended, CALLS.begun


def left(backend: BackendProcess, job_id: str) -> list[str]:
    """Return what exports have left: half made folders, and archives."""
    folder = backend.job_dir(job_id)
    return [path.name for path in (*folder.glob("exports/*/made"), *folder.glob("artifacts/*export-*"))]


def test_an_export_ends_with_an_artifact(client: Client, shared: BackendProcess, trained: str) -> None:
    """It was asked through the chat process; nothing else is left of it."""
    made = post(client, trained, to="adapter")
    assert made.status_code == 201
    found = ended(client, trained, made.json()["export"]["id"])
    assert (found["status"], found["verdict"], found["done"]) == ("completed", "answers as chats do", 1)
    listed = client.get(f"/v1/jobs/{trained}/artifacts").json()["artifacts"]
    [artifact] = [one for one in listed if one["kind"] == "export"]
    assert artifact["name"] == found["artifact"] == f"export-adapter-{found['id'].removeprefix('export_')}"
    assert b"right" in client.get(f"/v1/jobs/{trained}/artifacts/{artifact['name']}").content
    assert left(shared, trained) == [f"{artifact['name']}.tar"]
    assert client.get(f"/v1/jobs/{trained}/exports").json()["exports"] == [found]


def test_a_repeat_with_the_same_key_finds_the_first(client: Client, trained: str) -> None:
    """Another request under it is refused."""
    first, again, other = (
        post(client, trained, {"Idempotency-Key": "one"}, to=to) for to in ("adapter", "adapter", "merged")
    )
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert first.json()["export"]["id"] == again.json()["export"]["id"]


def test_a_crash_leaves_nothing_and_the_next_try_works(client: Client, shared: BackendProcess, trained: str) -> None:
    """The reason has the end of the log."""
    made = post(client, trained, **CRASH).json()["export"]
    failed = ended(client, trained, made["id"])
    assert failed["error"] == "Its process ended with exit code 7.\nValueError: scripted crash"
    assert left(shared, trained) == []
    made = post(client, trained, to="merged").json()["export"]
    assert ended(client, trained, made["id"])["status"] == "completed"


def test_a_killed_or_cancelled_process_leaves_nothing(client: Client, shared: BackendProcess, trained: str) -> None:
    """Kill -9, and a cancel, which ends it at once."""
    made = post(client, trained, **HOLD).json()["export"]
    os.kill(begun(shared, trained, made["id"]), signal.SIGKILL)
    assert ended(client, trained, made["id"])["status"] == "failed"
    assert left(shared, trained) == []
    made = post(client, trained, **HOLD).json()["export"]
    pid = begun(shared, trained, made["id"])
    cancel = f"/v1/jobs/{trained}/exports/{made['id']}/cancel"
    assert client.request("POST", cancel).json()["export"]["status"] == "cancelled"
    eventually(lambda: not is_running(pid), "its process is gone")
    eventually(lambda: left(shared, trained) == [], "nothing is left")
    assert client.request("POST", cancel).status_code == 409


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_one_that_a_stop_cuts_off_is_made_after_the_next_start(
    start: Callable[..., BackendProcess], config: dict[str, Any], end: str
) -> None:
    """No process stays, however the backend ends; a deletion of the job then removes all."""
    backend = start()
    client = backend.client()
    job_id = complete(client, backend, config)
    made = post(client, job_id, **HOLD).json()["export"]
    pid = begun(backend, job_id, made["id"])
    getattr(backend, end)()
    eventually(lambda: not is_running(pid), "its process is gone")
    (backend.job_dir(job_id) / "exports" / made["id"] / "pid").unlink()
    backend.start()
    again = backend.client_as(client)
    pid = begun(backend, job_id, made["id"])
    assert again.request("DELETE", f"/v1/jobs/{job_id}").status_code == 204
    assert not is_running(pid)
    assert not backend.job_dir(job_id).exists()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, "to: is missing: give one of adapter, merged, gguf, ollama, vllm"),
        ({"to": "gguff"}, "to: must be one of adapter, merged, gguf, ollama, vllm, not 'gguff'"),
        ({"to": "adapter", "dtype": "float16"}, "dtype: changes nothing in an export to 'adapter'"),
        ({"to": "merged", "quantization": "q8_0"}, "quantization: changes nothing in an export to 'merged'"),
        ({"to": "gguf", "quantization": "q3"}, "quantization: must be one of bf16, f16, q8_0, q6_k"),
        ({"to": "ollama", "adapterOnly": True}, "adapter_only: changes nothing in an export to 'ollama'"),
        (
            {"to": "gguf", "adapterOnly": True, "quantization": "f16"},
            "quantization: changes nothing in an adapter alone",
        ),
        ({"to": "merged", "stepp": 3}, "stepp: An export has no such option; did you mean step?"),
        ({"to": "merged", "step": 0}, "step: must be a whole number, 1 to"),
    ],
)
def test_bad_options_are_refused(client: Client, trained: str, options: dict[str, Any], error: str) -> None:
    """With what is wrong; there is no export."""
    answer = post(client, trained, **options)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(error)
    assert client.get(f"/v1/jobs/{trained}/exports").json() == {"exports": []}


def test_a_checkpoint_that_is_not_there_fails_it(client: Client, trained: str) -> None:
    """The reason names those that there are."""
    made = post(client, trained, to="adapter", step=3).json()["export"]
    assert "has no checkpoint of step 3" in ended(client, trained, made["id"])["error"]


def test_it_waits_for_its_job(client: Client, shared: BackendProcess, config: dict[str, Any]) -> None:
    """And is cancelled with it; a job that failed has nothing to export."""
    job_id = client.submit("gated:1", config).json()["job"]["id"]
    made = post(client, job_id, to="adapter").json()["export"]
    assert export(client, job_id, made["id"])["status"] == "queued"
    client.request("POST", f"/v1/jobs/{job_id}/cancel")
    assert ended(client, job_id, made["id"])["error"] == "The job was cancelled, so there is no adapter."
    assert post(client, job_id, to="adapter").status_code == 409


def test_another_project_sees_nothing_of_it(client: Client, shared: BackendProcess, trained: str) -> None:
    """Neither the list nor one of them."""
    made = post(client, trained, to="adapter").json()["export"]
    stranger = shared.client()
    assert stranger.get(f"/v1/jobs/{trained}/exports").status_code == 404
    assert stranger.get(f"/v1/jobs/{trained}/exports/{made['id']}").status_code == 404
