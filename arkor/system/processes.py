"""Child processes: how Python modules are started as programs, and how processes and their groups are ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this installation with this interpreter.

    Files in the working folder never replace libraries of the same name: that is what ``-P`` does, which Python has
    since 3.11.
    """
    safe_path = ["-P"] if sys.version_info >= (3, 11) else []
    return [sys.executable, *safe_path, "-m", module, *arguments]


@contextlib.contextmanager
def child(command: list[str], **how: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run a process that does not outlive the block: it is killed if the block raises, and waited for.

    Args:
        command: the program and its arguments.
        how: as ``subprocess.Popen`` takes it.
    """
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, **how) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def signal_group(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to the process group that a process leads; do nothing if the group is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses where all have ended
        os.killpg(pid, number)


def end(process: subprocess.Popen[Any], patience_s: float) -> None:
    """Wait for a process that leads its group; kill the group after ``patience_s`` seconds."""
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        signal_group(process.pid)
        process.wait()
