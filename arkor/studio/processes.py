"""Child processes that run the user's code, each the leader of a group that ends with it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from arkor.system.job_pipe import JobPipe
from arkor.system.processes import module_command


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
