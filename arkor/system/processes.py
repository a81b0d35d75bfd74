"""Child processes: how Python modules are started as programs, and how processes and their groups are ended."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arkor.errors import InterpreterMissing

_CREATED_TOLERANCE_S = 2.0


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
        how: as ``subprocess.Popen`` takes it; its input is empty unless ``stdin`` is given.
    """
    with subprocess.Popen(command, **{"stdin": subprocess.DEVNULL, **how}) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            process.wait()
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


def is_alive(pid: int, created_at: float) -> bool:
    """Say whether a process of this user that was created at a certain moment has not ended.

    Args:
        pid: its process id.
        created_at: the moment, in seconds since the epoch; only Linux says whether it fits.
    """
    if sys.platform == "win32":  # there, signal 0 is Ctrl-C
        return False
    try:
        os.kill(pid, 0)
    except (OSError, OverflowError):  # gone, another user's, or no process id at all
        return False
    if sys.platform != "linux":
        return True
    found = _created_at(pid)
    return found is not None and abs(found - created_at) < _CREATED_TOLERANCE_S


def _created_at(pid: int) -> float | None:
    """Return when a process was created, by the clock as it is now; None if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        boot = next(line for line in Path("/proc/stat").read_bytes().splitlines() if line.startswith(b"btime "))
    except (OSError, StopIteration):
        return None
    state, *fields = stat.rpartition(b")")[2].split()  # before it is the command, which may hold anything
    if state in {b"Z", b"X"}:
        return None
    return int(boot.split()[1]) + int(fields[18]) / os.sysconf("SC_CLK_TCK")
