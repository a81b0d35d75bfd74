"""Checkpoints that a later attempt continues from, and how to know that one is whole.

A training killed while it saves leaves a folder that looks like a checkpoint, and that the trainer would silently
resume wrongly (without its optimizer, say). So a checkpoint counts only with a mark, which is written last and lists
every file with its size and its SHA-256. A file that was changed on the disk since is noticed before it is used.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from arkor.system.files import make_private_folder, sha256_of, write_atomically

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
    files = {}
    required = {*_REQUIRED, *_random_numbers(processes)}
    for name in sorted({*required, *(item.name for item in checkpoint.iterdir() if item.is_file())} - {_MARK}):
        with (checkpoint / name).open("rb") as file:
            os.fsync(file.fileno())
        files[name] = _described(checkpoint / name)
    write_atomically(checkpoint / _MARK, json.dumps(files).encode())


def _random_numbers(processes: int) -> list[str]:
    """Return the files with the random numbers of a training, as transformers names them."""
    return ["rng_state.pth"] if processes == 1 else [f"rng_state_{rank}.pth" for rank in range(processes)]


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint has its mark, and every file that the mark lists as it was saved."""
    try:
        files = json.loads((checkpoint / _MARK).read_bytes())
        # An older arkor wrote the size alone.
        return all(
            _described(checkpoint / name) == known
            if isinstance(known, dict)
            else (checkpoint / name).stat().st_size == known
            for name, known in files.items()
        )
    except (OSError, ValueError, AttributeError):  # absent or cut: not complete, which is the answer
        return False


def latest_complete(folder: Path) -> Path | None:
    """Return the complete checkpoint with the highest step, or None."""
    newest_first = sorted(_checkpoints(folder), key=step_of, reverse=True)
    return next(filter(is_complete, newest_first), None)


def hand_on(former: Path, folder: Path) -> Path | None:
    """Give a new job what another one has left for going on; each may remove its own part afterwards.

    Args:
        former: the other job's folder.
        folder: the new job's.

    Returns:
        The checkpoint that the new job has now; None if the other one left no complete checkpoint.

    Raises:
        OSError: the disk is full; a part may be there.
    """
    checkpoint = latest_complete(former / FOLDER)
    if checkpoint is None:
        return None
    # The mark is the last of the files: a copy that is cut off is not complete.
    files = sorted(checkpoint.iterdir(), key=lambda file: file.name == _MARK)
    for file in [
        former / LENGTHS,
        former / THREADS,
        former / BASE_ADAPTER,
        *(former / FOLDER / BEST).glob("*.tar"),
        *files,
    ]:
        if file.is_file():
            link_or_copy(file, folder / file.relative_to(former))
    return folder / FOLDER / checkpoint.name


def link_or_copy(file: Path, target: Path) -> None:
    """Give a file that nobody changes a second name, or copy it where the file system has no such names.

    Raises:
        OSError: the file is gone, or the disk is full; a part may be there.
    """
    make_private_folder(target.parent)
    try:
        target.hardlink_to(file)
    except OSError:
        shutil.copyfile(file, target)


def keep_only(folder: Path, kept: Path | None) -> None:
    """Remove every checkpoint but one; those that are not whole go too."""
    for checkpoint in _checkpoints(folder):
        if checkpoint != kept:
            # The mark goes first: a removal that is cut short must not leave something that passes for whole.
            (checkpoint / _MARK).unlink(missing_ok=True)
            shutil.rmtree(checkpoint, ignore_errors=True)


def _described(file: Path) -> dict[str, Any]:
    return {"size": file.stat().st_size, "sha256": sha256_of(file)}


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [item for item in folder.iterdir() if item.is_dir() and _NAME.fullmatch(item.name)]
