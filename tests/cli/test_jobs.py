"""``arkor jobs`` and ``arkor download``, against a stand-in for Arkor Cloud."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from arkor import BlobDataset
from arkor.cli import cli
from tests.support.cloud import Cloud
from tests.support.commands import run
from tests.support.contract import Answer, Stream
from tests.support.events import END, completed, started
from tests.support.shelf import tar
from tests.support.terminal import Terminal
from tests.support.waiting import make_trainer


@pytest.fixture
def jobs(routed_cloud: Cloud) -> Cloud:
    """A project with three jobs, of which one has run for a while and one failed."""
    for number, name in enumerate(["first", "second\x1b[31m", "x" * 50], start=1):
        make_trainer(routed_cloud, name=name).start()
        routed_cloud.jobs[f"job_{number}"]["createdAt"] = f"2026-01-0{number}T00:00:00.000Z"
    times = {"startedAt": "2026-01-01T00:00:00.000Z", "completedAt": "2026-01-01T01:02:03.000Z"}
    routed_cloud.jobs["job_1"].update(status="failed", error="boom", **times)
    return routed_cloud


def test_the_jobs_of_the_project_are_listed_newest_first(jobs: Cloud) -> None:
    """On one line each, whatever the backend says of them."""
    ended = run("jobs")
    head, *lines = ended.out.splitlines()
    assert head.split() == ["ID", "STATUS", "NAME", "CREATED", "TOOK", "MODEL", "STEPS", "LOSS", "HELD-OUT"]
    assert [line.split()[:2] for line in lines] == [["job_3", "queued"], ["job_2", "queued"], ["job_1", "failed"]]
    assert "  1h 02m  " in lines[-1]
    assert "…" in lines[0]
    assert "\x1b" not in ended.out


def test_jobs_can_be_chosen_by_status_and_named_alone(jobs: Cloud) -> None:
    """For scripts."""
    assert run("jobs", "-q", "--status", "queued").out == "job_3\njob_2\n"
    ended = run("jobs", "--status", "running")
    assert (ended.code, ended.out, ended.err) == (0, "", "No jobs with status running.\n")


def test_the_newest_jobs_are_listed_and_the_others_on_demand(jobs: Cloud) -> None:
    """On a terminal a hint says that there are others; what programs read is whole unless they limit it."""
    for number in range(4, 61):
        at = f"2026-02-01T00:{number - 1:02}:00.000Z"
        jobs.jobs[f"job_{number}"] = {**jobs.jobs["job_2"], "id": f"job_{number}", "createdAt": at}
    newest = [f"job_{number}" for number in range(60, 0, -1)]

    def listed(*options: str) -> tuple[list[str], str]:
        ended = run("jobs", *options)
        return [line.split()[0] for line in ended.out.splitlines() if line.startswith("job_")], ended.err

    with Terminal("jobs") as terminal:
        code, shown = terminal.end()
    lines = shown.splitlines()
    assert (code, [line.split()[0] for line in lines[1:-1]]) == (0, newest[:50])
    assert lines[-1] == "These are the newest 50. To list more: --limit N or --all"
    assert listed("--limit", "2") == (newest[:2], "These are the newest 2. To list more: --limit N or --all\n")
    assert listed() == listed("--limit", "60") == listed("--all") == listed("-q") == (newest, "")
    assert listed("-q", "--limit", "3") == (newest[:3], "")
    assert listed("--status", "failed") == (["job_1"], "")
    assert len(json.loads(run("jobs", "--json").out)) == 60
    assert run("jobs", "--all", "--limit", "2").code == 2


@pytest.mark.parametrize(
    "option", ["--local", "--json", "--quiet", "--status=failed", "--all", "--everywhere", "--limit=3"]
)
def test_an_option_before_a_command_is_not_passed_over(option: str) -> None:
    """It would ask another backend, or print another form, than was asked for."""
    ended = CliRunner().invoke(cli, ["jobs", option, "show", "job_1"])
    assert ended.exit_code == 2
    assert "Put options after the command: arkor jobs show" in ended.stderr


def test_a_terminal_gets_short_ids_and_how_far_jobs_are(jobs: Cloud) -> None:
    """As much as it has room for; each id is a prefix that other commands take, and a pipe gets it whole."""
    progress = {"step": 24, "loss": 0.1234, "evalLoss": 0.5}
    for number in (2, 3):
        whole = f"job_{number}bcdefghijkl"
        jobs.jobs[whole] = {**jobs.jobs.pop(f"job_{number}"), "id": whole, "progress": progress, "status": "running"}
    jobs.jobs["job_2bcdefghijkl"]["config"] = {"model": "owner/base-1b", "maxSteps": 60}

    def shown(columns: int) -> list[list[str]]:
        with Terminal("jobs", columns=columns) as terminal:
            code, seen = terminal.end()
        assert code == 0
        assert all(len(line) <= columns for line in seen.splitlines())
        return [line.split() for line in seen.splitlines()]

    head, _, second, _ = shown(140)
    assert head == ["ID", "STATUS", "NAME", "MODEL", "STEPS", "LOSS", "HELD-OUT", "AGE", "TOOK"]
    assert second[:8] == ["job_2bcdef", "running", "second", "[31m", "base-1b", "24/60", "0.123", "0.500"]
    assert shown(50)[0][:3] == ["ID", "STATUS", "NAME"]
    assert run("jobs", "show", "job_2bcdef").out.splitlines()[0].split() == ["id", "job_2bcdefghijkl"]
    assert run("jobs").out.splitlines()[2].startswith("job_2bcdefghijkl  running")


def test_the_jobs_of_all_projects_are_listed_on_request(jobs: Cloud) -> None:
    """With the project of each, from any folder."""
    ended = run("jobs", "--everywhere")
    assert (ended.code, ended.err) == (0, "")
    head, *lines = ended.out.splitlines()
    assert head.split()[:3] == ["ID", "PROJECT", "STATUS"]
    assert [line.split()[0] for line in lines] == ["job_3", "job_2", "job_1"]


def test_a_project_without_jobs_says_so(routed_cloud: Cloud) -> None:
    """And is not an error; for a script the list is empty."""
    assert run("jobs").err == "No jobs yet.\n"
    assert json.loads(run("jobs", "--json").out) == []


def test_a_job_is_shown_by_the_beginning_of_its_id(jobs: Cloud) -> None:
    """Which must be the only one; the error names some of the others."""
    jobs.jobs["abc_1"] = {**jobs.jobs.pop("job_1"), "id": "abc_1"}
    jobs.features = {"artifacts"}
    left = [{"name": "adapter", "kind": "adapter", "sizeBytes": 3 * 2**19}, {"name": "odd\x07", "kind": "adapter"}]
    jobs.answer("GET", "/v1/jobs/*/artifacts", Answer(body={"artifacts": left}))
    shown = run("jobs", "show", "abc").out
    assert "status   failed\nerror    boom\n" in shown
    assert shown.endswith("\nartifacts\n  adapter  1.5 MiB\n  odd      0.0 MiB\n")
    ambiguous = run("jobs", "show", "job_")
    assert (ambiguous.code, ambiguous.out) == (2, "")
    assert "2 ids begin with 'job_', type more of the one you mean: job_" in ambiguous.err
    missing = run("jobs", "show", "nobody")
    assert (missing.code, missing.out) == (3, "")


def test_a_job_is_shown_with_what_made_its_adapters(jobs: Cloud) -> None:
    """In a line each, safe for a terminal; a job of an older backend has none of it."""
    record = {"model": {"name": "owner/base"}, "versions": {"torch": "2\x1b[31m"}, "device": "cpu", "dtype": "float32"}
    jobs.features = {"stored-events"}
    answers = [Answer(body={"events": [["1", started(**said)]], "more": False}) for said in ({"record": record}, {})]
    jobs.answer("GET", "/v1/jobs/*/events", *answers)
    shown = run("jobs", "show", "job_1").out
    assert "made from\n  model     owner/base\n  machine   cpu, float32\n  versions  torch 2" in shown
    assert "\x1b" not in shown
    assert "made from" not in run("jobs", "show", "job_1").out


def test_a_job_shows_the_advice_on_its_settings(jobs: Cloud) -> None:
    """Under what became of its rows."""
    jobs.features = {"stored-events"}
    said = started(receipt={"rows": 9}, advice=["double max_steps"])
    jobs.answer("GET", "/v1/jobs/*/events", Answer(body={"events": [["1", said]], "more": False}))
    assert "\n  Advice: double max_steps\n" in run("jobs", "show", "job_1").out


def test_a_job_says_which_adapter_is_the_final_one(jobs: Cloud) -> None:
    """And why it ended, where that is not usual."""
    jobs.features = {"stored-events"}
    told = [["1", started()], ["2", completed(bestStep=40, bestEvalLoss=0.5, endReason="early_stopping")]]
    jobs.answer("GET", "/v1/jobs/*/events", Answer(body={"events": told, "more": False}))
    assert "\nThe adapter is that of step 40, the best evaluation (eval loss 0.5000).\nThe training stopped early" in (
        run("jobs", "show", "job_1").out
    )


def test_without_an_id_the_newest_job_is_meant(jobs: Cloud) -> None:
    """A line on stderr says which; stdout stays as it is with the id."""
    for command in (["jobs", "show"], ["metrics", "--json"]):
        ended, named = run(*command), run(*command, "job_3")
        assert (ended.code, ended.out) == (0, named.out)
        assert ended.err.startswith(f"Job job_3 ({'x' * 50}), the newest:\n")


def test_without_an_id_a_project_without_jobs_is_told_what_to_do(routed_cloud: Cloud) -> None:
    """By each command that chooses a job by itself."""
    for command in ("attach", "logs", "metrics", "jobs show"):
        ended = run(*command.split())
        assert (ended.code, ended.out) == (2, "")
        assert "This project has no job yet: start one with 'arkor start'." in ended.err
    assert "No job has completed yet in this project; 'arkor jobs' lists its jobs." in run("download").err


def test_without_an_id_download_takes_the_job_that_completed_last(jobs: Cloud) -> None:
    """A newer job has no adapter yet, and a dry run leaves none to use."""
    jobs.jobs["job_2"].update(status="completed", completedAt="2026-01-05T00:00:00.000Z")
    jobs.jobs["job_1"].update(status="completed", completedAt="2026-01-06T00:00:00.000Z")
    jobs.jobs["job_1"]["config"]["dryRun"] = True
    jobs.features = {"artifacts"}
    jobs.answer("GET", "/v1/jobs/*/artifacts", Answer(body={"artifacts": []}))
    ended = run("download")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err.startswith("Job job_2 (second [31m), the last that completed:\n")


def test_no_terminal_obeys_what_a_job_is_called(routed_cloud: Cloud) -> None:
    """Nor its status: both are the backend's words."""
    told = {"id": "job_9\x07", "name": "run", "status": "completed\x07"}
    routed_cloud.jobs = {"job_9": told, "job_9%07": told}
    routed_cloud.stream(Stream(frames=[END]), Stream(frames=[END]))
    for command in ("jobs -q", "logs job_9", "metrics job_9", "cancel job_9"):
        ended = run(*command.split())
        shown = ended.out + ended.err
        assert "job_9" in shown, shown
        assert "\x07" not in shown, shown


