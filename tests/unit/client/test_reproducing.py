"""Reproductions as a caller has them: what is refused before anything is sent, and what ends the waiting."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from arkor.client.client import CloudApiClient
from arkor.client.project import ensure_project
from arkor.client.reproduce_options import ReproduceOptions
from arkor.client.reproducing import Reproducer
from arkor.client.reproduction import Reproduction
from arkor.errors import Aborted, ArkorError, UnknownOption, WaitTimeout
from arkor.protocol.record import RecordDifference
from tests.support.cloud import Cloud
from tests.support.events import completed, started
from tests.support.waiting import QUICK

RECORD = {"versions": {"torch": "2.13.0"}}
CONFIG = {
    "model": "m",
    "datasetSource": {"type": "huggingface", "name": "a/b"},
    "fullDeterminism": True,
    "evaluation": {},
    "later": 1,
}


@pytest.fixture
def reproducer(arkor_cloud: Cloud, project: Path) -> Reproducer:
    """What reproduces the jobs of a project; job_1 has completed, and a new job stays queued."""
    arkor_cloud.features = {"full-determinism"}
    arkor_cloud.plan = [started(record=RECORD), completed()]
    arkor_cloud.jobs["job_1"] = {"id": "job_1", "name": "n" * 200, "status": "completed", "config": CONFIG}
    client = CloudApiClient.connect()
    return Reproducer(client=client, scope=ensure_project(client, project), policy=QUICK)


def test_the_new_job_has_the_same_settings(arkor_cloud: Cloud, reproducer: Reproducer) -> None:
    """But for the evaluation that followed it; its name is marked, and not too long."""
    with pytest.raises(WaitTimeout):
        reproducer.reproduce("job_1", {"timeout": 1.0})
    (call,) = arkor_cloud.calls("POST", "/v1/jobs")
    body = call.json()
    assert body["config"] == {name: value for name, value in CONFIG.items() if name != "evaluation"}
    assert (len(body["name"]), body["name"][-14:]) == (200, "n (reproduced)")


@pytest.mark.parametrize("how", ["timeout", "abort_event"])
def test_who_stops_waiting_is_told_that_it_goes_on(reproducer: Reproducer, how: str) -> None:
    """With the command that compares it later."""
    event = threading.Event()
    options: ReproduceOptions = {"on_progress": lambda _: event.set()}
    limit: dict[str, Any] = {"timeout": 0.5} if how == "timeout" else {"abort_event": event}
    said = "Job job_2 goes on: 'arkor reproduce job_1 --with job_2' waits for it, and compares."
    with pytest.raises(WaitTimeout if how == "timeout" else Aborted, match=said):
        reproducer.reproduce("job_1", {**options, **limit})  # type: ignore[typeddict-item]


def test_a_backend_without_records_cannot_reproduce(arkor_cloud: Cloud, reproducer: Reproducer) -> None:
    """Nothing says what was otherwise; no job is made."""
    arkor_cloud.plan = [started(), completed()]
    with pytest.raises(ArkorError, match="does not say what made the adapter of job job_1"):
        reproducer.reproduce("job_1", {})
    assert arkor_cloud.calls("POST", "/v1/jobs") == []


def test_an_unknown_option_is_refused(arkor_cloud: Cloud, reproducer: Reproducer) -> None:
    """With the nearest name, before anything is sent."""
    before = len(arkor_cloud.calls("GET", "/v1/jobs/job_1"))
    with pytest.raises(UnknownOption, match="anyway"):
        reproducer.reproduce("job_1", {"anyways": True})  # type: ignore[typeddict-unknown-key]
    assert len(arkor_cloud.calls("GET", "/v1/jobs/job_1")) == before


def test_it_is_read_in_a_few_lines() -> None:
    """What was otherwise, what differs, and what to set."""
    found = Reproduction(
        job_id="job_1",
        again_id="job_2",
        sha256="9f",
        difference="the first tensor that differs is a",
        record_difference=RecordDifference("the device", "cuda", "cpu"),
        full_determinism=False,
    )
    assert not found.is_same
    assert str(found).splitlines() == [
        "Jobs job_1 and job_2 were made otherwise: the device was cuda, and is cpu now.",
        "Other bytes: the first tensor that differs is a.",
        "The job was trained without full_determinism: set it, and the bytes are the same each time.",
    ]
