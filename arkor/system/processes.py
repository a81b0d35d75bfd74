"""Child processes: how Python modules are started as programs, and how processes and their groups are ended."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from arkor.errors import InterpreterMissing


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this installation with this interpreter.

    Files in the working folder never replace libraries of the same name: that is what ``-P`` does, which Python has
    since 3.11.

    Raises:
        InterpreterMissing: the interpreter's file is gone, as after an upgrade of Python under a running program.
    """
    if not sys.executable or not os.access(sys.executable, os.X_OK):
        raise InterpreterMissing(
            errno.ENOENT,
            f"The Python that runs arkor cannot be started again: {sys.executable or 'its path is not known'}. "
            "Was it upgraded or moved meanwhile? Create the virtual environment again, then restart this program.",
        )
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
