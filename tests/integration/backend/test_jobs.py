"""Jobs: made, refused, repeated, listed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.backend import BackendProcess, Client, in_parallel
from tests.support.tiny_model import write_tiny_model

HELD_OUT = {"datasetSplit": {"evalFraction": 0.1}}


def test_a_job_runs_to_its_end(client: Client, config: dict[str, Any]) -> None:
    """Each event once, in order, under ids from 1; the job says when it was what."""
    asked = {**config, "maxSteps": 3, "saveSteps": 2, "evalSteps": 3, "loraAlpha": 8, **HELD_OUT}
    answer = client.submit("complete:3", asked)
    assert answer.status_code == 201
    job = answer.json()["job"]
    assert (job["status"], job["name"], job["config"]) == ("queued", "complete:3", asked)
    frames = client.events(job["id"])
    assert [frame.id for frame in frames] == list(range(1, len(frames) + 1))
    assert [(frame.event, frame.data.get("step")) for frame in frames] == [
        ("training.started", None),
        ("training.log", 1),
        ("training.log", 2),
        ("checkpoint.saved", 2),
        ("training.log", 3),
        ("training.log", 3),
        ("training.completed", None),
    ]
    for frame in frames:
        assert (frame.data["type"], frame.data["jobId"]) == (frame.event, job["id"])
        assert frame.data["timestamp"] == "2026-01-01T00:00:00.000Z"
        assert "seq" not in frame.data
    done = client.job(job["id"])
    assert done["status"] == "completed"
    assert job["createdAt"] <= done["startedAt"] <= done["completedAt"]
    assert done["completedAt"].endswith("Z")
    assert "error" not in done


def test_a_job_tells_how_far_it_is(client: Client, shared: BackendProcess, config: dict[str, Any]) -> None:
    """The last values of its log, in lists too; none before there is one, and no figure that was never told."""
    job = client.submit("gated:3", {**config, "evalSteps": 2, **HELD_OUT}).json()["job"]
    assert "progress" not in job
    stream = client.open_stream(job["id"])
    for step, said in ((1, {"step": 1, "loss": 1.0}), (3, {"step": 3, "loss": 1 / 3, "evalLoss": 1.0})):
        shared.allow(job["id"], step)
        while stream.until("training.log")[-1].data["step"] < step:
            pass
        assert client.job(job["id"])["progress"] == said
    stream.until("training.completed")
    assert client.get("/v1/jobs").json()["jobs"][0]["progress"] == {"step": 3, "loss": 1 / 3, "evalLoss": 1.0}


def test_a_queued_job_tells_what_it_waits_for(client: Client, shared: BackendProcess, config: dict[str, Any]) -> None:
    """The running job and how far that is, of the same organisation alone; a job that runs waits for none."""
    first = client.submit("gated:3", {**config, "maxSteps": 3}).json()["job"]["id"]
    stream = client.open_stream(first)
    shared.allow(first, 1)
    stream.until("training.log")
    second = client.submit("complete:1", config).json()["job"]["id"]
    assert client.job(second)["waitsFor"] == {"jobId": first, "step": 1, "maxSteps": 3}
    assert "waitsFor" not in client.job(first)
    shared.allow(first, 3)
    client.events(second)
    assert "waitsFor" not in client.job(second)


def test_jobs_are_listed_newest_first(client: Client, config: dict[str, Any]) -> None:
    """All of the project's."""
    ids = [client.submit(f"complete:{number}", config).json()["job"]["id"] for number in (1, 2)]
    assert [job["id"] for job in client.get("/v1/jobs").json()["jobs"]] == ids[::-1]
    for job_id in ids:
        client.events(job_id)


def test_jobs_run_one_after_the_other(client: Client, shared: BackendProcess, config: dict[str, Any]) -> None:
    """The first come is the first served, and no second worker starts meanwhile."""
    first = client.submit("gated:1", config).json()["job"]["id"]
    second = client.submit("complete:1", config).json()["job"]["id"]
    client.wait_for(first, "running")
    shared.worker_pid(first)
    assert client.job(second)["status"] == "queued"
    shared.allow(first, 1)
    client.events(second)
    assert client.job(first)["completedAt"] <= client.job(second)["startedAt"]


def test_an_unknown_job_is_404(client: Client) -> None:
    """Reading it and cancelling it."""
    assert client.get("/v1/jobs/job_nothing").status_code == 404
    assert client.cancel("job_nothing").status_code == 404


