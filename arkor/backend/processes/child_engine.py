"""The engine that runs each worker as a process on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from arkor.backend.processes.engine import WorkerHandle
from arkor.system.processes import module_command, signal_group

# The creation time of a process is counted from the boot, whose own time moves a little when the clock is set.
_CREATED_TOLERANCE_S = 2.0
_KILL_WAIT_S = 5.0
_POLL_S = 0.02


class ProcessEngine:
    """Runs ``python -m <module> SPEC`` in a process group of its own. Thread-safe.

    Args:
        module: the worker's module.
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def start(self, spec_path: Path, log_path: Path, on_exit: Callable[[int], None]) -> WorkerHandle:
        """Start a worker; see ``Engine.start``."""
        command = module_command(self._module, str(spec_path))
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        handle = WorkerHandle(process.pid, psutil.Process(process.pid).create_time())
        watcher = threading.Thread(target=_watch, args=(process, on_exit), name=f"worker-{process.pid}", daemon=True)
        watcher.start()
        return handle

    def is_alive(self, handle: WorkerHandle) -> bool:
        """Whether that very process is still there and has not ended."""
        try:
            process = psutil.Process(handle.pid)
            # A zombie has ended, also where nobody collects it.
            return _is_same(process, handle) and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def terminate(self, handle: WorkerHandle) -> None:
        """Send SIGTERM to the worker alone: what it started is its own to end."""
        if self.is_alive(handle):
            with contextlib.suppress(ProcessLookupError):
                os.kill(handle.pid, signal.SIGTERM)

    def kill(self, handle: WorkerHandle) -> None:
        """Send SIGKILL to the worker's process group and wait up to 5 s until it is gone."""
        if not self.is_alive(handle):
            return
        signal_group(handle.pid)
        pause, deadline = threading.Event(), time.monotonic() + _KILL_WAIT_S
        while self.is_alive(handle) and time.monotonic() < deadline:
            pause.wait(_POLL_S)


def _is_same(process: psutil.Process, handle: WorkerHandle) -> bool:
    return abs(process.create_time() - handle.created) < _CREATED_TOLERANCE_S


def _watch(process: subprocess.Popen[bytes], on_exit: Callable[[int], None]) -> None:
    if hasattr(os, "waitid"):  # absent on older macOS
        # Wait without collecting the process: as long as it is a zombie, its id is nobody else's, and the group
        # of what it left behind can be killed without hitting strangers.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        signal_group(process.pid)
    on_exit(process.wait())
