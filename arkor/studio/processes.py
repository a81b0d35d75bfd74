"""Child processes that run the user's code, each the leader of a group that ends with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

# The project's folder is not to hide modules of arkor's or of Python's own; -P is there since 3.11.
_PYTHON = [sys.executable, *(["-P"] if sys.version_info >= (3, 11) else [])]


def start_child(arguments: list[str], project_dir: Path, stderr: int) -> subprocess.Popen[bytes]:
    """Start ``arkor.studio.child`` in a session of its own; it ends when its standard input is closed.

    Args:
        arguments: what it is to do.
        project_dir: its working directory.
        stderr: where its errors go, as ``Popen`` takes it; its standard output is a pipe.
    """
    return subprocess.Popen(
        [*_PYTHON, "-m", "arkor.studio.child", *arguments],
        cwd=project_dir,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
    )


def signal_group(process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
    """Send a signal to a child and to all that it started and that are still of its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses where all have ended
        os.killpg(process.pid, number)
