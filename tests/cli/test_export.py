"""``arkor export`` with this user's own backend, whose workers are scripted."""

from __future__ import annotations

from pathlib import Path

from tests.support.backend import BackendProcess
from tests.support.commands import Command, run
from tests.support.eventually import eventually


def test_an_export_is_made_and_fetched(job: str, project: Path) -> None:
    """Of the job that completed last; jobs show tells of it, and download fetches it by its name alone."""
    ended = run("export", "--to", "adapter", "--local")
    assert ended.code == 0, ended.err
    verdict, where = ended.out.splitlines()
    assert verdict == "It answers as chats do"
    folder = Path(where.removeprefix("Exported: "))
    assert (folder / "README.md").is_file()
    assert "Export to adapter: completed, answers as chats do" in run("jobs", "show", job, "--local").out
    fetched = run("download", job, "--local").out.splitlines()
    assert sorted(Path(line).name for line in fetched) == ["adapter", "checkpoint-1", "checkpoint-2"]
    again = run("download", job, "--artifact", folder.name, "-o", "again", "--local")
    assert (project / "again" / folder.name / "README.md").is_file(), again.err
    other = run("download", job, "--artifact", "nothing", "--local")
    assert (other.code, "there is no nothing; the job has" in other.err) == (2, True)


def test_an_export_that_fails_says_why(job: str) -> None:
    """With exit code 1, and nothing is written."""
    ended = run("export", job, "--to", "merged", "--dtype", "bfloat16", "--local")
    assert ended.code == 1
    assert f"of job {job} failed: Its process ended with exit code 7." in ended.err
    assert not Path("exports").exists()


def test_ctrl_c_leaves_the_export_running(backend: BackendProcess, job: str) -> None:
    """So does a timeout; both say how to go on."""
    command = Command("export", job, "--to", "merged", "--dtype", "float16", "--local")
    folder = backend.job_dir(job) / "exports"
    eventually(lambda: list(folder.glob("*/pid")), "the export holds")
    ended = command.interrupt()
    assert ended.code == 130
    assert f"Interrupted. The export goes on: arkor jobs show {job}" in ended.err
    late = run("export", job, "--to", "merged", "--dtype", "float16", "--timeout", "1s", "--local")
    assert (late.code, f"'arkor jobs show {job}' says how far it is" in late.err) == (124, True)
    assert "Export to merged: running" in run("jobs", "show", job, "--local").out