def test_a_figure_that_is_not_finite_is_null(routed_cloud: Cloud) -> None:
    """JSON has no word for it, and most readers would stop at one."""
    told = {"id": "job_9", "name": "é", "status": "failed", "progress": {"loss": float("nan")}}
    routed_cloud.jobs = {"job_9": told}
    for command in ("jobs --json", "jobs show job_9 --json"):
        ended = run(*command.split())
        body = json.loads(ended.out, parse_constant=pytest.fail)
        assert (body[0] if isinstance(body, list) else body)["progress"] == {"loss": None}
        assert ended.out.isascii()


def test_the_token_of_a_data_set_is_not_shown(routed_cloud: Cloud) -> None:
    """Neither to people nor to scripts."""
    make_trainer(routed_cloud, dataset=BlobDataset("http://example.com/rows", token="secret-1")).start()
    for command in (["jobs", "--json"], ["jobs", "show", "job_1"], ["jobs", "show", "job_1", "--json"]):
        ended = run(*command)
        assert "secret-1" not in ended.out + ended.err
        assert ended.code == 0
    assert "http://example.com/rows" in run("jobs", "show", "job_1").out


def test_what_a_job_left_is_fetched(jobs: Cloud, project: Path) -> None:
    """Each artifact becomes a folder; a job that left nothing says so."""
    jobs.features = {"artifacts"}
    artifact = {"name": "adapter", "kind": "adapter", "sizeBytes": len(tar({"a": b"1"}))}
    left = [Answer(body={"artifacts": listed}) for listed in ([artifact], [artifact], [])]
    jobs.answer("GET", "/v1/jobs/*/artifacts", *left)
    jobs.answer("GET", "/v1/jobs/*/artifacts/*", *[Answer(body=tar({"a": b"1"}))] * 2)
    first, second = (run("download", "job_1", "-o", "here") for _ in range(2))
    assert first.out == second.out == "here/adapter\n"
    replaced = "Replaced the here/adapter of an earlier download; -o names another folder.\n"
    assert [replaced in ended.err for ended in (first, second)] == [False, True]
    assert (project / "here" / "adapter" / "a").read_bytes() == b"1"
    assert "Job job_1 (failed) has no artifacts." in run("download", "job_1").err
