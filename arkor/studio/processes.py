"""Child processes that run the user's code, each the leader of a group that ends with it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arkor.entry.bundle import DEFAULT_ENTRY
from arkor.errors import Aborted
from arkor.system.job_pipe import JobPipe
from arkor.system.processes import module_command, signal_group

_LONGEST_ANSWER = 1024**2
_LOOK_S = 0.25


def start_child(
    arguments: list[str], project_dir: Path, stderr: int, job_pipe: JobPipe | None = None
) -> subprocess.Popen[bytes]:
    """Start ``arkor.cli.studio_child`` in a session of its own; it ends when its standard input is closed.

    Args:
        arguments: what it is to do.
        project_dir: its working directory.
        stderr: where its errors go, as ``Popen`` takes it; its standard output is a pipe.
        job_pipe: takes the id of the job that it starts.
    """
    unbuffered = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen(
        module_command("arkor.cli.studio_child", *arguments),
        cwd=project_dir,
        env={**os.environ, **unbuffered, **(job_pipe.environment if job_pipe else {})},
        pass_fds=[job_pipe.writer] if job_pipe else [],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
    )


def ask_child(
    arguments: list[str], project_dir: Path, timeout_s: float, is_unwanted: Callable[[], bool] = bool
) -> dict[str, Any]:
    """Return the JSON object that a child answers with, or ``{"error"}``; its processes are gone then.

    Args:
        arguments: as for ``start_child``.
        project_dir: its working directory.
        timeout_s: seconds that it has to import the entry; once it has written a byte, it takes as long as it takes.
        is_unwanted: says whether nobody waits for the answer any more.

    Raises:
        Aborted: nobody waits.
    """
    process = start_child(arguments, project_dir, subprocess.DEVNULL)
    try:
        told = _read_all(process, timeout_s, is_unwanted)
    finally:
        signal_group(process.pid)
        code = process.wait()
        for pipe in filter(None, (process.stdin, process.stdout)):
            pipe.close()
    if told is None:
        return {"error": f"{DEFAULT_ENTRY} was not imported within {timeout_s:g} s."}
    try:
        answer = json.loads(told)
    except ValueError:
        return {"error": f"{DEFAULT_ENTRY} ended the process that imported it (exit code {code})."}
    return answer if isinstance(answer, dict) else {}


def _read_all(process: subprocess.Popen[bytes], timeout_s: float, is_unwanted: Callable[[], bool]) -> bytes | None:
    """Return what a child writes until it closes its output; None where its first byte takes too long."""
    assert process.stdout is not None
    told, out, deadline = b"", process.stdout.fileno(), time.monotonic() + timeout_s
    while len(told) < _LONGEST_ANSWER:
        left_s = _LOOK_S if told else min(_LOOK_S, max(0.0, deadline - time.monotonic()))
        if select.select([out], [], [], left_s)[0]:
            data = os.read(out, 65536)
            if not data:
                break
            told += data
        elif is_unwanted():
            raise Aborted
        elif not told and time.monotonic() >= deadline:
            return None
    return told
