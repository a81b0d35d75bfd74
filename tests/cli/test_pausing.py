"""Jobs that are interrupted, paused, unpaused and resumed, on the command line."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import pytest

from tests.cli.test_following import rows
from tests.cli.test_local import started_job, write_project
from tests.support.backend import BackendProcess
from tests.support.cloud import Cloud
from tests.support.commands import Command, run
from tests.support.contract import Late, Stream
from tests.support.events import END, completed, failed, frames, log, started
from tests.support.eventually import eventually
from tests.support.terminal import Terminal
from tests.support.waiting import make_trainer

INTERRUPTED = {"type": "training.interrupted", "reason": "Its worker stopped reporting", "step": 1}
PAUSED = {"type": "training.paused", "reason": "it was paused by a person", "step": 1}
UNPAUSED = {"type": "training.unpaused"}
HINT = "To go on from its last checkpoint, if it saved one: arkor jobs resume"


# With a real backend


def test_a_job_is_paused_and_unpaused_while_it_is_followed(backend: BackendProcess, project: Path) -> None:
    """The command that follows it goes on, and says what to do; a pause counts as a job that runs."""
    write_project(project, "gated:4", save_steps=2)
    command = Command("start", "--local")
    job_id = started_job(command)
    backend.allow(job_id, 3)
    eventually(lambda: backend.checkpoint(job_id) == 2, "a checkpoint is saved")
    paused = run("jobs", "pause", job_id[:8], "--local")
    assert paused.out == f"Asked the backend to pause job {job_id}: it saves a checkpoint first.\n"
    assert (paused.code, paused.err) == (0, f"  unpause it: arkor jobs unpause {job_id} --local\n")
    eventually(lambda: run("jobs", "-q", "--status", "paused", "--local").out == f"{job_id}\n", "it is paused")
    again = run("jobs", "pause", job_id, "--local")
    assert (again.code, again.out) == (0, f"Job {job_id} is paused.\n")
    assert "paused" in run("jobs", "--local").out
    assert "\npause reason  it was paused by a person\n" in run("jobs", "show", job_id, "--local").out
    skipped = run("start", "--local", "--if-running", "skip")
    assert skipped.err == f"Job {job_id} of the same name (gated:4) is paused: nothing was started.\n"
    unpaused = run("jobs", "unpause", job_id, "--local")
    assert (unpaused.code, unpaused.err) == (0, "")
    assert unpaused.out.startswith(f"Job {job_id} goes on: it is ")
    backend.allow(job_id, 4)
    ended = command.end()
    assert ended.code == 0
    before, _, after = ended.out.partition(f". Unpause it with: arkor jobs unpause {job_id} --local\nUnpaused\n")
    assert "\nPaused at step " in before
    assert "step 4/4  loss 0.2500\n" in after
    refused = run("jobs", "unpause", job_id, "--local")
    assert (refused.code, "is completed, not paused" in refused.err) == (3, True)


def test_a_failed_job_is_resumed_as_its_hint_says(backend: BackendProcess, project: Path) -> None:
    """The new job's id is on stdout, as of a detached start; each resumption makes a job of its own."""
    write_project(project, "stumble:fail@2/4", save_steps=2)
    failed_start = run("start", "--local")
    (job_id,) = run("jobs", "-q", "--local").out.split()
    assert (failed_start.code, failed_start.err) == (
        1,
        f"Error: The scripted worker was told to fail.\n{HINT} {job_id} --local\n",
    )
    resumed = run("jobs", "resume", job_id, "--local")
    new_id = resumed.out.strip()
    assert resumed.code == 0
    assert resumed.err.splitlines() == [
        f"Job {new_id} goes on from step 2 of job {job_id}.",
        f"Job {new_id} keeps running.",
        f"  follow it: arkor attach {new_id} --local",
        f"  stop it:   arkor cancel {new_id} --local",
    ]
    attached = run("attach", new_id, "--local")
    assert (attached.code, attached.err) == (0, "")
    assert [line for line in attached.out.splitlines() if line.startswith("step") and "loss" in line] == [
        "step 3/4  loss 0.3333",
        "step 4/4  loss 0.2500",
    ]
    assert f"\nresumed from  step 2 of job {job_id}\n" in run("jobs", "show", new_id, "--local").out
    as_json = run("jobs", "resume", job_id, "--json", "--local")
    (line,) = as_json.out.splitlines()
    assert json.loads(line)["resumedFrom"] == {"jobId": job_id, "step": 2}
    assert json.loads(line)["id"] not in {job_id, new_id}
    refused = run("jobs", "resume", new_id, "--local")
    assert (refused.code, refused.out) == (3, "")
    assert "only a job that failed or was cancelled is resumed" in refused.err


def test_a_job_whose_worker_dies_goes_on_with_a_warning(backend: BackendProcess, project: Path) -> None:
    """And completes."""
    write_project(project, "stumble:-9@2/4", save_steps=2)
    ended = run("start", "--local")
    assert (ended.code, ended.err) == (0, "")
    warning = "Warning: Its worker was killed by signal SIGKILL (often: out of memory): the job goes on by itself."
    assert f"\nstep 2/4  checkpoint saved\n{warning}\nstep 3/4  loss 0.3333\n" in ended.out
    (job_id,) = run("jobs", "-q", "--local").out.split()
    assert f"  {warning}\n" in run("logs", job_id, "--local").out