def test_a_repeat_under_the_same_key_is_the_same_job(client: Client, config: dict[str, Any]) -> None:
    """A client that did not hear the answer asks again."""
    key = {"Idempotency-Key": "k1"}
    first = client.submit("complete:1", config, headers=key)
    again = client.submit("complete:1", config, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["job"]["id"] == first.json()["job"]["id"]
    assert len(client.get("/v1/jobs").json()["jobs"]) == 1
    client.events(first.json()["job"]["id"])


def test_repeats_at_the_same_moment_make_one_job(client: Client, config: dict[str, Any]) -> None:
    """The key is unique in the database, not only in what was read before."""
    key = {"Idempotency-Key": "k2"}
    answers = in_parallel(6, lambda: client.submit("complete:1", config, headers=key))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.json()["job"]["id"] for answer in answers}) == 1
    client.events(answers[0].json()["job"]["id"])


def test_another_request_under_the_same_key_is_409(client: Client, config: dict[str, Any]) -> None:
    """A key names one request."""
    key = {"Idempotency-Key": "k3"}
    first = client.submit("complete:1", config, headers=key).json()["job"]["id"]
    assert client.submit("complete:2", config, headers=key).status_code == 409
    assert client.submit("complete:1", {**config, "maxSteps": 5}, headers=key).status_code == 409
    client.events(first)


def test_a_key_belongs_to_its_project(shared: BackendProcess, client: Client, config: dict[str, Any]) -> None:
    """Two projects may choose the same."""
    key, other = {"Idempotency-Key": "k4"}, shared.client()
    ids = [one.submit("complete:1", config, headers=key).json()["job"]["id"] for one in (client, other)]
    assert ids[0] != ids[1]
    other.events(ids[1])


