"""The job that a run would submit, found out in a process of its own: its rows can be shown before there is a job."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arkor.entry.bundle import DEFAULT_ENTRY
from arkor.protocol.config import JobConfig
from arkor.serving.refusal import Refusal
from arkor.studio.manifest import TIMEOUT_S
from arkor.studio.processes import ask_child

MOST_KEPT = 16
_ID_DIGITS = 16


class Drafts:
    """Has the trainer's rows sent to the backend, and keeps the settings of the job that it would submit.

    The settings may hold the token of a dataset: the page gets an id in their place.

    Args:
        project_dir: the project's root.

    Thread-safety: safe.
    """

    def __init__(self, project_dir: Path) -> None:
        self._project_dir = project_dir
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, JobConfig] = OrderedDict()

    def make(self, backend: str, is_unwanted: Callable[[], bool]) -> dict[str, Any]:
        """Return the draft of the trainer that a run would start: ``id``, ``name`` and ``model``.

        Args:
            backend: gets the rows: a base URL, or ``local``.
            is_unwanted: says whether nobody waits for the draft any more.

        Raises:
            Refusal: 404, there is no trainer; 400, the entry cannot be imported, or the backend cannot have the rows.
            Aborted: nobody waits.
        """
        has_entry = (self._project_dir / DEFAULT_ENTRY).is_file()
        told = ask_child(["draft", backend], self._project_dir, TIMEOUT_S, is_unwanted) if has_entry else {}
        if "error" in told:
            raise Refusal(400, str(told["error"]))
        if not told.get("trainer"):
            raise Refusal(404, f"There is no trainer in {DEFAULT_ENTRY} yet, and so no rows.")
        config = JobConfig.from_wire(told["config"])
        draft_id = hashlib.sha256(json.dumps(told["config"], sort_keys=True).encode()).hexdigest()[:_ID_DIGITS]
        with self._lock:
            self._kept[draft_id] = config
            self._kept.move_to_end(draft_id)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return {"id": draft_id, "name": str(told["trainer"]["name"]), "model": config.model}

    def config(self, draft_id: str) -> JobConfig:
        """Return the settings of a draft.

        Raises:
            Refusal: 404, it is not kept any more.
        """
        with self._lock:
            config = self._kept.get(draft_id)
        if config is None:
            raise Refusal(404, "Studio does not know these rows any more: load the page again.")
        return config
