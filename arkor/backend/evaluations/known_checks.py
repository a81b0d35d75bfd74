"""The checks of served adapters that are made already: another evaluation of the same files need not repeat one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from arkor.backend.inference.targets import Target

Files = tuple[tuple[str, int, int], ...]
"""Of each file its path, when it was written, and its size."""


class KnownChecks:
    """What this process has checked. One thread uses it."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[Files, Mapping[str, Any]]] = {}

    def keep(self, job_id: str, files: Files, check: Mapping[str, Any]) -> None:
        """Remember the check of a job's adapter.

        Args:
            job_id: the job.
            files: what ``files_of`` said before the check.
            check: what was found, as a report has it.
        """
        self._found[job_id] = (files, check)

    def find(self, job_id: str, files: Files) -> Mapping[str, Any] | None:
        """Return what was found of a job's adapter; None if that is not known of these files."""
        known, check = self._found.get(job_id, ((), None))
        return check if known == files else None


def files_of(target: Target) -> Files:
    """Return the files of a model and its adapter as they are now; of a model in the hub's cache there are none."""
    folders = [target.base, *([target.adapter[1]] if target.adapter else [])]
    return tuple(sorted(found for folder in folders for found in _files_in(Path(folder))))


def _files_in(folder: Path) -> Iterator[tuple[str, int, int]]:
    for file in folder.glob("*"):
        state = file.stat()
        yield str(file), state.st_mtime_ns, state.st_size
