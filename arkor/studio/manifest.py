"""What the project's entry exports, found out in a process of its own: no code of the user runs in the server."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from arkor.entry.bundle import DEFAULT_ENTRY
from arkor.serving.refusal import Refusal
from arkor.studio.processes import ask_child

TIMEOUT_S = 30.0


class Manifest:
    """Reads the artifact that a run would start, built again if a source changed, one process at a time.

    Args:
        project_dir: the project's root.
        timeout_s: what importing the entry may take, in seconds.

    Thread-safety: safe. Who asks while it is being read waits, and shares what the next process finds.
    """

    def __init__(self, project_dir: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._project_dir = project_dir
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._begun = 0
        self._last: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        """Return ``{"trainer": {"name"}}``, or ``{"trainer": None}`` where there is none.

        Raises:
            Refusal: 400, the entry cannot be built, or its code raised, hung or died.
        """
        begun_before = self._begun
        with self._lock:
            if self._begun == begun_before:
                self._begun += 1
                self._last = self._read()
            answer = self._last
        if "error" in answer:
            raise Refusal(400, str(answer["error"]))
        return answer

    def _read(self) -> dict[str, Any]:
        if not (self._project_dir / DEFAULT_ENTRY).is_file():
            return {"trainer": None}
        return ask_child(["manifest"], self._project_dir, self._timeout_s)
