"""Pulling models in the background: one process a model, its progress kept for whoever asks.

Protocol: docs/protocol.md, "Models".
"""

from __future__ import annotations

import json
import logging
import subprocess
import threading
from typing import Any

import attrs

from arkor.system.processes import end, module_command

log = logging.getLogger("arkor.backend")

_LEAVE_S = 5.0


@attrs.frozen
class PullState:
    """How far a pull is.

    Attributes:
        state: ``running`` or ``failed``; a pull that succeeded leaves a model that is ready, and no state.
        phase: what it is doing, in a word.
        done, total: bytes or other units of that phase, 0 where unknown.
        error: why it failed, or None.
    """

    state: str = "running"
    phase: str = "starting"
    done: int = 0
    total: int = 0
    error: str | None = None

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object that travels."""
        return attrs.asdict(self, filter=lambda _, value: value is not None)


class Pulls:
    """The pulls of this process. Thread-safe.

    Args:
        module: ``python -m <module> pull NAME`` does the work, and says its progress as JSON lines.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._lock = threading.Lock()
        self._states: dict[str, PullState] = {}
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._closed = False

    def state(self, name: str) -> PullState | None:
        """Return how far the last pull of a model is; None where there was none, or it succeeded."""
        with self._lock:
            return self._states.get(name)

    @property
    def busy(self) -> bool:
        """Whether any pull is under way."""
        with self._lock:
            return bool(self._processes)

    def start(self, name: str) -> None:
        """Pull a model, unless that is under way already.

        Raises:
            OSError: the process cannot be started.
        """
        with self._lock:
            if name in self._processes or self._closed:
                return
            command = module_command(self._module, "pull", name)
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            self._processes[name], self._states[name] = process, PullState()
        threading.Thread(target=self._follow, args=(name, process), name=f"pull-{name}", daemon=True).start()

    def close(self) -> None:
        """End every pull; what was half done is the pull's own to clear away."""
        with self._lock:
            self._closed = True
            processes = list(self._processes.values())
        for process in processes:
            process.terminate()
        for process in processes:
            end(process, _LEAVE_S)

    def _follow(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        error: str | None = None
        with process.stdout as lines:
            for line in lines:
                said = _read(line)
                error = said.get("error") or error
                if "phase" in said:
                    self._set(name, PullState("running", str(said["phase"]), said.get("done", 0), said.get("total", 0)))
        code = process.wait()
        if code != 0 and error is None:
            error = f"The pull ended with exit code {code}; the backend's log says more."
        self._finish(name, error)

    def _set(self, name: str, state: PullState) -> None:
        with self._lock:
            self._states[name] = state

    def _finish(self, name: str, error: str | None) -> None:
        with self._lock:
            del self._processes[name]
            last = self._states.pop(name)
            if error is not None:
                self._states[name] = attrs.evolve(last, state="failed", error=error)
        log.info("Pull of %s: %s", name, error or "ready")


def _read(line: str) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:  # a library's own chatter
        return {}
    return said if isinstance(said, dict) else {}
