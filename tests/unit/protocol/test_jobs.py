"""Jobs, artifacts and results as values."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import attrs
import pytest

from arkor.client.result import TrainingFailed, TrainingResult
from arkor.errors import ArkorError
from arkor.protocol.jobs import AdapterRef, Artifact, JobStatus, Scope, TrainingJob

WIRE = {
    "id": "job_1",
    "orgId": "org_1",
    "projectId": "project_1",
    "name": "run",
    "status": "running",
    "config": {"maxSteps": 3},
    "error": None,
    "createdAt": "2026-01-01T00:00:00Z",
    "startedAt": "2026-01-01T00:00:01Z",
    "gpuType": "brand new",
}


def test_a_job_is_read_and_goes_back_as_it_came() -> None:
    """Unknown fields included, nulls left out."""
    job = TrainingJob.from_wire(WIRE)
    assert (job.id, job.job_id, job.org_id, job.status, job.config) == (
        "job_1",
        "job_1",
        "org_1",
        "running",
        {"maxSteps": 3},
    )
    assert job.extra == {"gpuType": "brand new"}
    assert job.to_wire() == {key: value for key, value in WIRE.items() if value is not None}


def test_a_job_is_frozen() -> None:
    """Values that travel do not change under anybody."""
    job = TrainingJob(id="job_1")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        job.status = "completed"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("status", "terminal"),
    [("queued", False), ("running", False), ("completed", True), ("failed", True), ("cancelled", True), ("new", False)],
)
def test_a_job_knows_whether_it_has_ended(status: str, terminal: bool) -> None:
    """A status this version does not know is kept, and is no end."""
    job = TrainingJob.from_wire({"id": "job_1", "status": status})
    assert job.status == status
    assert job.is_terminal is terminal


@pytest.mark.parametrize("body", [{}, {"id": None}, {"id": ""}, {"name": "run"}])
def test_a_job_without_an_id_is_an_error(body: dict[str, Any]) -> None:
    """Nothing could be asked about it."""
    with pytest.raises(ArkorError, match="without an id"):
        TrainingJob.from_wire(body)


def test_odd_values_of_a_job_do_not_raise() -> None:
    """What the protocol does not foresee is read as far as it goes."""
    job = TrainingJob.from_wire({"id": 7, "status": None, "config": "none", "error": {"code": 1}, "startedAt": 5})
    assert (job.id, job.status, job.config, job.error, job.started_at) == ("7", "queued", {}, "{'code': 1}", "5")


def test_a_status_equals_its_wire_name() -> None:
    """And is written as it."""
    assert JobStatus("completed") == "completed"
    assert str(JobStatus.FAILED) == f"{JobStatus.FAILED}" == "failed"
    assert json.dumps(JobStatus.QUEUED) == '"queued"'


def test_a_list_of_artifacts_passes_over_what_is_none() -> None:
    """Odd entries of an event never end a wait."""
    items = [{"name": "adapter", "step": 3.0, "sizeBytes": "big", "sha256": "ab", "new": 1}, "text", None, 3]
    (artifact,) = Artifact.list_from_wire(items)
    assert artifact == Artifact(name="adapter", step=3, sha256="ab", extra={"new": 1})
    assert artifact.to_wire() == {"name": "adapter", "kind": "adapter", "step": 3, "sha256": "ab", "new": 1}
    assert Artifact.list_from_wire("text") == Artifact.list_from_wire(None) == ()


def test_an_adapter_is_named_as_the_inference_calls_want_it() -> None:
    """The final one has no step."""
    assert AdapterRef("final", "job_1").to_wire() == {"kind": "final", "jobId": "job_1"}
    assert AdapterRef("checkpoint", "job_1", 3).to_wire() == {"kind": "checkpoint", "jobId": "job_1", "step": 3}


def test_a_scope_travels_as_two_query_parameters() -> None:
    """Organisation and project, by slug."""
    assert Scope("org", "project").to_query() == {"orgSlug": "org", "projectSlug": "project"}


@pytest.mark.parametrize("status", ["failed", "cancelled", "running", "new"])
def test_a_result_raises_for_every_status_but_completed(status: str) -> None:
    """What did not complete is no success."""
    result = TrainingResult(TrainingJob(id="job_1", status=status))
    with pytest.raises(TrainingFailed) as raised:
        result.raise_for_status()
    assert raised.value.result is result
    TrainingResult(TrainingJob(id="job_1", status="completed")).raise_for_status()


def test_a_result_downloads_its_artifacts_in_order(tmp_path: Path) -> None:
    """Through what it was handed: it knows no client."""
    asked = []

    def download(job_id: str, artifact: Artifact, dest: Path, progress: object) -> Path:
        asked.append((job_id, artifact.name, dest, progress))
        return dest / artifact.name

    result = TrainingResult(TrainingJob(id="job_1"), (Artifact(name="b"), Artifact(name="a")), download=download)
    assert result.download(str(tmp_path), on_progress=print) == [tmp_path / "b", tmp_path / "a"]
    assert asked == [("job_1", "b", tmp_path, print), ("job_1", "a", tmp_path, print)]


def test_a_pickled_result_keeps_what_was_measured() -> None:
    """The connection stays behind: a download then says what to use."""
    result = TrainingResult(TrainingJob(id="job_1"), (Artifact(name="a"),), download=lambda *_: Path())
    again = pickle.loads(pickle.dumps(result))
    assert again == result
    with pytest.raises(ArkorError, match=r"CloudApiClient\.download_artifact"):
        again.download()


@pytest.mark.parametrize(("config", "is_dry"), [({"dryRun": True}, True), ({"dryRun": False}, False), ({}, False)])
def test_a_job_knows_that_it_is_a_dry_run(config: dict[str, Any], is_dry: bool) -> None:
    """By its settings, which travel with it."""
    assert TrainingJob.from_wire({**WIRE, "config": config}).is_dry_run is is_dry
