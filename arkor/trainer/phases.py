"""The phases of the work that comes before a job, such as fetching the model, as its reports of progress tell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from arkor.protocol import wire
from arkor.text import one_line

READING = "reading"
UPLOADING = "uploading"
HELD_OUT = "-eval"  # behind a phase of rows: of the held-out ones
_TITLES = {
    READING: "checking the rows",
    READING + HELD_OUT: "checking the held-out rows",
    UPLOADING: "sending the rows",
    UPLOADING + HELD_OUT: "sending the held-out rows",
}


@attrs.frozen
class Phase:
    """How far a phase is.

    Attributes:
        title: what people read of it, on one line; a part of it may be a backend's word.
        done: how much of it is done.
        total: of how much; 0 if that is not known.
        begins: whether this is the first report of it.
    """

    title: str
    done: int
    total: int
    begins: bool


class Phases:
    """The phases that are worth showing: a phase that is over at its first report is left out."""

    def __init__(self) -> None:
        self._current: str | None = None

    def take(self, report: Mapping[str, Any]) -> Phase | None:
        """Take in a report, and return how far its phase is; None if there is nothing to show.

        Args:
            report: ``phase``, and ``model``, and ``done`` of ``total``, if they are known, as a ``StartProgress`` gets
                it.
        """
        name, model = (wire.optional_text(report.get(field)) for field in ("phase", "model"))
        done, total = (wire.whole_number(report.get(field)) or 0 for field in ("done", "total"))
        if name is None:
            return None
        shown = _TITLES.get(name) or one_line(f"{model}: {name}" if model else name)
        begins = shown != self._current
        if begins and total and done >= total:
            return None
        self._current = shown
        return Phase(shown, done, total, begins)
