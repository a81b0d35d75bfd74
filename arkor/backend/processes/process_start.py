"""Telling two processes with the same id apart, by the moment that each started.

On Linux that moment is a number of clock ticks since the boot, with the id of that boot: setting the wall clock changes
neither. Elsewhere it is the creation time, which may move a little with the clock.
"""

from __future__ import annotations

from pathlib import Path

import psutil

_BOOT = "boot"
_CREATED = "created"
_CREATED_TOLERANCE_S = 2.0
# The places of the fields in /proc/<pid>/stat, counted after the name of the program, which may contain anything.
_STATE, _START_TICKS = 0, 19
_ENDED_STATES = frozenset("ZXx")


def process_start(pid: int, proc: Path = Path("/proc")) -> str:
    """Return when a process started, as a text to compare; also for one that has ended and was not collected.

    Args:
        pid: its id.
        proc: the folder of the kernel's files about processes; one that does not exist has the creation time used.

    Raises:
        psutil.NoSuchProcess: there is no such process.
    """
    boot = boot_id(proc)
    if boot is None:
        return f"{_CREATED}:{psutil.Process(pid).create_time()}"
    return f"{_BOOT}:{boot}:{_stat(pid, proc)[_START_TICKS]}"


def is_running(pid: int, start: str, proc: Path = Path("/proc")) -> bool:
    """Whether the process that started then has not ended. A zombie has ended, even if nobody collects it.

    Args:
        pid: its id.
        start: as ``process_start`` returned it, now or in an earlier process.
        proc: the folder of the kernel's files about processes.
    """
    try:
        if start.startswith(f"{_CREATED}:"):
            return _runs_since(psutil.Process(pid), float(start.partition(":")[2]))
        return process_start(pid, proc) == start and _stat(pid, proc)[_STATE] not in _ENDED_STATES
    except psutil.NoSuchProcess:
        return False


def boot_id(proc: Path = Path("/proc")) -> str | None:
    """Return what names the time since the machine's last start; None if the system does not say.

    Args:
        proc: as for ``process_start``.
    """
    try:
        return (proc / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux, or a sandbox that hides it
        return None


def _runs_since(process: psutil.Process, created: float) -> bool:
    is_same = abs(process.create_time() - created) < _CREATED_TOLERANCE_S
    return is_same and process.status() != psutil.STATUS_ZOMBIE


def _stat(pid: int, proc: Path) -> list[str]:
    try:
        text = (proc / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None
    return text.rpartition(")")[2].split()
