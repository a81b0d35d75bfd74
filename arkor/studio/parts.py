"""The parts of a running Studio, which the routes share."""

from __future__ import annotations

import threading
from pathlib import Path

import attrs


@attrs.define
class Studio:
    """One launch of Studio.

    Attributes:
        project_dir: the folder whose project it shows; absolute.
        local: whether it shows this user's own backend, as ``--local`` asks.
        token: what requests to the API carry; of this launch alone.
        stopping: set when the server stops; what streams looks at it, and ends.

    Thread-safety: safe, requests share it.
    """

    project_dir: Path
    local: bool
    token: str = attrs.field(repr=False)
    stopping: threading.Event = attrs.field(factory=threading.Event)

    @property
    def backend(self) -> str | None:
        """The backend as ``CloudApiClient.connect`` takes it; None for the default one."""
        return "local" if self.local else None
