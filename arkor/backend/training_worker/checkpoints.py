"""Checkpoints that a later attempt continues from, and how to know that one is whole.

A training killed while it saves leaves a folder that looks like a checkpoint, and that the trainer would silently
resume wrongly (without its optimizer, say). So a checkpoint counts only with a mark, which is written last and lists
every file with its size.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from arkor.system.files import write_atomically

_FOLDER = re.compile(r"checkpoint-([0-9]+)")
_MARK = "complete.json"
_REQUIRED = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "optimizer.pt",
    "rng_state.pth",
    "scheduler.pt",
    "trainer_state.json",
)


def step_of(checkpoint: Path) -> int:
    """Return the optimizer step of a checkpoint's folder."""
    match = _FOLDER.fullmatch(checkpoint.name)
    if match is None:
        raise ValueError(f"{checkpoint} is not a checkpoint's folder")
    return int(match[1])


def mark_complete(checkpoint: Path) -> None:
    """Flush a checkpoint to the disk and mark it as whole.

    Raises:
        OSError: a file that resuming needs is missing, or the disk is full.
    """
    sizes = {}
    for name in sorted({*_REQUIRED, *(item.name for item in checkpoint.iterdir() if item.is_file())} - {_MARK}):
        with (checkpoint / name).open("rb") as file:
            os.fsync(file.fileno())
            sizes[name] = os.fstat(file.fileno()).st_size
    write_atomically(checkpoint / _MARK, json.dumps(sizes).encode())


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint has its mark, and every file that the mark lists."""
    try:
        sizes = json.loads((checkpoint / _MARK).read_bytes())
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):  # absent or cut: not complete, which is the answer
        return False


def latest_complete(folder: Path) -> Path | None:
    """Return the complete checkpoint with the highest step, or None."""
    return max(filter(is_complete, _checkpoints(folder)), key=step_of, default=None)


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
    return [item for item in folder.iterdir() if item.is_dir() and _FOLDER.fullmatch(item.name)]