def test_a_full_disk_pauses_a_job_until_there_is_room(home: Path, project: Path) -> None:
    """By itself: there is nothing to type."""
    backend = BackendProcess(home / ".arkor" / "local", disk_retry=0.1).start()
    try:
        write_project(project, "stumble:28@2/4", save_steps=2)
        ended = run("start", "--local")
    finally:
        backend.close()
    assert (ended.code, ended.err) == (0, "")
    told = r"\nPaused at step 2: the disk is full: \d+ MiB are free for .*; it goes on by itself when there is room\n"
    assert re.search(told + r"Unpaused\nstep 3/4 ", ended.out)


# Against a stand-in


@pytest.fixture
def job(routed_cloud: Cloud) -> Cloud:
    """A stand-in for a backend that pauses and resumes jobs, with one."""
    routed_cloud.features = {"pause-jobs", "resume-jobs"}
    make_trainer(routed_cloud).start()
    return routed_cloud


def test_interruptions_and_pauses_are_shown_above_the_bar(job: Cloud) -> None:
    """People read them there; the figures of the log stay in the bar."""
    job.plan = [started(), log(1, 2.5), INTERRUPTED, PAUSED, UNPAUSED, log(2, 1.5), completed()]
    with Terminal("attach", "job_1") as terminal:
        code, shown = terminal.end()
    assert (code, rows(shown)[:5]) == (
        0,
        [
            "Following job job_1",
            "  model  m",
            "Warning: Its worker stopped reporting: the job goes on by itself.",
            "Paused at step 1. Unpause it with: arkor jobs unpause job_1",
            "Unpaused",
        ],
    )
    assert "\rpaused  1  loss 2.5000" in shown


def test_interruptions_and_pauses_travel_as_json(job: Cloud) -> None:
    """As every event does; there is no word about them beside that."""
    job.plan = [started(), INTERRUPTED, PAUSED, completed()]
    ended = run("attach", "job_1", "--json")
    told = [json.loads(line) for line in ended.out.splitlines()]
    assert [body["type"] for body in told[1:3]] == ["training.interrupted", "training.paused"]
    assert "Paused" not in ended.err


@pytest.mark.parametrize(
    ("plan", "features", "hinted"),
    [
        ([log(1, 2.5), failed("boom")], {"resume-jobs"}, True),
        ([log(1, 2.5), {"type": "training.cancelled"}], {"resume-jobs"}, True),
        ([started(), failed("boom")], {"resume-jobs"}, False),
        ([log(0, 2.5), failed("boom")], {"resume-jobs"}, False),
        ([log(1, 2.5), failed("boom")], {"pause-jobs"}, False),
        ([log(1, 2.5), completed()], {"resume-jobs"}, False),
    ],
    ids=["failed", "cancelled", "before the first log", "before the first step", "no such feature", "completed"],
)
def test_the_hint_to_resume_is_given_where_it_may_help(
    job: Cloud, plan: list[dict[str, object]], features: set[str], hinted: bool
) -> None:
    """A backend that resumes jobs, a job that did not complete, and steps that were trained."""
    job.features = features
    job.stream(Stream(frames=[*frames(plan), END]))
    assert (f"{HINT} job_1\n" in run("attach", "job_1").err) is hinted


def test_a_paused_job_that_is_left_stays_paused(job: Cloud) -> None:
    """The last lines say how it goes on."""
    job.stream(Stream(frames=frames([started(), PAUSED]), gate=threading.Event()))
    command = Command("attach", "job_1")
    assert command.process.stdout is not None
    for line in command.process.stdout:
        if line.startswith("Paused"):
            break
    ended = command.interrupt()
    assert ended.code == 130
    assert "Job job_1 stays paused.\n" in ended.err
    assert "\n  unpause it: arkor jobs unpause job_1\n" in ended.err


def test_a_resumption_that_is_interrupted_says_that_there_may_be_a_job(job: Cloud) -> None:
    """Its answer is lost, and with it the id."""
    job.jobs["job_1"]["status"] = "failed"
    job.answer("POST", "/v1/jobs/*/resume", Late(gate=threading.Event()))
    command = Command("jobs", "resume", "job_1")
    eventually(lambda: "job_2" in job.jobs, "the job is made")
    ended = command.interrupt()
    assert (ended.code, ended.out) == (130, "")
    assert ended.err == "Interrupted; job job_1 may have been resumed: 'arkor jobs' lists all jobs.\n"


@pytest.mark.parametrize("word", ["pause", "unpause", "resume"])
def test_a_backend_without_the_feature_is_named(job: Cloud, word: str) -> None:
    """Nothing is asked of it; a job that is not there, and an id of none, are errors too."""
    job.features = None
    ended = run("jobs", word, "job_1")
    assert (ended.code, ended.out) == (3, "")
    assert f"does not support {'resuming' if word == 'resume' else 'pausing'} jobs" in ended.err
    assert not job.calls("POST", f"/v1/jobs/job_1/{word}")
    assert run("jobs", word, "job_9").code == 3
    assert run("jobs", word).code == 2
