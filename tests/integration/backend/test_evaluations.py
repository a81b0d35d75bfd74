"""Evaluations over HTTP: queued, made, cancelled, refused, and what a restart and a deletion do to them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.backend import BackendProcess, Client, is_running
from tests.support.eventually import eventually
from tests.support.job_tasks import TaskCalls, complete

ROWS = b'{"prompt": "1 + 1?", "completion": "2"}\n' * 4
SHA256 = hashlib.sha256(ROWS).hexdigest()
HOLD, CRASH, FAIL, STUCK = 1, 2, 3, 4  # of maxTokens: see tests.support.scripted_evaluation


CALLS = TaskCalls("evaluation")
post, evaluation, ended, begun = CALLS.post, CALLS.get, CALLS.ended, CALLS.begun


def test_an_evaluation_ends_with_a_report_that_is_an_artifact_too(client: Client, trained: str) -> None:
    """Both candidates were asked through the chat process."""
    asked = post(client, trained, limit=5)
    made = asked.json()["evaluation"]
    assert (asked.status_code, made["status"], made["options"]) == (201, "queued", {"limit": 5})
    done = ended(client, trained, made["id"])
    assert done["verdict"].startswith("better: +100 points exactly right, 95 % interval ")
    assert {name: done[name] for name in ("status", "done", "total")} == {"status": "completed", "done": 2, "total": 2}
    report = client.get(f"/v1/jobs/{trained}/evaluations/{made['id']}/report").json()
    assert report["candidates"] == ["base", "adapter"]
    assert report["table"][0]["answers"]["adapter"] == {"text": "right", "finishReason": "stop"}
    (artifact,) = (
        one for one in client.get(f"/v1/jobs/{trained}/artifacts").json()["artifacts"] if one["kind"] == "report"
    )
    assert artifact["name"] == done["artifact"]
    assert client.get(f"/v1/jobs/{trained}/artifacts/{artifact['name']}").status_code == 200
    assert [one["id"] for one in client.get(f"/v1/jobs/{trained}/evaluations").json()["evaluations"]] == [made["id"]]


def test_checkpoints_and_the_adapter_of_another_job_are_candidates(
    client: Client, shared: BackendProcess, config: dict[str, Any], trained: str
) -> None:
    """The one that the others are compared with comes first."""
    other = complete(client, shared, config)
    against = {"kind": "final", "jobId": other}
    made = post(client, trained, checkpoints=[2], against=against).json()["evaluation"]
    assert ended(client, trained, made["id"])["status"] == "completed"
    report = client.get(f"/v1/jobs/{trained}/evaluations/{made['id']}/report").json()
    assert report["candidates"] == [f"{other}:final", "adapter", "checkpoint-2"]


def test_a_repeat_with_the_same_key_finds_the_first(client: Client, trained: str) -> None:
    """Another request under the key is refused."""
    key = {"Idempotency-Key": "k"}
    first, again = (post(client, trained, key, limit=3) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["evaluation"]["id"] == again.json()["evaluation"]["id"]
    assert post(client, trained, key, limit=4).status_code == 409


@pytest.mark.parametrize(
    ("how", "error"),
    [
        (CRASH, "Its process ended with exit code 7.\nValueError: scripted crash"),
        (FAIL, "rows: has changed since the job was trained"),
    ],
)
def test_one_that_fails_says_why(client: Client, trained: str, how: int, error: str) -> None:
    """There is no report, and the next evaluation is made."""
    made = post(client, trained, maxTokens=how).json()["evaluation"]
    failed = ended(client, trained, made["id"])
    assert (failed["status"], failed["error"]) == ("failed", error)
    refused = client.get(f"/v1/jobs/{trained}/evaluations/{made['id']}/report")
    assert refused.status_code == 409
    assert error.splitlines()[0] in refused.json()["error"]
    assert ended(client, trained, post(client, trained).json()["evaluation"]["id"])["status"] == "completed"


@pytest.mark.parametrize("how", [HOLD, STUCK])
def test_a_running_one_is_cancelled_at_once(client: Client, shared: BackendProcess, trained: str, how: int) -> None:
    """Its process is gone, also while the model answers."""
    made = post(client, trained, maxTokens=how).json()["evaluation"]
    eventually(lambda: evaluation(client, trained, made["id"])["status"] == "running", "it runs")
    pid = begun(shared, trained, made["id"]) if how == HOLD else None
    path = f"/v1/jobs/{trained}/evaluations/{made['id']}/cancel"
    assert client.request("POST", path).json()["evaluation"]["status"] == "cancelled"
    assert client.request("POST", path).status_code == 409
    if pid is not None:
        eventually(lambda: not is_running(pid), "its process is gone")
    assert ended(client, trained, post(client, trained).json()["evaluation"]["id"])["status"] == "completed"


def test_it_waits_for_its_job(client: Client, shared: BackendProcess, config: dict[str, Any]) -> None:
    """And is cancelled if the job is."""
    job_id = client.submit("gated:2", config).json()["job"]["id"]
    made = post(client, job_id).json()["evaluation"]
    shared.allow(job_id, 1)
    assert evaluation(client, job_id, made["id"])["status"] == "queued"
    shared.allow(job_id, 2)
    assert ended(client, job_id, made["id"])["status"] == "completed"
    other = client.submit("gated:2", config).json()["job"]["id"]
    made = post(client, other).json()["evaluation"]
    client.request("POST", f"/v1/jobs/{other}/cancel")
    cancelled = ended(client, other, made["id"])
    assert (cancelled["status"], cancelled["error"]) == (
        "cancelled",
        "The job was cancelled, so there is no adapter.",
    )
    assert post(client, other).status_code == 409


def test_a_setting_of_the_job_asks_for_one(client: Client, config: dict[str, Any]) -> None:
    """A job that holds rows out is followed by the check alone otherwise; a dry run by nothing."""
    held_out = {**config, "datasetSplit": {"evalFraction": 0.5}}
    found = {}
    settings: dict[str, dict[str, Any]] = {
        "asked": {"evaluation": {"limit": 3}},
        "check": {},
        "dry": {"dryRun": True},
    }
    for name, more in settings.items():
        job_id = client.submit("complete:1", {**held_out, **more}).json()["job"]["id"]
        client.wait_for(job_id, "completed")
        made = client.get(f"/v1/jobs/{job_id}/evaluations").json()["evaluations"]
        found[name] = [one["options"] for one in made]
        assert all(ended(client, job_id, one["id"])["status"] == "completed" for one in made)
    assert found == {"asked": [{"limit": 3}], "check": [{"limit": 0, "retention": False}], "dry": []}


def test_the_check_waits_until_nothing_trains(start: Callable[..., BackendProcess], config: dict[str, Any]) -> None:
    """It would take memory from the training; an evaluation that somebody asked for does not wait."""
    backend = start(max_parallel=2)
    client = backend.client()
    training = client.submit("gated:1", config).json()["job"]["id"]
    backend.worker_pid(training)
    job_id = client.submit("complete:1", {**config, "datasetSplit": {"evalFraction": 0.5}}).json()["job"]["id"]
    client.wait_for(job_id, "completed")
    asked = post(client, job_id).json()["evaluation"]
    assert ended(client, job_id, asked["id"])["status"] == "completed"
    (check, _) = client.get(f"/v1/jobs/{job_id}/evaluations").json()["evaluations"]
    assert check["status"] == "queued"
    backend.allow(training, 1)
    assert ended(client, job_id, check["id"])["status"] == "completed"


def test_the_check_can_be_turned_off(start: Callable[..., BackendProcess], config: dict[str, Any]) -> None:
    """By who runs the backend; one that a job asks for is made all the same."""
    backend = start(no_check_served=True)
    client = backend.client()
    held_out = {**config, "datasetSplit": {"evalFraction": 0.5}}
    job_id = client.submit("complete:1", held_out).json()["job"]["id"]
    assert client.get(f"/v1/jobs/{job_id}/evaluations").json() == {"evaluations": []}
    job_id = client.submit("complete:1", {**held_out, "evaluation": {}}).json()["job"]["id"]
    assert len(client.get(f"/v1/jobs/{job_id}/evaluations").json()["evaluations"]) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"scorers": ["exakt"]},
        {"rows": {"type": "dataset", "id": "0" * 64}},
        {"rows": {"type": "blob", "url": "http://127.0.0.1/rows"}},
    ],
)
def test_a_job_whose_evaluation_could_not_be_made_is_refused(
    client: Client, config: dict[str, Any], options: dict[str, Any]
) -> None:
    """Before hours of training, not after them."""
    held_out = {**config, "datasetSplit": {"evalFraction": 0.5}}
    answer = client.submit("complete:1", {**held_out, "evaluation": options})
    assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (422, next(iter(options)))


@pytest.mark.parametrize(
    ("options", "status", "error"),
    [
        ({"limit": -1}, 422, "limit: must be a whole number, 0 to 1000, not -1"),
        ({"limt": 3}, 422, "limt: An evaluation has no such option; did you mean limit?"),
        ({"scorers": ["exakt"]}, 422, "scorers: there is no scorer 'exakt'; did you mean exact?"),
        ({"rows": {"type": "dataset", "id": "0" * 64}}, 422, "rows: this project has no data set"),
        (
            {"rows": {"type": "blob", "url": "https://example.com/rows", "token": "secret"}},
            422,
            "rows: with a token cannot be kept by the backend: download them, and name the file",
        ),
        ({"rows": {"type": "blob", "url": "http://127.0.0.1/rows"}}, 422, "rows: url: 127.0.0.1 is an address that is"),
        ({"against": {"kind": "final", "jobId": "job_none"}}, 404, "There is no job 'job_none' in this project."),
    ],
)
def test_bad_options_are_refused(
    client: Client, trained: str, options: dict[str, Any], status: int, error: str
) -> None:
    """With what is wrong; there is no evaluation, and no token in the answer."""
    answer = post(client, trained, **options)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(error)
    assert "secret" not in answer.text
    assert client.get(f"/v1/jobs/{trained}/evaluations").json() == {"evaluations": []}


def test_a_checkpoint_that_is_not_there_fails_it(client: Client, trained: str) -> None:
    """The reason names the checkpoints that there are."""
    made = post(client, trained, checkpoints=[3]).json()["evaluation"]
    failed = ended(client, trained, made["id"])
    assert failed["error"] == (
        f"Job {trained} has no checkpoint of step 3: it is completed; it has checkpoint-2, checkpoint-4, adapter."
    )


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_one_that_a_stop_cuts_off_is_made_after_the_next_start(
    start: Callable[..., BackendProcess], config: dict[str, Any], end: str
) -> None:
    """No process stays, however the backend ends."""
    backend = start()
    client = backend.client()
    job_id = complete(client, backend, config)
    made = post(client, job_id, maxTokens=HOLD).json()["evaluation"]
    pid = begun(backend, job_id, made["id"])
    getattr(backend, end)()
    eventually(lambda: not is_running(pid), "its process is gone")
    (backend.job_dir(job_id) / "evaluations" / made["id"] / "pid").unlink()
    backend.start()
    begun(backend, job_id, made["id"])
    again = backend.client_as(client)
    again.request("POST", f"/v1/jobs/{job_id}/evaluations/{made['id']}/cancel")
    assert evaluation(again, job_id, made["id"])["status"] == "cancelled"


def test_deleting_the_job_deletes_its_evaluations_and_their_rows(
    client: Client, shared: BackendProcess, trained: str
) -> None:
    """Also one that is being made."""
    assert client.request("PUT", f"/v1/datasets/{SHA256}", data=ROWS).status_code == 201
    file = shared.data / "datasets" / f"{SHA256}.jsonl"
    made = post(client, trained, maxTokens=HOLD, rows={"type": "dataset", "id": SHA256}).json()["evaluation"]
    pid = begun(shared, trained, made["id"])
    assert client.request("DELETE", f"/v1/jobs/{trained}").status_code == 204
    assert not is_running(pid)
    assert not file.exists()
    assert not shared.job_dir(trained).exists()


def test_an_idle_backend_stays_until_the_last_evaluation_has_ended(
    start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """It leaves afterwards."""
    backend = start(idle_exit=0.5)
    client = backend.client()
    job_id = complete(client, backend, config)
    made = post(client, job_id, maxTokens=HOLD).json()["evaluation"]
    pid = begun(backend, job_id, made["id"])
    assert backend.process is not None
    with pytest.raises(Exception, match="timed out"):
        backend.process.wait(2)
    assert is_running(pid)
    client.request("POST", f"/v1/jobs/{job_id}/evaluations/{made['id']}/cancel")
    assert backend.process.wait(15) == 0


def test_another_project_sees_nothing_of_it(client: Client, shared: BackendProcess, trained: str) -> None:
    """Neither the evaluation nor its report."""
    made = post(client, trained).json()["evaluation"]
    ended(client, trained, made["id"])
    stranger = shared.client()
    for path in ("", f"/{made['id']}", f"/{made['id']}/report"):
        assert stranger.get(f"/v1/jobs/{trained}/evaluations{path}").status_code == 404
    assert client.get(f"/v1/jobs/{trained}/evaluations/eval_none").status_code == 404
