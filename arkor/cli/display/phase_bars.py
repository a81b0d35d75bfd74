"""Progress bars for work that goes through phases."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import click

from arkor.cli.display.style import signs_for

LABEL_WIDTH = 26


def progress_bar(length: int, label: str) -> Any:
    """Return a bar of click's on stderr, in the characters of the locale; a line with its label if that is no terminal.

    Args:
        length: what its whole width stands for, 1 or more.
        label: stands before it.
    """
    left, right, whole, empty = tuple(signs_for(sys.stderr).bar)
    template = f"%(label)s  {left}%(bar)s{right}  %(info)s"
    return click.progressbar(
        length=length, label=label, file=sys.stderr, fill_char=whole, empty_char=empty, bar_template=template
    )


class PhaseBars:
    """One progress bar after the other, on stderr; a line for each phase where that is no terminal.

    A phase that is over when it is first heard of is not shown.
    """

    def __init__(self) -> None:
        from arkor.trainer.phases import Phases

        self._shown = contextlib.ExitStack()
        self._phases = Phases()
        self._bar: Any = None

    def __enter__(self) -> PhaseBars:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc_type is None:
            self._fill()
        self._shown.close()

    def update(self, report: Mapping[str, Any]) -> None:
        """Show how far the work is.

        Args:
            report: ``phase``, and ``done`` of ``total`` where they are known; other reports are passed over.
        """
        phase = self._phases.take(report)
        if phase is None:
            return
        if phase.begins:
            self._fill()
            self._shown.close()
            label = f"{phase.title:{LABEL_WIDTH}}"
            self._bar = self._shown.enter_context(progress_bar(phase.total or 1, label))
        self._bar.update(max(0, phase.done - self._bar.pos))

    def _fill(self) -> None:
        """Show the phase as over: the backend is asked now and then, so its last report is seldom heard."""
        if self._bar is not None:
            self._bar.update(self._bar.length - self._bar.pos)
            self._bar = None
