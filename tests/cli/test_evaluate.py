"""``arkor evaluate`` and ``arkor report`` with this user's own backend, whose workers are scripted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_local import write_project
from tests.support.backend import BackendProcess
from tests.support.commands import Command, run
from tests.support.eventually import eventually

HOLD, CRASH = 1, 2  # tokens: see tests.support.scripted_evaluation


def test_a_report_is_printed_written_and_printed_again(job: str, project: Path) -> None:
    """Of the job that completed last; jobs show has its verdict."""
    ended = run("evaluate", "--limit", "5", "--step", "1", "-o", "report.html", "--local")
    assert ended.code == 0, ended.err
    verdict = ended.out.splitlines()[0]
    assert verdict.startswith("better: +100 points exactly right, 95 % interval ")
    assert f"Job {job}" in ended.err
    assert "Written: report.html" in ended.err
    assert (project / "report.html").read_text().startswith("<!doctype html>")
    again = run("report", job[:10], "--json", "--local")
    assert json.loads(again.out)["verdict"] == verdict
    assert json.loads(again.out)["candidates"] == ["base", "adapter", "checkpoint-1"]
    assert f"Evaluation: {verdict}" in run("jobs", "show", job, "--local").out


def test_rows_of_a_file_are_asked(job: str, project: Path) -> None:
    """With or without a job; rows that cannot be read are refused before anything is sent."""
    for arguments in (["rows.jsonl"], [job, "rows.jsonl"]):
        ended = run("evaluate", *arguments, "--local")
        assert ended.code == 0, ended.err
    (project / "bad.jsonl").write_text("{}\n")
    ended = run("evaluate", job, "bad.jsonl", "--local")
    assert (ended.code, ended.out) == (2, "")
    assert "bad.jsonl" in ended.err


def test_ctrl_c_leaves_the_evaluation_running_and_says_how_to_go_on(backend: BackendProcess, job: str) -> None:
    """So does a timeout."""
    command = Command("evaluate", job, "--max-tokens", str(HOLD), "--local")
    folder = backend.job_dir(job) / "evaluations"
    eventually(lambda: list(folder.glob("*/pid")), "the evaluation holds")
    ended = command.interrupt()
    assert ended.code == 130
    assert f"The evaluation goes on.\n  see its report: arkor report {job} --local" in ended.err
    late = run("report", job, "--timeout", "1s", "--local")
    assert late.code == 124
    assert f"goes on: 'arkor report {job}' waits for it." in late.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--max-tokens", str(CRASH)], 1, "failed: Its process ended with exit code 7."),
        (["--scorer", "exakt"], 2, "there is no scorer 'exakt'; did you mean exact?"),
        (["--step", "9"], 1, "has no checkpoint of step 9"),
        (["--against", "job_none"], 3, "job_none"),
    ],
)
def test_what_cannot_be_evaluated_is_an_error(job: str, arguments: list[str], code: int, says: str) -> None:
    """With its exit code, and without a traceback."""
    ended = run("evaluate", job, *arguments, "--local")
    assert (ended.code, ended.out) == (code, "")
    assert says in ended.err


def test_a_job_without_a_report_is_told_how_to_get_one(job: str) -> None:
    """The error names the command."""
    ended = run("report", job, "--local")
    assert ended.code == 3
    assert f"Job {job} has no report: 'arkor evaluate {job}' makes one." in ended.err


def test_a_start_ends_with_the_verdict_that_the_settings_ask_for(backend: BackendProcess, project: Path) -> None:
    """In one line, with the command that shows the whole report."""
    write_project(project, "complete:2")
    entry = project / "src" / "arkor" / "index.py"
    more = 'dataset_split={"eval_fraction": 0.4}, evaluation={"limit": 3})'
    entry.write_text(entry.read_text().replace("save_steps=None)", more))
    ended = run("start", "--local")
    assert ended.code == 0, ended.err
    assert "Evaluation: better: +100 points exactly right, 95 % interval " in ended.out
    assert "arkor report job_" in ended.out
