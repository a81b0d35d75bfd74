"""``arkor reproduce`` with this user's own backend, whose workers are scripted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.backend import BackendProcess
from tests.support.commands import Command, run
from tests.support.eventually import eventually


def say(backend: BackendProcess, behaviour: str, torch: str = "2.13.0") -> None:
    """Let the next workers behave so, and have a version of torch."""
    (backend.home / "behaviour").write_text(behaviour)
    (backend.home / "record.json").write_text(json.dumps({"versions": {"torch": torch}}))


@pytest.fixture
def trained(backend: BackendProcess, project: Path) -> str:
    """The project's job, which has completed and says what made it."""
    from tests.cli.test_local import write_project  # its tests are collected with this file

    write_project(project, "complete:2")
    say(backend, "complete:2")
    return str(json.loads(run("start", "--local", "--json").out.splitlines()[0])["jobId"])


def started(err: str) -> str:
    """Return the id of the new job, as stderr names it."""
    found = re.search(r"Job (job_\w+) \(complete:2 \(reproduced\)\): ", err)
    assert found is not None, err
    return found[1]


def test_the_same_bytes_are_said_with_their_hash(trained: str) -> None:
    """Of the job that completed last; the new job has the same settings, and its name says what it is."""
    ended = run("reproduce", "--local")
    assert ended.code == 0, ended.err
    same, advice = ended.out.splitlines()
    assert re.fullmatch(
        r"The same bytes: adapter_model.safetensors has SHA-256 [0-9a-f]{64}, and adapter_config.json is the same too.",
        same,
    )
    assert advice.startswith("The job was trained without full_determinism: ")
    shown = run("jobs", "show", started(ended.err), "--local", "--json")
    first = run("jobs", "show", trained, "--local", "--json")
    assert json.loads(shown.out)["config"] == json.loads(first.out)["config"]


def test_another_version_stops_it(backend: BackendProcess, trained: str) -> None:
    """With exit code 1, and the new job is cancelled; anyway, both are compared."""
    say(backend, "gated:2", "2.14.0")
    ended = run("reproduce", trained, "--local")
    again = started(ended.err)
    assert (ended.code, ended.out) == (1, "")
    assert (
        f"Error: Job {trained} cannot be reproduced by job {again}: the version of torch was 2.13.0, and is 2.14.0 now."
        in ended.err
    )
    eventually(lambda: "cancelled" in run("jobs", "show", again, "--local").out, "the new job is cancelled")
    say(backend, "complete:2", "2.14.0")
    anyway = run("reproduce", trained, "--anyway", "--local")
    assert anyway.code == 0
    assert "were made otherwise: the version of torch was 2.13.0, and is 2.14.0 now." in anyway.out
    assert "The same bytes: " in anyway.out


def test_a_new_job_that_fails_has_its_reason(backend: BackendProcess, trained: str) -> None:
    """With exit code 1."""
    say(backend, "fail")
    ended = run("reproduce", trained, "--local")
    assert ended.code == 1
    assert f"Job {started(ended.err)} finished with status=failed: " in ended.err


def test_ctrl_c_leaves_the_new_job_running(backend: BackendProcess, trained: str) -> None:
    """So does a timeout; both say how to compare later, which makes no further job."""
    say(backend, "gated:2")
    command = Command("reproduce", trained, "--local")
    eventually(lambda: len(list(backend.data.glob("jobs/*/pid-1"))) == 2, "the new job runs")
    ended = command.interrupt()
    again = started(ended.err)
    assert ended.code == 130
    assert f"Interrupted. Job {again} goes on." in ended.err
    assert f"compare it: arkor reproduce {trained} --with {again} --local" in ended.err
    late = run("reproduce", trained, "--with", again, "--timeout", "1s", "--local")
    assert (late.code, f"'arkor reproduce {trained} --with {again}'" in late.err) == (124, True)
    backend.allow(again, 2)
    compared = run("reproduce", trained, "--with", again, "--local")
    assert (compared.code, "The same bytes: " in compared.out) == (0, True)
    assert len(list(backend.data.glob("jobs/*"))) == 2


def test_a_job_without_an_adapter_is_refused(backend: BackendProcess, trained: str) -> None:
    """With exit code 2, and no new job is made."""
    say(backend, "fail")
    failed = json.loads(run("start", "--local", "--json").out.splitlines()[0])["jobId"]
    ended = run("reproduce", failed, "--local")
    assert (ended.code, f"job {failed} has no final adapter: its status is failed" in ended.err) == (2, True)
    assert len(list(backend.data.glob("jobs/*"))) == 2
