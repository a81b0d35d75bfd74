"""Checkpoints that a later attempt continues from, and how to know that one is whole.

A training killed while it saves leaves a folder that looks like a checkpoint, and that the trainer would silently
resume wrongly (without its optimizer, say). So a checkpoint counts only with a mark, which is written last and lists
every file with its size and its SHA-256. A file that was changed on the disk since is noticed before it is used. The
storage has the same files, the mark stored last; a later attempt fetches what its work folder lacks.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from pathlib import Path

import attrs

from arkor.backend.jobs.job_files import JobFiles
from arkor.backend.storage.interface import Content
from arkor.errors import ObjectChanged, ObjectMissing
from arkor.system.files import write_atomically

log = logging.getLogger("arkor.backend")

FOLDER = "checkpoints"  # below a job's
BEST = "best"  # below that: the adapters of the best evaluations
BASE_ADAPTER = "base-adapter.tar"  # below a job's folder: what the job goes on from
THREADS = "threads.json"  # below a job's folder: how many each attempt computes on; absent if that may change
LENGTHS = "lengths.json"  # below a job's folder: the limits of its rows; with others, it would train on other rows

_NAME = re.compile(r"checkpoint-([0-9]+)")
_MARK = "complete.json"
_REQUIRED = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "trainer_state.json",
)


def step_of(checkpoint: Path) -> int:
    """Return the optimizer step of a checkpoint's folder."""
    match = _NAME.fullmatch(checkpoint.name)
    if match is None:
        raise ValueError(f"{checkpoint} is not a checkpoint's folder")
    return int(match[1])


def mark_complete(checkpoint: Path, processes: int = 1) -> None:
    """Flush a checkpoint to the disk and mark it as whole.

    Args:
        checkpoint: its folder.
        processes: how many have trained, each with random numbers of its own.

    Raises:
        OSError: a file that resuming needs is missing, or the disk is full.
    """
    for left in checkpoint.glob(f".{_MARK}.*"):  # by a kill while an earlier attempt wrote the mark
        left.unlink()
    files = {}
    required = {*_REQUIRED, *_random_numbers(processes)}
    for name in sorted({*required, *(item.name for item in checkpoint.iterdir() if item.is_file())} - {_MARK}):
        with (checkpoint / name).open("rb") as file:
            os.fsync(file.fileno())
        files[name] = attrs.asdict(Content.of(checkpoint / name))
    write_atomically(checkpoint / _MARK, json.dumps(files).encode())