@pytest.mark.parametrize("name", [None, "", "  ", 7, "x" * 201])
def test_a_name_is_needed(client: Client, config: dict[str, Any], name: Any) -> None:
    """A text of 1 to 200 characters."""
    answer = client.submit(name, config)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("name: ")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"maxSteps": -1}, "max_steps"),
        ({"maxSteps": True}, "max_steps"),
        ({"learningRate": 0}, "learning_rate"),
        ({"loadIn4bit": "yes"}, "load_in_4bit"),
        ({"model": None}, "model"),
        ({"model": " "}, "model"),
        ({"datasetSource": None}, "dataset_source"),
        ({"datasetSource": "rows"}, "dataset_source"),
        ({"datasetSource": {"type": "dataset", "id": "0" * 64}}, "dataset_source"),
        ({"datasetSource": {"type": "ftp"}}, "dataset_source"),
        ({"evalDatasetSource": {"type": "dataset", "id": "0" * 64}}, "eval_dataset_source: this project has no"),
        ({"evalDatasetSource": {"type": "huggingface", "name": "/etc"}}, "eval_dataset_source: name must be"),
        ({"evalDatasetSource": {"type": "blob", "url": "http://127.0.0.1/x"}}, "eval_dataset_source: url: 127.0.0.1"),
        ({"evalDatasetSource": {"type": "dataset", "id": "0" * 64}, **HELD_OUT}, "eval_dataset: cannot be combined"),
        ({"learningRat": 1e-4}, "learning_rat"),
        ({"loraR": 10**30}, "lora_r"),
        ({"model": "x" * 256}, "There is no model"),
        ({"model": "~nosuchuser/x"}, "cannot be used"),
        ({"model": "x" * 2001}, "model"),
        ({"datasetSplit": {"evalFraction": 0.5, "seed": 10**30}}, "dataset_split"),
        ({"datasetFormat": ["chatml"]}, "dataset_format: must be {"),
        ({"datasetSplit": False}, "dataset_split: must be {"),
        ({"trainOnResponsesOnly": 1}, "train_on_responses_only: must be True or False"),
        ({"evalSteps": 2}, "eval_steps"),
        ({"evalSteps": 2, "datasetSplit": {"train": "train"}}, "eval_steps"),
        ({"datasetSource": {"type": "blob", "url": f"https://x/{'y' * 10_000}"}}, "dataset_source"),
        ({"a\nb": 1}, "a\\nb"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(
    client: Client, config: dict[str, Any], change: dict[str, Any], field: str
) -> None:
    """422 before there is a job."""
    answer = client.submit("complete:1", {**config, **change})
    assert answer.status_code == 422, answer.text
    assert field in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert client.get("/v1/jobs").json() == {"jobs": []}


def test_a_model_that_does_not_exist_is_refused(client: Client, config: dict[str, Any]) -> None:
    """Also a folder without a model in it."""
    for model in ("/no/such/folder", "/tmp"):
        answer = client.submit("complete:1", {**config, "model": model})
        assert answer.status_code == 422
        assert model in answer.json()["error"]
    assert client.get("/v1/jobs").json() == {"jobs": []}


def test_a_model_folder_with_a_pipe_in_it_blocks_nobody(client: Client, config: dict[str, Any], tmp_path: Path) -> None:
    """More jobs and chats with it than the backend has threads are refused, one after the other."""
    folder = write_tiny_model(tmp_path / "model")
    os.mkfifo(folder / "more.safetensors")
    question = {"baseModel": str(folder), "messages": [{"role": "user", "content": "x"}]}
    for _ in range(60):
        job = client.submit("complete:1", {**config, "model": str(folder)})
        chat = client.request("POST", "/v1/inference/chat", json=question)
        assert (job.status_code, chat.status_code) == (422, 404)
        assert all("has a pipe or a device in it" in answer.json()["error"] for answer in (job, chat))


def test_rows_on_the_backends_machine_cannot_be_named(
    client: Client, shared: BackendProcess, config: dict[str, Any]
) -> None:
    """The folder of uploads, the kind of a file that the library would look for, a bare name."""
    for name in (str(shared.data / "datasets"), "/etc", "text", "json", "imdb", "jobs/../datasets"):
        answer = client.submit("complete:1", {**config, "datasetSource": {"type": "huggingface", "name": name}})
        assert (answer.status_code, "owner/name" in answer.json()["error"]) == (422, True), name
    assert client.get("/v1/jobs").json() == {"jobs": []}


def test_model_folders_have_to_lie_below_the_root(
    start: Callable[..., BackendProcess], config: dict[str, Any], model: str, tmp_path: Path
) -> None:
    """For jobs and for chats; the worker gets the root too."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(model)
    inside = str(write_tiny_model(tmp_path / "root" / "mine"))
    backend = start(model_root=tmp_path / "root")
    client = backend.client()
    for name in (model, str(tmp_path / "root" / "link"), "/no/such/folder"):
        job = client.submit("complete:1", {**config, "model": name})
        question = {"baseModel": name, "messages": [{"role": "user", "content": "x"}]}
        chat = client.request("POST", "/v1/inference/chat", json=question)
        assert (job.status_code, chat.status_code) == (422, 404)
        assert all("is not below" in answer.json()["error"] for answer in (job, chat))
    job_id = client.submit("gated:1", {**config, "model": inside}).json()["job"]["id"]
    backend.worker_pid(job_id)
    assert json.loads((backend.job_dir(job_id) / "spec.json").read_text())["modelRoot"] == str(tmp_path / "root")
    backend.allow(job_id, 1)
    backend.wait_settled(job_id)


def test_an_address_that_is_not_public_is_refused_unless_the_operator_allows_it(
    shared: BackendProcess, client: Client, start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """A name is looked up by the worker, which is told what is allowed."""

    def told(backend: BackendProcess, by: Client, url: str) -> bool:
        answer = by.submit("gated:1", {**config, "datasetSource": {"type": "blob", "url": url}})
        job_id = answer.json()["job"]["id"]
        backend.worker_pid(job_id)
        spec = json.loads((backend.job_dir(job_id) / "spec.json").read_text())
        backend.allow(job_id, 1)
        backend.wait_settled(job_id)
        return bool(spec["allowPrivateUrls"])

    for host in ("127.0.0.1:8000", "[::1]", "169.254.169.254", "10.0.0.1", "0x7f.1", "user:pw@[::ffff:192.168.0.1]"):
        source = {"type": "blob", "url": f"http://{host}/rows.jsonl?sig=SECRET"}
        answer = client.submit("complete:1", {**config, "datasetSource": source})
        error = answer.json()["error"]
        assert (answer.status_code, "--allow-private-urls" in error, "SECRET" in error) == (422, True, False), host
    assert not told(shared, client, "https://example.invalid/rows.jsonl")
    allowing = start(allow_private_urls=True)
    assert told(allowing, allowing.client(), "http://127.0.0.1:9/rows.jsonl")


def test_the_token_of_a_blob_reaches_the_worker_alone(
    client: Client, shared: BackendProcess, config: dict[str, Any]
) -> None:
    """No answer carries it, and it is forgotten when the job has ended."""
    secret = "blob-token-5b0f"
    source = {"type": "blob", "url": "https://example.invalid/rows.jsonl", "token": secret}
    answer = client.submit("gated:1", {**config, "datasetSource": source})
    job_id = answer.json()["job"]["id"]
    shared.worker_pid(job_id)
    spec = shared.job_dir(job_id) / "spec.json"
    assert secret in spec.read_text()
    assert spec.stat().st_mode & 0o777 == 0o600
    shared.allow(job_id, 1)
    events = client.open_stream(job_id)
    for text in (answer.text, client.get("/v1/jobs").text, str(events.events()), shared.log):
        assert secret not in text
    shared.wait_settled(job_id)
    assert not spec.exists()
