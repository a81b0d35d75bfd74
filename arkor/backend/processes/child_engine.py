"""The engine that runs each worker as a process on this machine."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from arkor.backend.processes.engine import Launch, WorkerHandle
from arkor.backend.processes.memory_limit import held_bytes
from arkor.backend.processes.process_start import is_running, process_start
from arkor.system.processes import module_command, signal_group

_PREFIX = "process:"
_KILL_WAIT_S = 5.0
_POLL_S = 0.02


class ProcessEngine:
    """Runs ``python -m <module> SPEC`` in a process group of its own. Thread-safe.

    Args:
        module: the worker's module.
    """

    spans_machines = False

    def __init__(self, module: str) -> None:
        self._module = module
        self._children: dict[WorkerHandle, _Child] = {}

    def start(self, launch: Launch, on_exit: Callable[[int | None], None]) -> WorkerHandle:
        """Start a worker; see ``Engine.start``."""
        command = module_command(self._module, str(launch.spec_path))
        with launch.log_path.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=launch.spec_path.parent,  # the libraries take a folder there for a name of the hub
            )
        handle = _handle(process.pid)
        self._children[handle] = child = _Child(process)

        def watch() -> None:
            code = child.wait()
            del self._children[handle]
            on_exit(code)

        try:
            threading.Thread(target=watch, name=f"worker-{process.pid}", daemon=True).start()
        except RuntimeError as exc:  # the machine has no thread left: without one its end would not be noticed
            del self._children[handle]
            signal_group(process.pid)
            process.wait()
            raise OSError(errno.EAGAIN, str(exc)) from exc
        return handle

    def find(self, folder: Path) -> list[tuple[Path, WorkerHandle]]:
        """Return the workers that run for specs below a folder; see ``Engine.find``."""
        found = []
        for process in psutil.process_iter(["cmdline", "create_time"]):
            command = process.info["cmdline"] or [""]  # empty for one that ended, or is another user's
            spec = Path(command[-1])
            if command[-3:-1] != ["-m", self._module] or not spec.is_relative_to(folder):
                continue
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getpgid(process.pid) == process.pid:  # not one that a worker forked
                    found.append((process.info["create_time"], spec, _handle(process.pid)))
        return [(spec, handle) for _, spec, handle in sorted(found, key=lambda item: item[0])]

    def is_alive(self, handle: WorkerHandle) -> bool:
        """Whether that very process is still there and has not ended."""
        child = self._children.get(handle)
        if child is not None:
            return not child.ended.is_set()
        process = _process(handle)
        return process is not None and is_running(*process)

    def is_waiting(self, handle: WorkerHandle) -> bool:
        """Return False: a process runs from its start on."""
        return False

    def terminate(self, handle: WorkerHandle) -> None:
        """Send SIGTERM to the worker alone: what it started is its own to end."""
        self._signal(handle, _terminate)

    def kill(self, handle: WorkerHandle) -> None:
        """Send SIGKILL to the worker's process group and wait up to 5 s until it is gone."""
        if not self._signal(handle, signal_group):
            return
        pause, deadline = threading.Event(), time.monotonic() + _KILL_WAIT_S
        while self.is_alive(handle) and time.monotonic() < deadline:
            pause.wait(_POLL_S)

    def held_bytes(self, handle: WorkerHandle) -> int:
        """Return the memory that a worker's process has for itself, in bytes; 0 where it is gone."""
        process = _process(handle)
        return held_bytes(process[0]) if process is not None and self.is_alive(handle) else 0

    def _signal(self, handle: WorkerHandle, send: Callable[[int], None]) -> bool:
        """Send a worker a signal unless it has ended; return whether it had not."""
        child = self._children.get(handle)
        if child is not None:
            return child.signal(send)
        process = _process(handle)
        if process is None or not self.is_alive(handle):
            return False
        send(process[0])
        return True


class _Child:
    """A process that this one started. Thread-safe; one thread waits for it.

    Until it is collected, its id is nobody else's. So it needs no comparison of start times.

    Attributes:
        ended: set when the process has ended.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._collecting = threading.Lock()
        self.ended = threading.Event()

    def signal(self, send: Callable[[int], None]) -> bool:
        """Send it a signal unless it has ended; return whether it had not."""
        with self._collecting:
            alive = not self.ended.is_set()
            if alive:
                send(self._process.pid)
            return alive

    def wait(self) -> int:
        """Wait for its end, end the processes that it left, and return its exit code."""
        if hasattr(os, "waitid"):  # absent on older macOS
            # Wait without collecting the process: while it is a zombie, the group that it left can be killed
            # without hitting strangers.
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            with self._collecting:
                self.ended.set()
                signal_group(self._process.pid)
        code = self._process.wait()
        self.ended.set()
        return code


def _handle(pid: int) -> WorkerHandle:
    """Name a process: its id, and when it started, because the id alone may be another process's later."""
    return WorkerHandle(f"{_PREFIX}{pid}:{process_start(pid)}")


def _process(handle: WorkerHandle) -> tuple[int, str] | None:
    """Return a worker's process id and start; None for a worker of another engine."""
    if not handle.text.startswith(_PREFIX):
        return None
    pid, _, start = handle.text.removeprefix(_PREFIX).partition(":")
    return int(pid), start


def _terminate(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
