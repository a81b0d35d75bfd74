"""``arkor jobs delete`` and ``arkor jobs prune``, on a terminal and piped, against a stand-in with the feature."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from tests.support.cloud import Cloud
from tests.support.commands import run
from tests.support.contract import Answer
from tests.support.terminal import Terminal
from tests.support.waiting import make_trainer

JOB = "/v1/jobs/*"
LONG_AGO = "2020-01-01T00:00:00Z"


@pytest.fixture
def jobs(routed_cloud: Cloud) -> Cloud:
    """A project with a job that completed 40 days ago, one that failed 20 days ago, and a running one."""
    routed_cloud.features = {"delete-jobs"}
    for number, (status, days) in enumerate([("completed", 40), ("failed", 20), ("running", 60)], start=1):
        make_trainer(routed_cloud, name=f"run-{number}").start()
        at = (datetime.now(timezone.utc) - timedelta(days=days)).isoformat()
        routed_cloud.jobs[f"job_{number}"].update(status=status, createdAt=LONG_AGO, completedAt=at)
    routed_cloud.answer("DELETE", JOB, *[Answer(status=204)] * 3)
    return routed_cloud


def deleted(cloud: Cloud) -> list[str]:
    """Return the ids that were asked to be deleted."""
    return [request.path.rpartition("/")[2] for request in cloud.calls("DELETE", JOB)]


def test_jobs_are_deleted_after_a_yes(jobs: Cloud) -> None:
    """It shows which; a no deletes nothing."""
    with Terminal("jobs", "delete", "job_1", "job_2") as terminal:
        terminal.expect("Delete 2 jobs for good, with adapters and checkpoints? [y/N]:")
        assert "run-1" in terminal.seen
        terminal.type("n")
        code, seen = terminal.end()
    assert (code, seen.splitlines()[-1], deleted(jobs)) == (130, "Nothing was deleted.", [])
    with Terminal("jobs", "delete", "job_1") as terminal:
        terminal.expect("Delete 1 job for good")
        terminal.type("y")
        code, seen = terminal.end()
    assert (code, seen.splitlines()[-1], deleted(jobs)) == (0, "Deleted job job_1.", ["job_1"])


def test_nobody_is_asked_in_a_pipe(jobs: Cloud) -> None:
    """It takes --yes; a job that is named twice is deleted once."""
    refused = run("jobs", "delete", "job_1")
    assert (refused.code, deleted(jobs)) == (2, [])
    assert "Nothing was deleted. To delete 1 job, add --yes." in refused.err
    done = run("jobs", "delete", "job_2", "job_1", "job_2", "-y")
    assert (done.code, done.out, done.err) == (0, "Deleted job job_2.\nDeleted job job_1.\n", "")
    assert deleted(jobs) == ["job_2", "job_1"]


def test_nothing_is_deleted_where_one_cannot_be(jobs: Cloud) -> None:
    """One that runs, one that is not there, one that several could be meant by."""
    running = run("jobs", "delete", "job_1", "job_3", "-y")
    assert running.code == 2
    assert "Job job_3 is running; nothing was deleted. Stop it first: arkor cancel job_3" in running.err
    assert run("jobs", "delete", "job_1", "nobody", "-y").code == 3
    assert "3 ids begin with 'job'" in run("jobs", "delete", "job", "-y").err
    assert deleted(jobs) == []


def test_old_jobs_are_pruned(jobs: Cloud) -> None:
    """Those that ended before that; never one that goes on."""
    none = run("jobs", "prune", "--older-than", "30d", "--status", "failed", "-y")
    assert (none.code, none.out, none.err) == (0, "", "No jobs to delete.\n")
    listed = run("jobs", "prune", "--older-than", "30d")
    assert (listed.code, listed.out.splitlines()[1].split()[0], deleted(jobs)) == (2, "job_1", [])
    assert run("jobs", "prune", "--older-than", "30d", "-y").out == "Deleted job job_1.\n"
    assert run("jobs", "prune", "--older-than", "480h", "--status", "failed", "-y").out == "Deleted job job_2.\n"


def test_a_backend_that_deletes_nothing_says_so(jobs: Cloud) -> None:
    """Before anybody is asked."""
    jobs.features = None
    ended = run("jobs", "delete", "job_1")
    assert (ended.code, ended.out) == (3, "")
    assert "deleting jobs" in ended.err
    assert deleted(jobs) == []
