"""Commands whose reader leaves early, as ``head -1`` does: what goes on, what ends, and with which exit code."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.cli.test_commands import write_entry
from tests.support.cloud import Cloud
from tests.support.commands import TIMEOUT_S
from tests.support.contract import Stream
from tests.support.events import chunk, completed, failed, frame, log, started
from tests.support.eventually import eventually

# Prints in every way there is, and notes that it goes on.
CALLBACK = """
import os, sys
from pathlib import Path
def called(log):
    print("called", log.step)
    sys.stdout.write("x" * 100_000)
    sys.stdout.buffer.write(b"bytes")
    sys.stdout.buffer.flush()
    os.system("echo child")
    with Path("called").open("a") as file:
        file.write(f"{log.step} ")
"""
NONE_LEFT = ["Error", "Traceback", "BrokenPipe", "Broken pipe", "Exception ignored"]


@attrs.frozen
class Ended:
    """How a command ended, and what it said on stderr."""

    code: int
    err: str


def unread(*arguments: str, both: bool = False, options: tuple[str, ...] = ()) -> Ended:
    """Run a command whose standard output, or that and its standard error, is a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [sys.executable, *options, "-m", "arkor.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer if both else subprocess.PIPE,
            env={**os.environ, "PYTHONWARNINGS": "error"},
            timeout=TIMEOUT_S,
            check=False,
        )
    finally:
        os.close(writer)
    return Ended(ended.returncode, (ended.stderr or b"").decode())


def after_one_line(*arguments: str) -> tuple[subprocess.Popen[bytes], bytes]:
    """Start a command, read its first line, and leave."""
    command = [sys.executable, "-m", "arkor.cli", *arguments]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    assert process.stdout is not None
    with process.stdout as out:
        line = out.readline()
    return process, line


def ended(process: subprocess.Popen[bytes]) -> Ended:
    """Wait for the end of a command."""
    try:
        _, err = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
    return Ended(process.returncode, err.decode())


@pytest.fixture
def jobs(routed_cloud: Cloud) -> Cloud:
    """A project with many jobs, one of which has ended."""
    for number in range(200):
        routed_cloud.jobs[f"job_{number}"] = {"id": f"job_{number}", "name": "run", "status": "completed"}
    return routed_cloud


# Commands that list


@pytest.mark.parametrize(
    "arguments",
    [
        ("jobs",),
        ("jobs", "--json"),
        ("logs", "job_7", "--json"),
        ("metrics", "job_7", "--csv"),
        ("--help",),
    ],
    ids=" ".join,
)
def test_a_list_that_nobody_reads_is_no_failure(jobs: Cloud, arguments: tuple[str, ...]) -> None:
    """Exit code 0, and not a word on stderr."""
    assert unread(*arguments) == Ended(0, "")


def test_a_list_is_no_failure_unbuffered_and_with_its_errors_in_the_same_pipe(jobs: Cloud) -> None:
    """``python -u -m arkor jobs 2>&1 | head -1``."""
    assert unread("jobs", options=("-u",)) == Ended(0, "")
    assert unread("jobs", both=True, options=("-u",)).code == 0


def test_a_shell_that_heeds_every_exit_code_goes_on(jobs: Cloud) -> None:
    """``set -o pipefail; arkor jobs | head -1``."""
    command = f"set -o pipefail; {shlex.quote(sys.executable)} -m arkor.cli jobs | head -1"
    shell = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (shell.returncode, shell.stdout.split(), shell.stderr) == (
        0,
        ["ID", "STATUS", "NAME", "CREATED", "TOOK", "MODEL", "STEPS", "LOSS", "HELD-OUT"],
        "",
    )


@pytest.mark.parametrize(
    ("arguments", "code"), [(("jobs", "show", "nosuch"), 3), (("nosuch",), 2), (("dataset", "check", "rows.jsonl"), 2)]
)
def test_a_failure_that_nobody_reads_keeps_its_exit_code(jobs: Cloud, arguments: tuple[str, ...], code: int) -> None:
    """Also if the message goes into the closed pipe."""
    Path("rows.jsonl").write_text("no row\n")
    assert unread(*arguments, both=True).code == code


def test_logs_that_are_followed_end_with_their_reader(jobs: Cloud) -> None:
    """``arkor logs -f ID | head -1`` ends with the next line, though the job goes on."""
    jobs.jobs["job_7"]["status"] = "running"
    gate, forever = threading.Event(), threading.Event()
    first, second = frame(1, started()), frame(2, log(1, 2.5))
    jobs.stream(Stream(frames=[first], gate=gate), Stream(frames=[second], gate=forever))
    process, line = after_one_line("logs", "-f", "job_7")
    assert line.endswith(b"  Training started\n")
    gate.set()
    assert ended(process) == Ended(0, "")
    assert not forever.is_set()


# Commands that do something


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["lines", "json"])
@pytest.mark.parametrize(
    ("last", "code"), [(completed(), 0), (failed("out of memory"), 1)], ids=["completed", "failed"]
)
def test_a_start_that_nobody_reads_waits_for_its_job(
    arkor_cloud: Cloud, options: tuple[str, ...], last: Mapping[str, Any], code: int
) -> None:
    """``arkor start | head -1`` exits as the job ends; the callbacks are called and may print."""
    gate = threading.Event()
    arkor_cloud.plan = [started(), log(1, 2.5), log(2, 1.5), last]
    arkor_cloud.stream(Stream(frames=[frame(1, started())], gate=gate))
    file = write_entry(more='callbacks={"on_log": called}')
    file.write_text(CALLBACK + file.read_text())
    process, line = after_one_line("start", *options)
    assert b"Started job job_1" in line or b"training.started" in line
    gate.set()
    over = ended(process)
    assert over.code == code
    assert Path("called").read_text() == "1 2 "
    messages = over.err.replace("Error: out of memory\n", "")
    assert not [word for word in NONE_LEFT if word in messages], messages


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["lines", "json"])
@pytest.mark.parametrize("both", [False, True], ids=["stdout", "both"])
def test_attach_waits_too(routed_cloud: Cloud, options: tuple[str, ...], both: bool) -> None:
    """Also if nobody reads from the start, its errors included."""
    routed_cloud.plan = [started(), failed("out of memory")]
    routed_cloud.jobs["job_9"] = {"id": "job_9", "status": "running"}
    over = unread("attach", "job_9", *options, both=both)
    assert over.code == 1
    assert both or over.err.endswith("Error: out of memory\n")
    assert "Broken" not in over.err


def test_an_artifact_that_runs_by_itself_waits_too(arkor_cloud: Cloud) -> None:
    """``python .arkor/build/index.pyz | head -1``."""
    write_entry()
    assert unread("build") == Ended(0, "")
    gate = threading.Event()
    arkor_cloud.stream(Stream(frames=[frame(1, started())], gate=gate))
    process = subprocess.Popen(
        [sys.executable, ".arkor/build/index.pyz"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    eventually(lambda: arkor_cloud.streams, "the job is followed")
    assert process.stdout is not None
    process.stdout.close()
    gate.set()
    assert ended(process) == Ended(0, "")


def test_an_answer_without_a_reader_is_left(routed_cloud: Cloud) -> None:
    """The rest of it is not waited for: nobody would see it."""
    routed_cloud.jobs["job_1"] = {"id": "job_1", "status": "completed"}
    gate = threading.Event()
    routed_cloud.says(Stream(frames=[chunk("Once upon"), chunk(" a time")], gate=gate))
    ended = unread("chat", "job_1", "Tell me a story.")
    gate.set()
    assert ended == Ended(0, "")
