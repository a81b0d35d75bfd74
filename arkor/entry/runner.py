"""Find the trainer in an entry, and run it.

``run_trainer`` is what ``arkor start`` does after building: the one public way into that flow.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from arkor.client.result import TrainingResult
from arkor.entry.bundle import DEFAULT_ENTRY
from arkor.entry.importer import load_entry, project_of_artifact
from arkor.entry.source_tree import normal_path
from arkor.errors import EntryError, ProjectStateError
from arkor.protocol.events import Event
from arkor.protocol.jobs import TrainingJob
from arkor.system.files import file_lock
from arkor.text import one_line
from arkor.trainer.phases import Phases
from arkor.trainer.submission import StartProgress
from arkor.trainer.trainer import Trainer

START_LOCK = PurePosixPath(".arkor/start.lock")


def run_trainer(path: str | Path | None = None, *, on_event: Callable[[Event], object] | None = None) -> TrainingResult:
    """Load an entry, run its trainer to the end, and return how it ended.

    Prints the job's id when it is started, and its status at the end. A failed job does not raise: look at the result,
    or call its ``raise_for_status()``.

    Args:
        path: a source entry (``.py``) or a build artifact (``.pyz``), relative to the working directory or absolute; by
            default ``src/arkor/index.py``. An artifact runs in the project that it lies in, which is the working
            directory meanwhile.
        on_event: called with every event, see ``Trainer.wait``.

    Raises:
        EntryError: the entry is missing, its code raised, or it exports no trainer.
        ArkorError: as ``Trainer.wait`` raises.
    """
    entry = _located(path)
    with in_project(entry):
        trainer = load_trainer(entry)
        job = trainer.start(on_progress=_saying_phases(_print))
        return follow(trainer, job, on_event=on_event)


@contextlib.contextmanager
def in_project(entry: Path) -> Iterator[Path | None]:
    """Make the project that an artifact lies in the working directory, in the block.

    So its imports, its files and its state come from one place. Other entries run where they are started.

    Args:
        entry: the entry; absolute.

    Yields:
        The project; None if the working directory stays.
    """
    project, before = project_of_artifact(normal_path(entry)), Path.cwd()
    if project is None or not project.is_dir() or project.samefile(before):
        yield None
        return
    os.chdir(project)
    try:
        yield project
    finally:
        os.chdir(before)


def load_trainer(path: str | Path | None = None, content: bytes | None = None) -> Trainer:
    """Load an entry and return its trainer.

    Args:
        path: as for ``run_trainer``.
        content: an artifact's, where that is known already.

    Raises:
        EntryError: the entry is missing, its code raised, or it exports no trainer.
    """
    entry = _located(path)
    if not entry.is_file():
        raise EntryError(f"Training entry not found: {entry}. Provide a path or create src/arkor/index.py.")
    return find_trainer(load_entry(entry, Path.cwd(), content))


def _located(path: str | Path | None) -> Path:
    return normal_path(Path.cwd() / (DEFAULT_ENTRY if path is None else path))


def find_trainer(module: ModuleType) -> Trainer:
    """Return the trainer that an entry's module exports: as ``arkor``, ``trainer`` or ``default``, in this order.

    Raises:
        EntryError: it exports none.
    """
    for name in ("arkor", "trainer", "default"):
        trainer = _trainer_of(getattr(module, name, None))
        if trainer is not None:
            return trainer
    raise EntryError(
        "Training entry must export 'arkor' (from create_arkor(...)) or 'trainer' (from create_trainer(...)), "
        "or a 'default' that is one of them."
    )


def _trainer_of(value: Any) -> Trainer | None:
    if isinstance(value, Trainer):
        return value
    inner = getattr(value, "trainer", None)
    return inner if isinstance(inner, Trainer) else None


def _print(text: str) -> None:
    print(text, flush=True)  # in a log the job's id is wanted now, not in some hours


def _finished(result: TrainingResult) -> list[str]:
    return [one_line(f"Job {result.job.id} finished with status={result.status}")]


def follow(
    trainer: Trainer,
    job: TrainingJob,
    *,
    say: Callable[[str], object] = _print,
    ending: Callable[[TrainingResult], Iterable[str]] = _finished,
    timeout: float | None = None,
    on_event: Callable[[Event], object] | None = None,
) -> TrainingResult:
    """Follow a trainer's job to its end, saying which job it is, and how it ended.

    Args:
        trainer: the trainer.
        job: its job, as it was started or found.
        say: called with each line.
        ending: returns the lines on how it ended.
        timeout: longest wait in seconds; None for no limit.
        on_event: called with every event, see ``Trainer.wait``.
    """
    say(one_line(f"{'Started' if trainer.was_sent else 'Following'} job {job.id}"))
    result = trainer.wait(timeout, on_event=on_event)
    for line in ending(result):
        say(line)
    return result


def start_unless_running(trainer: Trainer, *, on_progress: StartProgress | None = None) -> tuple[Trainer, TrainingJob]:
    """Start a trainer's job, unless one of its name is queued, running or paused in the project.

    Of two processes that do this at once in one folder, the second waits and then finds the job of the first. Processes
    of different machines or folders do not know of each other: both may start a job.

    Args:
        trainer: the trainer.
        on_progress: see ``Trainer.start``.

    Returns:
        The trainer that was given, and the job that it started; or another trainer and the job that runs already, to
        which that trainer is attached.

    Raises:
        ProjectStateError: the project's folder cannot be written.
        ArkorError: as ``Trainer.start`` raises.
    """
    with contextlib.ExitStack() as stack:
        lock = Path.cwd() / START_LOCK
        try:
            stack.enter_context(file_lock(lock))
        except OSError as exc:
            raise ProjectStateError(f"{lock} cannot be written: {exc.strerror}.") from exc
        running = trainer.find_running()
        if running is None:
            return trainer, trainer.start(on_progress=on_progress)
        assert running.job is not None  # it was found by its job
        return running, running.job


def _saying_phases(say: Callable[[str], object]) -> StartProgress:
    """Return what says one line for each phase of what comes before the job."""
    phases = Phases()

    def note(progress: Mapping[str, Any]) -> None:
        phase = phases.take(progress)
        if phase is not None and phase.begins:
            say(f"Preparing: {phase.title}")

    return note