def _random_numbers(processes: int) -> list[str]:
    """Return the files with the random numbers of a training, as transformers names them."""
    return ["rng_state.pth"] if processes == 1 else [f"rng_state_{rank}.pth" for rank in range(processes)]


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint has its mark, and every file that the mark lists as it was saved."""
    try:
        known = _read_mark((checkpoint / _MARK).read_bytes())
        return all(Content.of(checkpoint / name).fits(content) for name, content in known.items())
    except (OSError, ValueError):  # absent or cut: not complete, which is the answer
        return False


def latest_complete(folder: Path) -> Path | None:
    """Return the complete checkpoint with the highest step, or None."""
    newest_first = sorted(_checkpoints(folder), key=step_of, reverse=True)
    return next(filter(is_complete, newest_first), None)


def store(files: JobFiles, checkpoint: Path) -> None:
    """Store a complete checkpoint; the older ones may go then, see ``forget_older``.

    Args:
        files: the job's.
        checkpoint: its folder, in the work folder.

    Raises:
        StorageError: the storage cannot be used; the checkpoint may be there in part, without its mark.
        OSError: it cannot be read.
    """
    if not files.are_apart:
        return
    known = _read_mark((checkpoint / _MARK).read_bytes())
    files.remove(_mark_of(step_of(checkpoint)))  # of an earlier attempt at the same step
    for name, content in known.items():
        files.keep(checkpoint / name, content)
    files.keep(checkpoint / _MARK)


def forget_older(files: JobFiles, step: int) -> None:
    """Remove the checkpoints before a step from the storage, and what is left of them.

    Raises:
        StorageError: the storage cannot be used.
    """
    if not files.are_apart:
        return
    found = ((name, _NAME.fullmatch(Path(name).parent.name)) for name in files.names(FOLDER))
    older = [name for name, match in found if match is not None and int(match[1]) < step]
    # The marks go first: a removal that is cut short must not leave something that passes for whole.
    files.remove(*sorted(older, key=lambda name: Path(name).name != _MARK))


def newest(files: JobFiles) -> Path | None:
    """Return the newest complete checkpoint of a job in its work folder, fetched if the storage has a newer one.

    Raises:
        StorageError: the storage cannot be used.
        OSError: the disk is full.
    """
    here = latest_complete(files.folder / FOLDER)
    if not files.are_apart:
        return here
    for step in sorted(_stored_steps(files), reverse=True):
        if here is not None and step <= step_of(here):
            break
        found = _fetched(files, step)
        if found is not None:
            return found
    return here


def _fetched(files: JobFiles, step: int) -> Path | None:
    folder = files.folder / FOLDER / f"checkpoint-{step}"
    shutil.rmtree(folder, ignore_errors=True)  # it is not complete
    try:
        for name, content in _read_mark(files.storage.read(files.key(_mark_of(step)))).items():
            files.storage.fetch(files.key(folder / name), folder / name, content)
        files.storage.fetch(files.key(folder / _MARK), folder / _MARK)
    except (ObjectMissing, ObjectChanged, ValueError) as exc:
        log.warning("The stored checkpoint of step %d is passed over: %s", step, exc)
        return None
    return folder


def hand_on(former: JobFiles, job: JobFiles) -> int | None:
    """Give a new job what another one has left for going on; each may remove its own part afterwards.

    Args:
        former: the files of the other job.
        job: those of the new one.

    Returns:
        The step of the checkpoint that the new job has now; None if the other one left no complete checkpoint.

    Raises:
        StorageError: the storage cannot be used; a part may be there.
        OSError: the disk is full; a part may be there.
    """
    step = _newest_stored(former)
    if step is not None:
        for name in _needed(former, step):
            job.storage.copy(former.key(name), job.key(name))
    return step


def needed(files: JobFiles) -> list[str]:
    """Return the names of the stored files that a job needs to go on, the mark of its checkpoint last.

    Raises:
        StorageError: the storage cannot be used.
    """
    return _needed(files, _newest_stored(files))


def _newest_stored(files: JobFiles) -> int | None:
    newest_first = sorted(_stored_steps(files), reverse=True)
    return next(filter(lambda step: _is_stored(files, step), newest_first), None)


def _needed(files: JobFiles, step: int | None) -> list[str]:
    beside = [name for name in (LENGTHS, THREADS, BASE_ADAPTER) if files.storage.size(files.key(name)) is not None]
    if step is None:
        return beside
    best = (name for name in files.names(f"{FOLDER}/{BEST}") if name.endswith(".tar"))
    # The mark is the last of the files: a copy that is cut off is not complete.
    own = sorted(files.names(f"{FOLDER}/checkpoint-{step}"), key=lambda name: name == _mark_of(step))
    return [*beside, *best, *own]


def _is_stored(files: JobFiles, step: int) -> bool:
    """Whether the storage has every file of a checkpoint as it was saved."""
    try:
        known = _read_mark(files.storage.read(files.key(_mark_of(step))))
    except (ObjectMissing, ValueError):
        return False
    found = {name: files.storage.content(files.key(f"{FOLDER}/checkpoint-{step}/{name}")) for name in known}
    return all(content is not None and content.fits(known[name]) for name, content in found.items())


def _stored_steps(files: JobFiles) -> list[int]:
    """Return the steps of the checkpoints whose marks the storage has."""
    names = (Path(name) for name in files.names(FOLDER) if name.endswith(f"/{_MARK}"))
    return [step_of(name.parent) for name in names if _NAME.fullmatch(name.parent.name)]


def _mark_of(step: int) -> str:
    return f"{FOLDER}/checkpoint-{step}/{_MARK}"


def _read_mark(mark: bytes) -> dict[str, Content]:
    """Return the content of each file that a mark lists.

    Raises:
        ValueError: it is no mark.
    """
    try:
        files = json.loads(mark)
        # An older arkor wrote the size alone.
        return {
            name: Content(**known) if isinstance(known, dict) else Content(int(known)) for name, known in files.items()
        }
    except (TypeError, AttributeError) as exc:
        raise ValueError("its mark cannot be read") from exc


def keep_only(folder: Path, kept: Path | None) -> None:
    """Remove every checkpoint but one; those that are not whole go too."""
    for checkpoint in _checkpoints(folder):
        if checkpoint != kept:
            # The mark goes first: a removal that is cut short must not leave something that passes for whole.
            (checkpoint / _MARK).unlink(missing_ok=True)
            shutil.rmtree(checkpoint, ignore_errors=True)


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [item for item in folder.iterdir() if item.is_dir() and _NAME.fullmatch(item.name)]
