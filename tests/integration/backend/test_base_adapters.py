"""Jobs that go on from the adapter of another one: accepted, refused, and independent of the other one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.backend import BackendProcess, Client
from tests.support.tiny_model import write_tiny_model

SHAPE = {"loraR": 8, "loraTargetModules": ["q_proj", "v_proj"], "useDora": False}


@pytest.fixture
def trained(client: Client, shared: BackendProcess, config: dict[str, Any]) -> str:
    """A job that completed, with checkpoints, and an adapter of a shape of its own; its worker has left."""
    job_id = str(client.submit("complete:4", {**config, **SHAPE, "saveSteps": 2}).json()["job"]["id"])
    client.wait_for(job_id, "completed")
    shared.wait_settled(job_id)
    return job_id


def _final(job_id: str) -> dict[str, Any]:
    return {"baseAdapter": {"kind": "final", "jobId": job_id}}


@pytest.mark.parametrize("step", [None, 2])
def test_it_has_the_shape_of_the_adapter_and_a_file_of_its_own(
    client: Client, shared: BackendProcess, config: dict[str, Any], trained: str, step: int | None
) -> None:
    """Also when the other job is gone; the SHA-256 in its settings says which adapter it was."""
    artifacts = client.get(f"/v1/jobs/{trained}/artifacts").json()["artifacts"]
    (made,) = (artifact for artifact in artifacts if artifact.get("step") == step)
    asked: dict[str, Any] = {"kind": "final", "jobId": trained}
    if step is not None:
        asked = {"kind": "checkpoint", "jobId": trained, "step": step}
    answer = client.submit("complete:1", {**config, "baseAdapter": asked, "loraDropout": 0.5})
    job = answer.json()["job"]
    assert answer.status_code == 201
    assert job["config"]["baseAdapter"] == {**asked, "sha256": made["sha256"]}
    assert {name: job["config"][name] for name in SHAPE} == SHAPE
    assert job["config"]["loraDropout"] == 0.5
    client.wait_for(job["id"], "completed")
    assert client.request("DELETE", f"/v1/jobs/{trained}").status_code == 204
    assert (shared.job_dir(job["id"]) / "base-adapter.tar").stat().st_size == made["sizeBytes"]


def test_a_checkpoint_that_was_removed_is_none(client: Client, shared: BackendProcess, trained: str) -> None:
    """The refusal says so, and there is no new job."""
    (shared.job_dir(trained) / "artifacts" / "checkpoint-2.tar").unlink()
    asked = {"kind": "checkpoint", "jobId": trained, "step": 2}
    config = {**client.job(trained)["config"], "baseAdapter": asked}
    assert _refusal(client, config) == (
        f"base_adapter: Artifact checkpoint-2 of job {trained} is no longer in the backend's storage."
    )
    assert len(client.get("/v1/jobs").json()["jobs"]) == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"loraR": 4}, "lora_r: is 4, but base_adapter has 8: give that, or leave lora out"),
        ({"loraAlpha": 8}, "lora_alpha: is 8, but base_adapter has 16: give that"),
        ({"loraTargetModules": "all-linear"}, "lora_target_modules: is 'all-linear', but base_adapter has ['q_proj'"),
        ({"useRslora": True}, "use_rslora: is True, but base_adapter has False"),
        ({"initLoraWeights": "gaussian"}, "init_lora_weights: changes nothing with base_adapter"),
        (
            {"baseAdapter": {"kind": "final", "jobId": "job_x"}},
            "base_adapter: There is no job 'job_x' in this project.",
        ),
        ({"baseAdapter": {"kind": "checkpoint", "step": 3}}, "no checkpoint of step 3: it is completed; it has check"),
        ({"baseAdapter": {"kind": "final", "sha256": "0" * 64}}, "base_adapter: job {job} has another adapter than"),
        ({"baseAdapter": {"kind": "final", "sha256": []}}, "base_adapter: job {job} has another adapter than"),
        ({"baseAdapter": {"kind": "final", "name": "x"}}, "base_adapter: an adapter has no name"),
        ({"baseAdapter": {"kind": "newest"}}, 'base_adapter: must be like {"kind": "final"'),
    ],
)
def test_what_does_not_fit_is_refused(
    client: Client, config: dict[str, Any], trained: str, settings: dict[str, Any], says: str
) -> None:
    """By the name of the setting, and with what to do."""
    asked = {**_final(trained)["baseAdapter"], **settings.get("baseAdapter", {})}
    refusal = _refusal(client, {**config, **settings, "baseAdapter": asked})
    assert says.replace("{job}", trained) in refusal


def test_another_model_is_refused(
    client: Client, config: dict[str, Any], trained: str, model: str, tmp_path: Path
) -> None:
    """An adapter fits the model that it was trained on."""
    other = write_tiny_model(tmp_path / "model")
    refusal = _refusal(client, {**config, **_final(trained), "model": str(other)})
    assert refusal == f"model: is {str(other)!r}, but base_adapter was trained on {model!r}: name that one"


def test_the_adapter_of_another_project_is_none(shared: BackendProcess, config: dict[str, Any], trained: str) -> None:
    """It is not even said to be there."""
    assert "There is no job" in _refusal(shared.client(), {**config, **_final(trained)})


def test_a_resumed_job_needs_the_other_one_no_more(
    client: Client, shared: BackendProcess, config: dict[str, Any], trained: str
) -> None:
    """It has what the failed job had of it."""
    failed = client.submit("stumble:fail@2/4", {**config, **_final(trained), "saveSteps": 2}).json()["job"]["id"]
    client.wait_for(failed, "failed")
    assert client.request("DELETE", f"/v1/jobs/{trained}").status_code == 204
    shared.wait_settled(failed)
    resumed = client.request("POST", f"/v1/jobs/{failed}/resume").json()["job"]
    assert resumed["config"] == client.job(failed)["config"]
    assert (shared.job_dir(resumed["id"]) / "base-adapter.tar").is_file()
    client.wait_for(resumed["id"], "completed")


def _refusal(client: Client, config: dict[str, Any]) -> str:
    answer = client.submit("complete:1", config)
    assert answer.status_code == 422
    return str(answer.json()["error"])
