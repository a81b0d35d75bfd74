"""Deleting jobs: what goes, what stays, and who is told what meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import requests

from tests.support.backend import BackendProcess, Client
from tests.support.eventually import eventually

ROWS = b'{"text": "a row of this test"}\n'
SHA256 = hashlib.sha256(ROWS).hexdigest()


def delete(client: Client, job_id: str) -> requests.Response:
    """Ask for a job to be deleted."""
    return client.request("DELETE", f"/v1/jobs/{job_id}")


def run(backend: BackendProcess, client: Client, config: dict[str, Any], name: str = "complete:2") -> str:
    """Run a job to its end, and wait until its worker has left."""
    job_id: str = client.submit(name, config).json()["job"]["id"]
    client.events(job_id)
    backend.wait_settled(job_id)
    return job_id


def gone(client: Client, job_id: str) -> int:
    """Delete a job as a client does, that comes again after a 503."""
    answers = []

    def answered() -> bool:
        answers.append(delete(client, job_id))
        return answers[-1].status_code != 503

    eventually(answered, "its worker has left")
    return answers[-1].status_code


def upload(client: Client) -> int:
    """Send the rows of this test."""
    return client.request("PUT", f"/v1/datasets/{SHA256}", data=ROWS).status_code


def test_tokenized_rows_go_with_the_last_job_that_used_them(
    client: Client, shared: BackendProcess, config: dict[str, Any]
) -> None:
    """Others stay."""
    jobs = [run(shared, client, config) for _ in range(2)]
    for key, users in (("a" * 64, jobs), ("b" * 64, jobs[:1])):
        folder = shared.data / "examples" / key / "users"
        folder.mkdir(parents=True)
        for user in users:
            (folder / user).touch()
    left = []
    for job_id in jobs:
        assert gone(client, job_id) == 204
        left.append([entry.name[0] for entry in (shared.data / "examples").iterdir()])
    assert left == [["a"], []]


def test_a_deleted_job_leaves_nothing(client: Client, shared: BackendProcess, config: dict[str, Any]) -> None:
    """No answer, no folder; the other jobs stay."""
    kept, job_id = (run(shared, client, config) for _ in range(2))
    assert shared.job_dir(job_id).is_dir()
    assert gone(client, job_id) == 204
    assert [job["id"] for job in client.get("/v1/jobs").json()["jobs"]] == [kept]
    for path in ("", "/events/stream", "/artifacts", "/artifacts/adapter"):
        assert client.get(f"/v1/jobs/{job_id}{path}").status_code == 404
    assert delete(client, job_id).status_code == 404
    assert job_id not in " ".join(path.name for path in (shared.data / "jobs").iterdir())
    assert len(client.events(kept)) == 4


def test_a_job_that_has_not_ended_is_409(client: Client, shared: BackendProcess, config: dict[str, Any]) -> None:
    """Queued or running; nothing is changed, and the text says what to do."""
    running = client.submit("gated:1", config).json()["job"]["id"]
    queued = client.submit("complete:1", config).json()["job"]["id"]
    for job_id in (running, queued):
        answer = delete(client, job_id)
        assert (answer.status_code, "cancel it first" in answer.json()["error"]) == (409, True)
    shared.allow(running, 1)
    assert len(client.events(running)) == 3
    assert len(client.events(queued)) == 3


def test_a_job_whose_worker_lingers_is_503(client: Client, config: dict[str, Any]) -> None:
    """Until it has left: its folder is in use."""
    job_id = client.submit("linger", config).json()["job"]["id"]
    client.events(job_id)
    answer = delete(client, job_id)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert gone(client, job_id) == 204
    assert len(client.events(client.submit("complete:1", config).json()["job"]["id"])) == 3


def test_only_its_own_project_deletes_a_job(client: Client, shared: BackendProcess, config: dict[str, Any]) -> None:
    """For anybody else there is no such job."""
    job_id = run(shared, client, config)
    assert delete(shared.client(), job_id).status_code == 404
    assert client.job(job_id)["status"] == "completed"


def test_rows_go_with_the_last_job_that_has_them(
    client: Client, shared: BackendProcess, config: dict[str, Any]
) -> None:
    """Those of another project stay that project's."""
    file, other = shared.data / "datasets" / f"{SHA256}.jsonl", shared.client()
    assert [upload(client), upload(other)] == [201, 201]
    on_rows = {**config, "datasetSource": {"type": "dataset", "id": SHA256}}
    first, second, theirs = (run(shared, who, on_rows) for who in (client, client, other))
    assert gone(client, first) == 204
    assert client.get(f"/v1/datasets/{SHA256}").status_code == 200
    assert gone(client, second) == 204
    assert client.get(f"/v1/datasets/{SHA256}").status_code == 404
    assert file.exists()
    assert gone(other, theirs) == 204
    assert not file.exists()
    assert upload(client) == 201


def test_held_out_rows_go_with_the_last_job_that_has_them(
    client: Client, shared: BackendProcess, config: dict[str, Any]
) -> None:
    """A job to train on them counts too."""
    assert upload(client) == 201
    rows = {"type": "dataset", "id": SHA256}
    first = run(shared, client, {**config, "evalDatasetSource": rows})
    second = run(shared, client, {**config, "datasetSource": rows})
    third = run(shared, client, {**config, "datasetSource": rows, "evalDatasetSource": rows})
    for job_id in (second, third):
        assert gone(client, job_id) == 204
        assert client.get(f"/v1/datasets/{SHA256}").status_code == 200
    assert gone(client, first) == 204
    assert client.get(f"/v1/datasets/{SHA256}").status_code == 404


def test_rows_whose_file_is_gone_are_asked_for_again(
    client: Client, shared: BackendProcess, config: dict[str, Any]
) -> None:
    """Rather than a job that cannot find them."""
    assert upload(client) == 201
    (shared.data / "datasets" / f"{SHA256}.jsonl").unlink()
    assert client.get(f"/v1/datasets/{SHA256}").status_code == 404
    on_rows = {**config, "datasetSource": {"type": "dataset", "id": SHA256}}
    assert "upload it first" in client.submit("complete:1", on_rows).json()["error"]
    assert upload(client) == 200
    assert client.get(f"/v1/datasets/{SHA256}").status_code == 200


def test_a_chat_outlives_its_adapter(start: Callable[..., BackendProcess], config: dict[str, Any]) -> None:
    """What is being answered is answered; the next question is told that there is no such job."""
    backend = start()
    client = backend.client()
    job_id = run(backend, client, config)
    question = {"messages": [{"role": "user", "content": "say:a b c"}], "adapter": {"kind": "final", "jobId": job_id}}
    answer = client.request("POST", "/v1/inference/chat", json=question, stream=True)
    assert answer.status_code == 200, answer.text
    copies = backend.data / "adapters"
    assert list(copies.iterdir())
    assert gone(client, job_id) == 204
    assert answer.text.rstrip().endswith("data: [DONE]")
    assert not list(copies.iterdir())
    assert client.request("POST", "/v1/inference/chat", json=question).status_code == 404


def test_a_reader_of_a_deleted_job_is_cut_off(start: Callable[..., BackendProcess], config: dict[str, Any]) -> None:
    """Without an end: what it has is not all, and it is told so when it comes back."""
    client = start(ping=60.0).client()
    job_id = client.submit("complete:1", config).json()["job"]["id"]
    last = client.events(job_id)[-1].id or 0
    reader = client.open_stream(job_id, last_event_id=last + 5)  # nothing is sent to it before an event of that id
    assert gone(client, job_id) == 204
    assert [frame.event for frame in reader] in ([], ["end"])
    assert client.get(f"/v1/jobs/{job_id}/events/stream").status_code == 404


def test_what_a_kill_left_is_removed_at_the_next_start(prepare: Callable[..., BackendProcess]) -> None:
    """Folders of deleted jobs, and rows of no project; what is not the backend's own stays."""
    backend = prepare()
    jobs, datasets = backend.data / "jobs", backend.data / "datasets"
    left = [jobs / ".deleted-job_x", jobs / f"job_{'a2' * 10}", jobs / "mine"]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "worker.log").write_text("")
    datasets.mkdir()
    left += [datasets / ".upload.x", datasets / f"{SHA256}.jsonl", datasets / "mine.jsonl"]
    for file in left[3:]:
        file.write_bytes(ROWS)
    backend.start()
    assert [path.name for path in left if path.exists()] == ["mine", "mine.jsonl"]


def test_files_of_a_living_worker_outlast_a_restart(
    start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """They go when it has ended."""
    backend = start()
    client = backend.client()
    job_id = client.submit("gated:1", config).json()["job"]["id"]
    client.open_stream(job_id).until("training.started")
    file = backend.job_dir(job_id) / ".dataset.x"
    file.write_bytes(ROWS)
    backend.kill()
    backend.start()
    assert file.exists()
    backend.allow(job_id, 1)
    client.events(job_id)
    eventually(lambda: not file.exists(), "the worker has left")


def test_old_jobs_are_removed(prepare: Callable[..., BackendProcess], config: dict[str, Any]) -> None:
    """Those that have ended, with their files and a line in the log; a job that was made of one has its own copy."""
    backend = prepare(retention=1.5, max_parallel=2).start()
    client = backend.client()
    assert upload(client) == 201
    old = run(backend, client, {**config, "datasetSource": {"type": "dataset", "id": SHA256}})
    ref = {"kind": "final", "jobId": old}
    further = client.submit("gated:1", {**config, "baseAdapter": ref}).json()["job"]["id"]
    eventually(lambda: client.get(f"/v1/jobs/{old}").status_code == 404, "the old job is removed")
    eventually(lambda: f"Job {old} was removed: it ended before 2" in backend.log, "the log says so")
    eventually(lambda: list((backend.data / "datasets").iterdir()) == [], "its rows are gone")
    assert not backend.job_dir(old).exists()
    assert (backend.job_dir(further) / "base-adapter.tar").exists()
    backend.allow(further, 1)
    client.wait_for(further, "completed")
    assert f"Job {further} was removed" not in backend.log
